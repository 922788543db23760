"""Sums over patients that merge exactly, whoever adds them and in whatever order.

Everything is a 64-bit integer: counts as they are, losses and Dice in fixed point. Merging is plain
addition, so figures of merged sums are those of the pooled patients, and `to_vector` is linear: the
sum of two sites' vectors is the vector of their merged sums. No total of `MAX_CASES` cases or fewer
overflows: their losses need 10^7 * 64 * 2^32 < 2^63. Sums that were built agree with themselves;
what does not, from a peer or by mistake, is a `MalformedMessageError`.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedward_common.evaluation.cases import (
    FloatArray,
    IntArray,
    clipped_losses,
    dice_per_structure,
    fixed_point_sum,
    group_cases,
    mean_per_group,
    score_bins,
    unit_rows,
)
from fedward_common.evaluation.checked_counts import (
    FIXED_POINT_ONE,
    MAX_CASES,
    MAX_LOSS,
    NUM_SCORE_BINS,
    SCORE_LIMIT,
    Counts,
    own_array,
    require,
    require_counts,
    require_fixed_sum,
    split_vector,
)
from fedward_common.job.job_file import TaskSection

__all__ = [
    "FIXED_POINT_ONE",
    "MAX_CASES",
    "MAX_LOSS",
    "NUM_SCORE_BINS",
    "SCORE_LIMIT",
    "ClassificationSums",
    "Counts",
    "SegmentationSums",
    "Sums",
    "dice_per_structure",
    "empty_sums",
    "sums_from_vector",
    "sums_of_classification",
    "sums_of_segmentation",
]

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
    def from_vector(cls, vector: NDArray[Any], task: TaskSection) -> Self:
        """Read `to_vector`'s output, or a sum of several.

        Raises:
            MalformedMessageError: Wrong length or dtype, a negative or impossible number, or
                numbers that contradict each other.
        """
        k = len(task.classes)
        shape = (_num_curves(k), 2, NUM_SCORE_BINS)
        histograms, confusion, scalars = split_vector(vector, (int(np.prod(shape)), k * k, 2))
        loss_sum, count = (int(number) for number in scalars)
        return cls(histograms.reshape(shape), confusion.reshape(k, k), loss_sum, count)

    @classmethod
    def empty(cls, task: TaskSection) -> Self:
        """Give the sums of no case: the neutral element of `merge`."""
        k = len(task.classes)
        histograms = np.zeros((_num_curves(k), 2, NUM_SCORE_BINS), dtype=np.int64)
        return cls(histograms, np.zeros((k, k), dtype=np.int64), 0, 0)


@dataclass(frozen=True, eq=False)
class SegmentationSums:
    """What a split's patients add up to in a segmentation of K - 1 structures and a background.

    Attributes:
        counts: Patients that count for each structure, shape (K-1,).
        dice_sums: Sums of their Dice, in units of 1/FIXED_POINT_ONE, shape (K-1,).
        dice_square_sums: Sums of the squares, in the same units, shape (K-1,).
        both_empty: Patients left out for each structure, shape (K-1,): neither the truth nor the
            prediction has it, so there is no Dice.
        loss_sum: As in `ClassificationSums`.
        patients: Number of patients; `counts` and `both_empty` add up to it.
    """

    counts: Counts
    dice_sums: Counts
    dice_square_sums: Counts
    both_empty: Counts
    loss_sum: int
    patients: int

    def __post_init__(self) -> None:
        for name in ("counts", "dice_sums", "dice_square_sums", "both_empty"):
            own_array(self, name)
        shape = (self.num_structures,)
        require_counts(self.counts, shape, "counts")
        require_counts(self.both_empty, shape, "both_empty")
        require(0 <= self.patients <= MAX_CASES, f"{self.patients} patients came")
        agree = bool((self.counts + self.both_empty == self.patients).all())
        require(agree, "counts and both_empty do not add up to the patients")
        require(self.dice_sums.shape == self.dice_square_sums.shape == shape, "Dice sums' shape")
        for count, total, squares in zip(
            self.counts.tolist(), self.dice_sums.tolist(), self.dice_square_sums.tolist(),
            strict=True,
        ):  # fmt: skip
            require_fixed_sum(total, count, 1.0, "a Dice sum")
            # No square exceeds its Dice; each of the two was rounded by half a unit at most.
            require(0 <= squares <= total + count, "squares exceed the Dice they are of")
        require_fixed_sum(self.loss_sum, self.patients, MAX_LOSS, "loss_sum")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SegmentationSums):
            return NotImplemented
        return np.array_equal(self.to_vector(), other.to_vector())

    __hash__ = None  # type: ignore[assignment]  # equal by content, like an array

    @property
    def num_structures(self) -> int:
        """K - 1: the classes without the background."""
        return len(self.counts)

    def merge(self, other: Self) -> "SegmentationSums":
        """Give the sums of both groups of patients, which share no patient."""
        require(self.num_structures == other.num_structures, "sums of different tasks")
        return SegmentationSums(
            self.counts + other.counts,
            self.dice_sums + other.dice_sums,
            self.dice_square_sums + other.dice_square_sums,
            self.both_empty + other.both_empty,
            self.loss_sum + other.loss_sum,
            self.patients + other.patients,
        )

    def to_vector(self) -> Counts:
        """Give every number in one int64 vector, of length 4 (K-1) + 2."""
        scalars = np.array([self.loss_sum, self.patients], dtype=np.int64)
        return np.concatenate(
            [self.counts, self.dice_sums, self.dice_square_sums, self.both_empty, scalars]
        )

    @classmethod
    def from_vector(cls, vector: NDArray[Any], task: TaskSection) -> Self:
        """Read `to_vector`'s output, or a sum of several; refuses as `ClassificationSums` does."""
        structures = len(task.classes) - 1
        counts, dice, squares, empty, scalars = split_vector(vector, (*(structures,) * 4, 2))
        loss_sum, patients = (int(number) for number in scalars)
        return cls(counts, dice, squares, empty, loss_sum, patients)

    @classmethod
    def empty(cls, task: TaskSection) -> Self:
        """Give the sums of no patient: the neutral element of `merge`."""
        none = np.zeros(len(task.classes) - 1, dtype=np.int64)
        return cls(none, none, none, none, 0, 0)


Sums = ClassificationSums | SegmentationSums


def empty_sums(task: TaskSection) -> Sums:
    """Give the empty sums that fit the task."""
    kind = SegmentationSums if task.kind == "segmentation" else ClassificationSums
    return kind.empty(task)


def sums_from_vector(vector: NDArray[Any], task: TaskSection) -> Sums:
    """Read a vector as the sums that fit the task; refuses as their `from_vector` does."""
    kind = SegmentationSums if task.kind == "segmentation" else ClassificationSums
    return kind.from_vector(vector, task)


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


def sums_of_segmentation(
    dice: FloatArray, patients: IntArray, losses: FloatArray
) -> SegmentationSums:
    """Sum up a site's images, each patient's averaged first, over those that have a Dice.

    Args:
        dice: From `dice_per_structure`, shape (n, K-1), NaN where neither mask has the structure.
        patients: A number for each image that is the same for images of one patient, shape (n,).
        losses: Loss of each image, shape (n,).

    Raises:
        UnusableUpdateError: A loss is NaN or infinite: the weights diverged.
    """
    names, of_image = np.unique(patients, return_inverse=True)
    count = len(names)
    defined = ~np.isnan(dice)
    share = mean_per_group(defined.astype(np.float64), of_image, count)
    total = mean_per_group(np.where(defined, dice, 0.0), of_image, count)
    has_dice = share > 0
    of_patient = np.clip(np.divide(total, share, out=np.zeros_like(total), where=has_dice), 0, 1)
    counts = has_dice.sum(axis=0)
    return SegmentationSums(
        counts,
        fixed_point_sum(of_patient),
        fixed_point_sum(of_patient**2),
        count - counts,
        int(fixed_point_sum(mean_per_group(clipped_losses(losses), of_image, count))),
        count,
    )


def _num_curves(num_classes: int) -> int:
    return 1 if num_classes == 2 else num_classes
