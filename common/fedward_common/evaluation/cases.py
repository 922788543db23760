"""From the model's output for images to one row for each case, before anything is summed.

A case of a classification is a patient's images of one label; a case of a segmentation is a
patient. Averages within a case are floats and stay at the site; from there on all is integer.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.annotation import NOT_ANNOTATED_VOXEL
from fedward_common.errors import CohortError, UnusableUpdateError
from fedward_common.evaluation.checked_counts import (
    FIXED_POINT_ONE,
    MAX_LOSS,
    NUM_SCORE_BINS,
    SCORE_LIMIT,
    Counts,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]


def _require_finite(values: FloatArray, name: str) -> None:
    if not np.isfinite(values).all():
        raise UnusableUpdateError(
            f"evaluation: a {name} is NaN or infinite",
            hint="the weights diverged; lower training.optimizer.learning_rate",
        )


def unit_rows(probabilities: FloatArray) -> FloatArray:
    """Scale each image's probabilities, shape (n, K), to sum 1; float32 rounding goes this way.

    Raises:
        UnusableUpdateError: A value is NaN or infinite.
        ValueError: A value is negative, or a row is all zero.
    """
    _require_finite(probabilities, "probability")
    totals = probabilities.sum(axis=1, keepdims=True)
    if (probabilities < 0).any() or (totals <= 0).any():
        raise ValueError("probabilities must be 0 or more and not all 0")
    scaled: FloatArray = probabilities / totals
    return scaled


def clipped_losses(losses: FloatArray) -> FloatArray:
    """Clip losses to 0..MAX_LOSS, so that no image can outweigh all others.

    Raises:
        UnusableUpdateError: A loss is NaN or infinite.
    """
    _require_finite(losses, "loss")
    return np.clip(losses.astype(np.float64), 0.0, MAX_LOSS)


def group_cases(labels: IntArray, patients: IntArray, num_classes: int) -> tuple[Counts, Counts]:
    """Number the cases: patient and label together.

    Returns:
        The case of each image, shape (n,), and for each case one of its images, shape (cases,).

    Raises:
        CohortError: A label is no class of the task.
    """
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise CohortError(
            f"labels from {labels.min()} to {labels.max()} came, 0 to {num_classes - 1} needed",
            hint="check the cohort's labels against the job's classes",
        )
    _, patient = np.unique(patients, return_inverse=True)
    _, first, case = np.unique(
        patient * num_classes + labels, return_index=True, return_inverse=True
    )
    return case.astype(np.int64), first.astype(np.int64)


def mean_per_group(values: FloatArray, group: IntArray, num_groups: int) -> FloatArray:
    """Average the rows of each group: (n,) or (n, k) to (num_groups,) or (num_groups, k)."""
    totals = np.zeros((num_groups, *values.shape[1:]))
    np.add.at(totals, group, values)
    sizes = np.bincount(group, minlength=num_groups)
    means: FloatArray = (totals.T / sizes).T
    return means


def score_bins(probabilities: FloatArray) -> Counts:
    """Give the histogram bin of every class's score, shape (n, K), from 0 to NUM_SCORE_BINS - 1.

    The score is the log-odds of the class against all others, clipped to +-SCORE_LIMIT. The lower
    edge of bin NUM_SCORE_BINS / 2 is a probability of one half, which belongs to that bin.
    """
    others = probabilities.sum(axis=1, keepdims=True) - probabilities
    with np.errstate(divide="ignore"):
        log_odds = np.log(probabilities) - np.log(np.maximum(others, 0.0))
    share = (np.clip(log_odds, -SCORE_LIMIT, SCORE_LIMIT) + SCORE_LIMIT) / (2 * SCORE_LIMIT)
    bins: Counts = np.minimum((share * NUM_SCORE_BINS).astype(np.int64), NUM_SCORE_BINS - 1)
    return bins


def fixed_point_sum(values: FloatArray) -> Counts:
    """Add over the first axis in units of 1/FIXED_POINT_ONE.

    Each value is rounded before it is added, so that sums of parts add up to that of the whole.
    """
    total: Counts = np.rint(values * FIXED_POINT_ONE).astype(np.int64).sum(axis=0)
    return total


def dice_per_structure(prediction: IntArray, truth: IntArray, num_classes: int) -> FloatArray:
    """Give one case's Dice of every structure but the background.

    Args:
        prediction: Class of each pixel or voxel, 0 to num_classes - 1, any shape.
        truth: The same of the true mask, of the same shape; what is `NOT_ANNOTATED_VOXEL` there
            counts for nothing, whatever was predicted.
        num_classes: K, with the background.

    Returns:
        2 |A and B| / (|A| + |B|) of classes 1 to K-1, shape (K-1,); NaN where neither has any.

    Raises:
        ValueError: The shapes differ, or a class is outside 0 to K - 1.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    predicted, true = prediction.ravel().astype(np.int64), truth.ravel().astype(np.int64)
    if true.max(initial=0) == NOT_ANNOTATED_VOXEL:
        annotated = true != NOT_ANNOTATED_VOXEL
        predicted, true = predicted[annotated], true[annotated]
    largest = max(predicted.max(initial=0), true.max(initial=0))
    if largest >= num_classes:
        raise ValueError(f"a mask has class {largest}, the task has {num_classes}")
    sizes = np.bincount(predicted, minlength=num_classes) + np.bincount(true, minlength=num_classes)
    shared = np.bincount(true[predicted == true], minlength=num_classes)
    dice = np.full(num_classes, np.nan)
    np.divide(2.0 * shared, sizes, out=dice, where=sizes > 0)
    return dice[1:]
