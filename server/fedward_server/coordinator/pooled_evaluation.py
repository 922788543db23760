"""Sums of several sites, merged as they come, and the pooled figures made of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.evaluation.figures import (
    classification_figures,
    segmentation_figures,
)
from fedward_common.evaluation.operating_points import Threshold, choose_threshold
from fedward_common.evaluation.sums import (
    ClassificationSums,
    Sums,
    empty_sums,
    sums_from_vector,
)
from fedward_common.job.job_file import TaskSection


@dataclass
class PooledSums:
    """The running total of one evaluation and the sites in it."""

    task: TaskSection
    sums: Sums
    sites: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, task: TaskSection) -> "PooledSums":
        """Start with no patients."""
        return cls(task, empty_sums(task))

    def checked(self, unverified: NDArray[Any]) -> Sums:
        """Read one site's vector, which can then be added.

        Raises:
            MalformedMessageError: It is no vector of sums of this task, or with those before it
                there would be more cases than possible.
        """
        sums = sums_from_vector(np.asarray(unverified), self.task)
        merged(self.sums, sums)
        return sums

    def add(self, site: str, sums: Sums) -> None:
        """Merge one site's sums."""
        self.sums = merged(self.sums, sums)
        self.sites.append(site)


def merged(left: Sums, right: Sums) -> Sums:
    """Merge two sums of one task."""
    if isinstance(left, ClassificationSums):
        if not isinstance(right, ClassificationSums):
            raise TypeError("sums of two tasks cannot be merged")
        return left.merge(right)
    if isinstance(right, ClassificationSums):
        raise TypeError("sums of two tasks cannot be merged")
    return left.merge(right)


def threshold_of(sums: Sums) -> Threshold | None:
    """Choose the threshold on validation sums; only two-class tasks have one."""
    if isinstance(sums, ClassificationSums) and sums.num_classes == 2:
        return choose_threshold(sums)
    return None


def figures_of(
    sums: Sums, task: TaskSection, threshold: Threshold | None, *, split: str
) -> dict[str, dict[str, Any]]:
    """Give every figure by name, as plain values."""
    if isinstance(sums, ClassificationSums):
        named = classification_figures(sums, task.class_names, threshold, split=split)
    else:
        named = segmentation_figures(sums, task.class_names, split=split)
    return {name: dict(figure.to_dict()) for name, figure in named.items()}
