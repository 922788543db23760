"""Sums of several sites, merged as they come, and the pooled figures made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import MalformedMessageError
from fedward_common.evaluation.checked_counts import MAX_CASES
from fedward_common.evaluation.figures import (
    classification_figures,
    segmentation_figures,
)
from fedward_common.evaluation.multi_label_figures import multi_label_figures
from fedward_common.evaluation.operating_points import Threshold, choose_threshold
from fedward_common.evaluation.sums import (
    ClassificationSums,
    MultiLabelSums,
    SegmentationSums,
    Sums,
    empty_sums,
    sums_from_vector,
)
from fedward_common.job.job_file import TaskSection
from fedward_server.coordinator.run_journal import unpacked

Thresholds = tuple[Threshold, ...]
"""One for two classes, one a finding of a multi-label task, none for any other task."""


@dataclass
class PooledSums:
    """The running total of one evaluation and the sites in it."""

    task: TaskSection
    sums: Sums
    max_cases_a_site: int
    sites: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, task: TaskSection, *, num_sites: int) -> "PooledSums":
        """Start with no patients.

        Args:
            task: The job's.
            num_sites: How many may contribute; each gets its share of the most cases a sum can
                hold, so that no site's claim keeps another out.
        """
        return cls(task, empty_sums(task), MAX_CASES // max(1, num_sites))

    def with_sums(self, unverified: NDArray[Any]) -> Sums:
        """Give the total with one site's vector in it; `take` makes it the new total.

        Raises:
            MalformedMessageError: It is no vector of sums of this task, or of more cases than a
                site may have.
        """
        one = sums_from_vector(np.asarray(unverified), self.task)
        if _num_cases(one) > self.max_cases_a_site:
            raise MalformedMessageError(f"{_num_cases(one)} cases at one site are too many")
        return self.sums.merge(one)  # type: ignore[arg-type]  # both are of the one task

    def take_total(self, sites: list[str], unverified: NDArray[Any]) -> None:
        """Take the sums of several sites, which came as one; nothing was in the total before.

        Raises:
            MalformedMessageError: They are no sums of this task, or of too many cases.
        """
        one = sums_from_vector(np.asarray(unverified), self.task)
        if _num_cases(one) > self.max_cases_a_site * len(sites):
            raise MalformedMessageError(f"{_num_cases(one)} cases are more than can be")
        self.sums = one
        self.sites = list(sites)

    def take(self, site: str, total: Sums) -> None:
        """Take over what `with_sums` gave for a site."""
        self.sums = total
        self.sites.append(site)


def _num_cases(sums: Sums) -> int:
    return sums.patients if isinstance(sums, SegmentationSums) else sums.count


def thresholds_for(selected: Mapping[str, Any], task: TaskSection) -> Thresholds:
    """Give the thresholds that were fixed on the selected round's validation sums, if any.

    Args:
        selected: The journal's entry of the selected round; its `sums` as `packed` wrote them.
        task: The job's.
    """
    if not selected.get("sums"):
        return ()
    return thresholds_of(sums_from_vector(unpacked(selected["sums"]), task))


def thresholds_of(sums: Sums) -> Thresholds:
    """Choose thresholds on validation sums."""
    if isinstance(sums, MultiLabelSums):
        return tuple(choose_threshold(one) for one in sums.findings)
    if isinstance(sums, ClassificationSums) and sums.num_classes == 2:
        return (choose_threshold(sums),)
    return ()


def figures_of(
    sums: Sums, task: TaskSection, thresholds: Thresholds, *, split: str
) -> dict[str, dict[str, Any]]:
    """Give every figure by name, as plain values."""
    if isinstance(sums, SegmentationSums):
        named = segmentation_figures(sums, task.class_names, split=split)
    elif isinstance(sums, MultiLabelSums):
        named = multi_label_figures(sums, task.class_names, thresholds, split=split)
    else:
        threshold = thresholds[0] if thresholds else None
        named = classification_figures(sums, task.class_names, threshold, split=split)
    return {name: dict(figure.to_dict()) for name, figure in named.items()}
