"""An answer for the terminal: classes and numbers, nothing of the patient."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fedward_client.cohorts.finding_codes import CODE_MEANINGS
from fedward_client.prediction.network_answer import Classification
from fedward_client.prediction.placed_mask import PlacedMask
from fedward_client.prediction.result_headers import STATEMENT
from fedward_client.prediction.trained_model import TrainedModel


def table_of(model: TrainedModel, answer: Classification | PlacedMask) -> dict[str, Any]:
    """Give the answer as JSON values."""
    about = {"model": model.name, "model_sha256": model.sha256, "statement": STATEMENT}
    if isinstance(answer, Classification):
        return {**about, "kind": "classification", "classes": _classes(model, answer),
                "num_images": answer.num_images}  # fmt: skip
    return {**about, "kind": "segmentation", "classes": _segments(model, answer),
            "num_planes": len(answer.planes),
            "no_volume_code": answer.no_volume_code or None}  # fmt: skip


def _classes(model: TrainedModel, answer: Classification) -> list[dict[str, Any]]:
    return [
        {
            "class": one.name,
            "probability": answer.probabilities[one.id],
            "threshold": answer.thresholds[one.id],
            "called": answer.is_called[one.id],
        }
        for one in model.job.task.classes
    ]


def _segments(model: TrainedModel, answer: PlacedMask) -> list[dict[str, Any]]:
    classes = model.job.task.classes
    counts = np.bincount(answer.planes.ravel(), minlength=len(classes))
    voxel_mm3 = answer.voxel_mm3
    return [
        {
            "class": one.name,
            "voxels": int(counts[one.id]),
            "volume_ml": None if voxel_mm3 is None else int(counts[one.id]) * voxel_mm3 / 1000,
        }
        for one in classes[1:]
    ]


def lines_of(table: Mapping[str, Any]) -> Iterator[str]:
    """Write `table_of`, with `out` and `stored`, for a person."""
    yield f"{table['kind']} by {table['model']}"
    width = max(len(one["class"]) for one in table["classes"])
    for one in table["classes"]:
        if "probability" in one:
            called = "called" if one["called"] else ""
            yield f"  {one['class']:<{width}}  {one['probability']:.3f}  {called}".rstrip()
        else:
            volume = "" if one["volume_ml"] is None else f"  {one['volume_ml']:.2f} ml"
            yield f"  {one['class']:<{width}}  {one['voxels']} voxels{volume}"
    if code := table.get("no_volume_code"):
        yield f"no volume in ml: {CODE_MEANINGS[code].meaning} ({code})"
    if table["out"] is not None:
        yield f"written to {table['out']}; it names the patient, as the archive needs it"
    if table["stored"]:
        yield "stored by the server"
    yield str(table["statement"])
