"""`[hold_out]`: a set of public images by which the coordinator judges each round's weights.

The set lies at the coordinator alone. The job names it by its hash, so every site sees which one
decides, by what figure, and how far that may fall.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fedward_common.job.checks import require, require_between

_MAX_LOSS = (
    64.0  # beyond which `evaluation` clips; it is not imported, as jobs are read without numpy
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HoldOutSection:
    """`[hold_out]`; a job without it has no such gate.

    Args:
        sha256: Of the set's file.
        metric: What is compared; `auto` is the metric that chooses the best round.
        largest_drop: A round whose weights are worse than those before it by more than this is
            left out. In the metric's own unit; a loss is worse where it is higher.
    """

    sha256: str
    metric: Literal["auto", "auc", "balanced_accuracy", "accuracy", "dice", "loss"] = "auto"
    largest_drop: float = 0.1

    def __post_init__(self) -> None:
        require(
            _SHA256.fullmatch(self.sha256) is not None,
            "hold_out.sha256", "is no SHA-256",
            "64 of 0-9 and a-f, as `fedward hold-out` and `sha256sum` print them",
        )  # fmt: skip
        require_between("hold_out.largest_drop", self.largest_drop, 0, _MAX_LOSS)

    def metric_of(self, selection_metric: str) -> str:
        """Give the metric, with `auto` resolved to the job's selection metric."""
        return selection_metric if self.metric == "auto" else self.metric


def check_hold_out_fits_task(
    section: HoldOutSection, kind: str, metrics: Sequence[str], selection_metric: str
) -> None:
    """Refuse a metric that the task does not have, and a drop that no figure can fall by.

    Raises:
        ConfigurationError: One line that names the key, and a hint.
    """
    require(
        section.metric in ("auto", *metrics),
        "hold_out.metric", f"is {section.metric!r} for {kind}",
        f"one of: auto, {', '.join(metrics)}",
    )  # fmt: skip
    metric = section.metric_of(selection_metric)
    require(
        metric == "loss" or section.largest_drop < 1,
        "hold_out.largest_drop", f"is {section.largest_drop:g} for {metric}",
        "below 1, or no round is ever left out",
    )  # fmt: skip
