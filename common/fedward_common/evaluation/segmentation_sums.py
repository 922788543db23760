"""Sums over the patients of a segmentation."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedward_common.evaluation.cases import (
    FloatArray,
    IntArray,
    clipped_losses,
    fixed_point_sum,
    mean_per_group,
)
from fedward_common.evaluation.checked_counts import (
    MAX_CASES,
    MAX_LOSS,
    Counts,
    own_array,
    require,
    require_counts,
    require_fixed_sum,
    split_vector,
)


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
    def from_vector(cls, vector: NDArray[Any], num_classes: int) -> Self:
        """Read `to_vector`'s output, or a sum of several; refuses as `ClassificationSums` does."""
        structures = num_classes - 1
        counts, dice, squares, empty, scalars = split_vector(vector, (*(structures,) * 4, 2))
        loss_sum, patients = (int(number) for number in scalars)
        return cls(counts, dice, squares, empty, loss_sum, patients)

    @classmethod
    def empty(cls, num_classes: int) -> Self:
        """Give the sums of no patient: the neutral element of `merge`."""
        none = np.zeros(num_classes - 1, dtype=np.int64)
        return cls(none, none, none, none, 0, 0)


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
