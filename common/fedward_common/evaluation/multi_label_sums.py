"""Sums over the cases of a multi-label task: for each finding those of its annotated cases."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedward_common.annotation import NOT_ANNOTATED
from fedward_common.evaluation.cases import FloatArray, IntArray
from fedward_common.evaluation.checked_counts import Counts, require, split_vector
from fedward_common.evaluation.classification_sums import (
    ClassificationSums,
    sums_of_classification,
)

_ABSENT_OR_PRESENT = 2


@dataclass(frozen=True, eq=False)
class MultiLabelSums:
    """What a split's cases add up to, each finding a classification of two classes by itself.

    Attributes:
        findings: In the order of the class ids; class 1 of each is that the finding is present.
            Cases in which a finding is not annotated are in none of its numbers.
    """

    findings: tuple[ClassificationSums, ...]

    def __post_init__(self) -> None:
        require(bool(self.findings), "no finding")
        for one in self.findings:
            require(one.num_classes == _ABSENT_OR_PRESENT, "a finding is absent or present")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultiLabelSums):
            return NotImplemented
        return self.findings == other.findings

    __hash__ = None  # type: ignore[assignment]  # equal by content, like an array

    @property
    def count(self) -> int:
        """Annotated cases of the finding that has most."""
        return max(one.count for one in self.findings)

    def merge(self, other: Self) -> "MultiLabelSums":
        """Give the sums of both groups of cases, which share no case."""
        require(len(self.findings) == len(other.findings), "sums of different tasks do not merge")
        pairs = zip(self.findings, other.findings, strict=True)
        return MultiLabelSums(tuple(one.merge(another) for one, another in pairs))

    def to_vector(self) -> Counts:
        """Give every number in one int64 vector, one finding after another."""
        return np.concatenate([one.to_vector() for one in self.findings])

    @classmethod
    def from_vector(cls, vector: NDArray[Any], num_classes: int) -> Self:
        """Read `to_vector`'s output, or a sum of several; refuses as `ClassificationSums` does."""
        length = ClassificationSums.empty(_ABSENT_OR_PRESENT).to_vector().size
        parts = split_vector(vector, (length,) * num_classes)
        return cls(tuple(ClassificationSums.from_vector(p, _ABSENT_OR_PRESENT) for p in parts))

    @classmethod
    def empty(cls, num_classes: int) -> Self:
        """Give the sums of no case: the neutral element of `merge`."""
        return cls((ClassificationSums.empty(_ABSENT_OR_PRESENT),) * num_classes)


def sums_of_multi_label(
    probabilities: FloatArray, labels: IntArray, patients: IntArray, losses: FloatArray
) -> MultiLabelSums:
    """Sum up a site's images; of one finding, a patient's images of one label are one case.

    Args:
        probabilities: That each finding is present in each image, shape (n, K), from 0 to 1.
        labels: 1, 0 or `NOT_ANNOTATED`, shape (n, K).
        patients: A number for each image that is the same for images of one patient, shape (n,).
        losses: Loss of each finding of each image, shape (n, K).

    Raises:
        UnusableUpdateError: A probability or loss of an annotated finding is NaN or infinite.
        CohortError: A label is none of the three.
    """
    return MultiLabelSums(
        tuple(
            _sums_of_finding(probabilities[:, k], labels[:, k], patients, losses[:, k])
            for k in range(labels.shape[1])
        )
    )


def _sums_of_finding(
    probabilities: FloatArray, labels: IntArray, patients: IntArray, losses: FloatArray
) -> ClassificationSums:
    annotated = labels != NOT_ANNOTATED
    present = probabilities[annotated]
    return sums_of_classification(
        np.stack([1 - present, present], axis=1),
        labels[annotated].astype(np.int64),
        patients[annotated],
        losses[annotated],
    )
