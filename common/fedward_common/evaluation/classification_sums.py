"""Sums over the cases of a classification in which each image is of one class."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedward_common.evaluation.cases import (
    FloatArray,
    IntArray,
    clipped_losses,
    fixed_point_sum,
    group_cases,
    mean_per_group,
    score_bins,
    unit_rows,
)
from fedward_common.evaluation.checked_counts import (
    MAX_CASES,
    MAX_LOSS,
    NUM_SCORE_BINS,
    Counts,
    own_array,
    require,
    require_counts,
    require_fixed_sum,
    split_vector,
)

_MIDDLE_BIN = NUM_SCORE_BINS // 2


@dataclass(frozen=True, eq=False)
class ClassificationSums:
    """What a split's cases add up to in a classification of K classes.

    Attributes:
        histograms: Cases by score, shape (curves, 2, NUM_SCORE_BINS), the second axis negatives,
            then positives. Two classes have one curve, class 1 against class 0; more have one for
            each class against the rest. The score is the log-odds of the probability, clipped to
            +-SCORE_LIMIT, in bins of one width.
        confusion: Cases by [true, predicted] class, shape (K, K), by the largest probability; of
            two classes an equal probability counts as class 1, as in the histogram.
        loss_sum: Sum of the losses, each clipped to 0..MAX_LOSS, in units of 1/FIXED_POINT_ONE.
        count: Number of cases.
    """

    histograms: Counts
    confusion: Counts
    loss_sum: int
    count: int

    def __post_init__(self) -> None:
        own_array(self, "histograms")
        own_array(self, "confusion")
        k = self.num_classes
        require(k >= 2, f"{k} classes, at least 2 needed")
        require_counts(self.confusion, (k, k), "confusion")
        require_counts(self.histograms, (_num_curves(k), 2, NUM_SCORE_BINS), "histograms")
        require(0 <= self.count <= MAX_CASES, f"{self.count} cases, at most {MAX_CASES} possible")
        require(int(self.confusion.sum()) == self.count, "confusion and count differ")
        self._require_agreeing_histograms()
        require_fixed_sum(self.loss_sum, self.count, MAX_LOSS, "loss_sum")

    def _require_agreeing_histograms(self) -> None:
        positives = self.class_totals[-len(self.histograms) :]
        expected = np.stack([self.count - positives, positives], axis=1)
        agree = np.array_equal(self.histograms.sum(axis=2), expected)
        require(agree, "histograms and confusion differ in the number of cases of a class")
        if self.num_classes == 2:
            called = self.histograms[0, :, _MIDDLE_BIN:].sum(axis=1)
            agree = np.array_equal(called, self.confusion[:, 1])
            require(agree, "histogram and confusion differ in the cases predicted as class 1")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClassificationSums):
            return NotImplemented
        return np.array_equal(self.to_vector(), other.to_vector())

    __hash__ = None  # type: ignore[assignment]  # equal by content, like an array

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.confusion)

    @property
    def class_totals(self) -> Counts:
        """Cases of each true class, shape (K,)."""
        totals: Counts = self.confusion.sum(axis=1)
        return totals

    def merge(self, other: Self) -> "ClassificationSums":
        """Give the sums of both groups of cases, which share no case."""
        require(self.num_classes == other.num_classes, "sums of different tasks do not merge")
        return ClassificationSums(
            self.histograms + other.histograms,
            self.confusion + other.confusion,
            self.loss_sum + other.loss_sum,
            self.count + other.count,
        )

    def to_vector(self) -> Counts:
        """Give every number in one int64 vector, whose length depends on K alone."""
        scalars = np.array([self.loss_sum, self.count], dtype=np.int64)
        return np.concatenate([self.histograms.ravel(), self.confusion.ravel(), scalars])

    @classmethod
    def from_vector(cls, vector: NDArray[Any], num_classes: int) -> Self:
        """Read `to_vector`'s output, or a sum of several.

        Raises:
            MalformedMessageError: Wrong length or dtype, a negative or impossible number, or
                numbers that contradict each other.
        """
        k = num_classes
        shape = (_num_curves(k), 2, NUM_SCORE_BINS)
        histograms, confusion, scalars = split_vector(vector, (int(np.prod(shape)), k * k, 2))
        loss_sum, count = (int(number) for number in scalars)
        return cls(histograms.reshape(shape), confusion.reshape(k, k), loss_sum, count)

    @classmethod
    def empty(cls, num_classes: int) -> Self:
        """Give the sums of no case: the neutral element of `merge`."""
        k = num_classes
        histograms = np.zeros((_num_curves(k), 2, NUM_SCORE_BINS), dtype=np.int64)
        return cls(histograms, np.zeros((k, k), dtype=np.int64), 0, 0)


def sums_of_classification(
    probabilities: FloatArray, labels: IntArray, patients: IntArray, losses: FloatArray
) -> ClassificationSums:
    """Sum up a site's images, a patient's images of one label averaged into one case.

    A patient with images of two labels (one healthy lung, one ill) is one case of each label.

    Args:
        probabilities: Of each class for each image, shape (n, K); each row is scaled to sum 1.
        labels: True class of each image, shape (n,).
        patients: A number for each image that is the same for images of one patient, shape (n,).
        losses: Loss of each image, shape (n,).

    Raises:
        UnusableUpdateError: A probability or loss is NaN or infinite: the weights diverged.
        CohortError: A label is no class of the task.
    """
    k = probabilities.shape[1]
    cases, first = group_cases(labels, patients, k)
    of_case = mean_per_group(unit_rows(probabilities), cases, len(first))
    truth = labels[first]
    bins = score_bins(of_case)[:, 1:] if k == 2 else score_bins(of_case)
    predicted = (bins[:, 0] >= _MIDDLE_BIN).astype(int) if k == 2 else of_case.argmax(axis=1)
    histograms = np.zeros((_num_curves(k), 2, NUM_SCORE_BINS), dtype=np.int64)
    for curve, positive in enumerate([1] if k == 2 else range(k)):
        np.add.at(histograms[curve], ((truth == positive).astype(int), bins[:, curve]), 1)
    confusion = np.zeros((k, k), dtype=np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    loss_sum = fixed_point_sum(mean_per_group(clipped_losses(losses), cases, len(first)))
    return ClassificationSums(histograms, confusion, int(loss_sum), len(first))


def _num_curves(num_classes: int) -> int:
    return 1 if num_classes == 2 else num_classes
