"""Sums over patients that merge exactly, whoever adds them and in whatever order.

Everything is a 64-bit integer: counts as they are, losses and Dice in fixed point. Merging is plain
addition, so figures of merged sums are those of the pooled patients, and `to_vector` is linear: the
sum of two sites' vectors is the vector of their merged sums. No total of `MAX_CASES` cases or fewer
overflows: their losses need 10^7 * 64 * 2^32 < 2^63. Sums that were built agree with themselves;
what does not, from a peer or by mistake, is a `MalformedMessageError`.
"""

from typing import Any

from numpy.typing import NDArray

from fedward_common.evaluation.cases import dice_per_structure
from fedward_common.evaluation.checked_counts import (
    FIXED_POINT_ONE,
    MAX_CASES,
    MAX_LOSS,
    NUM_SCORE_BINS,
    SCORE_LIMIT,
    Counts,
)
from fedward_common.evaluation.classification_sums import (
    ClassificationSums,
    sums_of_classification,
)
from fedward_common.evaluation.multi_label_sums import MultiLabelSums, sums_of_multi_label
from fedward_common.evaluation.segmentation_sums import SegmentationSums, sums_of_segmentation
from fedward_common.job.job_file import TaskSection

__all__ = [
    "FIXED_POINT_ONE",
    "MAX_CASES",
    "MAX_LOSS",
    "NUM_SCORE_BINS",
    "SCORE_LIMIT",
    "ClassificationSums",
    "Counts",
    "MultiLabelSums",
    "SegmentationSums",
    "Sums",
    "dice_per_structure",
    "empty_sums",
    "sums_from_vector",
    "sums_of_classification",
    "sums_of_multi_label",
    "sums_of_segmentation",
    "thresholded_names",
]

Sums = ClassificationSums | MultiLabelSums | SegmentationSums


def empty_sums(task: TaskSection) -> Sums:
    """Give the empty sums that fit the task."""
    return _kind_for(task).empty(len(task.classes))


def sums_from_vector(vector: NDArray[Any], task: TaskSection) -> Sums:
    """Read a vector as the sums that fit the task; refuses as their `from_vector` does."""
    return _kind_for(task).from_vector(vector, len(task.classes))


def thresholded_names(task: TaskSection) -> tuple[str, ...]:
    """Name what a threshold decides on: each finding, or the second of two classes."""
    if task.multi_label:
        return task.class_names
    two_classes = task.kind == "classification" and len(task.classes) == 2
    return task.class_names[1:] if two_classes else ()


def _kind_for(
    task: TaskSection,
) -> type[ClassificationSums] | type[MultiLabelSums] | type[SegmentationSums]:
    if task.kind == "segmentation":
        return SegmentationSums
    return MultiLabelSums if task.multi_label else ClassificationSums
