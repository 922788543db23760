"""Evaluation of a network on one split of a job view, as sums that merge."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fedward_client.cohorts.job_view import JobView
from fedward_client.cohorts.source import Split
from fedward_client.training.local_training import pick_device
from fedward_client.training.losses import build_loss
from fedward_common.evaluation.cases import dice_per_structure
from fedward_common.evaluation.sums import (
    Sums,
    empty_sums,
    sums_of_classification,
    sums_of_segmentation,
)
from fedward_common.job.job_file import Job

# Bounds the memory of one forward pass: about this many pixels of input at once.
_PIXELS_AT_ONCE = 1 << 18


def evaluate_split(module: torch.nn.Module, job: Job, view: JobView, split: Split) -> Sums:
    """Evaluate on every case of a split; no augmentation, no dropout.

    Returns:
        Sums over patients; empty sums where the split has none.

    Raises:
        UnusableUpdateError: The network's output is not finite.
    """
    groups = view.cases_by_patient(split)
    if not groups:
        return empty_sums(job.task)
    cases = np.concatenate(groups)
    patients = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    module.eval()
    with torch.inference_mode():
        if job.task.kind == "segmentation":
            return _segmentation(module, job, view, cases, patients)
        return _classification(module, job, view, cases, patients)


def _batches(view: JobView, cases: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    pixels = int(np.prod(view.images.shape[1:]))
    size = max(1, _PIXELS_AT_ONCE // pixels)
    for at in range(0, len(cases), size):
        yield cases[at : at + size]


def predict(
    module: torch.nn.Module, view: JobView, cases: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.device]:
    """Give logits of some cases, on the device they were computed on."""
    device = pick_device()
    images = torch.from_numpy(np.ascontiguousarray(view.images[cases])).to(device)
    return module(images).float(), device


def _classification(
    module: torch.nn.Module,
    job: Job,
    view: JobView,
    cases: NDArray[np.int64],
    patients: NDArray[np.int64],
) -> Sums:
    loss_of = build_loss(job.training.loss, job.task)
    labels = view.labels[cases]
    probabilities, losses = [], []
    for batch in _batches(view, cases):
        logits, device = predict(module, view, batch)
        target = torch.from_numpy(np.asarray(view.labels[batch])).to(device)
        losses.append(loss_of(logits, target).double().cpu().numpy())
        probabilities.append(logits.double().softmax(dim=1).cpu().numpy())
    return sums_of_classification(
        np.concatenate(probabilities), labels, patients, np.concatenate(losses)
    )


def _segmentation(
    module: torch.nn.Module,
    job: Job,
    view: JobView,
    cases: NDArray[np.int64],
    patients: NDArray[np.int64],
) -> Sums:
    loss_of = build_loss(job.training.loss, job.task)
    num_classes = len(job.task.classes)
    masks = view.masks
    if masks is None:
        raise ValueError("a segmentation view has masks")
    dice: list[NDArray[np.float64]] = []
    losses = []
    for batch in _batches(view, cases):
        logits, device = predict(module, view, batch)
        truth = np.ascontiguousarray(masks[batch])
        target = torch.from_numpy(truth.astype(np.int64)).to(device)
        losses.append(loss_of(logits, target).double().cpu().numpy())
        predicted = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
        pairs = zip(predicted, truth, strict=True)
        dice.extend(dice_per_structure(p, t, num_classes) for p, t in pairs)
    return sums_of_segmentation(np.stack(dice), patients, np.concatenate(losses))
