"""A few test images with truth and prediction, for the report of a simulation.

Pixels of patients: called by name on the machine that holds them, and no message can ask for it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedward_client.daemon.site_state import OpenRun, open_site
from fedward_client.training.evaluation import predict
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.errors import UnverifiedMessageError
from fedward_common.wire.manifest import hash_of_manifest


def example_predictions(
    home_folder: Path, run: str, weights: NDArray[np.float32], count: int
) -> list[dict[str, Any]]:
    """Give up to `count` test images of one site, evenly spaced through its test split.

    Returns:
        `image` (rows, columns), `truth` and `prediction` (the same, or None) and `note` each; of a
        volume the slice with most of the structure.
    """
    site = open_site(home_folder)
    manifest = site.home.run_folder(run) / "manifest.cbor"
    if not manifest.exists():
        raise UnverifiedMessageError("this run was never accepted", code="UNKNOWN_RUN")
    opened = site.accepted_run(run, hash_of_manifest(manifest.read_bytes()))
    cases = _chosen(opened, count)
    if not cases.size:
        return []
    opened.network.weights.load(weights)
    opened.network.module.eval()
    examples = []
    with torch.inference_mode():
        for case in cases:
            logits, _ = predict(opened.network.module, opened.view, np.array([case]))
            examples.append(_example(opened, int(case), logits[0].cpu()))
    return examples


def _chosen(run: OpenRun, count: int) -> NDArray[np.int64]:
    cases = run.view.annotated_indices("test")
    if run.view.masks is not None:
        drawn = [case for case in cases if np.any(_known(run.view.masks[case]))]
        cases = np.asarray(drawn or list(cases), dtype=np.int64)
    places = np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int)
    chosen: NDArray[np.int64] = cases[np.unique(places)]
    return chosen


def _example(run: OpenRun, case: int, logits: torch.Tensor) -> dict[str, Any]:
    # Luminance is enough to look at; channels of a job are grey or RGB.
    image = np.asarray(run.view.images[case], dtype=np.float32).mean(axis=0)
    names = run.job.task.class_names
    if run.view.masks is None:
        note_of = _note_of_findings if run.job.task.multi_label else _note_of_class
        note = note_of(names, run.view.labels[case], logits.double())
        return {"image": _middle(image), "truth": None, "prediction": None, "note": note}
    stored = np.asarray(run.view.masks[case])
    truth_mask = _known(stored)
    predicted = logits.argmax(dim=0).to(torch.uint8).numpy() * (stored != NOT_ANNOTATED_VOXEL)
    overlap = [
        f"{name} {_dice(predicted == k, truth_mask == k):.2f}"
        for k, name in enumerate(names)
        if k > 0 and np.any(truth_mask == k)
    ]
    if image.ndim == 3:
        at = int((truth_mask > 0).sum(axis=(1, 2)).argmax())
        image, truth_mask, predicted = image[at], truth_mask[at], predicted[at]
    note = f"Dice {', '.join(overlap)}" if overlap else "no structure in the truth"
    return {"image": image, "truth": truth_mask, "prediction": predicted, "note": note}


def _note_of_class(names: tuple[str, ...], label: Any, logits: torch.Tensor) -> str:
    probabilities = logits.softmax(dim=0)
    guess = int(probabilities.argmax())
    truth = names[int(label)]
    return f"truth {truth}, likeliest {names[guess]} ({probabilities[guess]:.2f})"


def _note_of_findings(names: tuple[str, ...], labels: Any, logits: torch.Tensor) -> str:
    """The findings that are present or likelier than not, with their probabilities."""
    known = {0: "absent", 1: "present", NOT_ANNOTATED: "not annotated"}
    told = [
        f"{name} {probability:.2f} ({known[int(label)]})"
        for name, label, probability in zip(names, labels, logits.sigmoid().tolist(), strict=True)
        if label == 1 or probability >= 0.5
    ]
    return ", ".join(told) or "no finding present or predicted"


def _known(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask with background where nothing is annotated."""
    return np.where(mask == NOT_ANNOTATED_VOXEL, np.uint8(0), mask)


def _middle(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return image if image.ndim == 2 else image[image.shape[0] // 2]


def _dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()))
