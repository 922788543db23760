"""`[secure_aggregation]`: whether the coordinator sees sums alone, and in what numbers they come.

Every key is written into the manifest, so all sites of a run count in the same ring.
"""

from dataclasses import dataclass
from typing import Literal

from fedward_common.job.checks import require_between


@dataclass(frozen=True)
class SecureAggregationSection:
    """`[secure_aggregation]`; `enabled` has no default.

    Args:
        enabled: Updates, losses and sums of an evaluation leave a site masked; the coordinator
            sees what they add up to over all sites of a round.
        bits: Of the ring in which updates are added up: 4 bytes a parameter are sent, or 3.
        value_range: A parameter's update is clipped to +-this before it is encoded.
        control_variate_range: The same for SCAFFOLD's changes of control variates.
        stochastic_rounding: Round up or down by chance instead of to the nearest step.
        minimum_sites: Fewer sites are never added up; a site's own policy may ask for more.
        step_deadline_seconds: How long a site may take for one message of the protocol.
        mean_norm_limit: A mean update of a larger L2 norm is not taken; 0 takes any.
    """

    enabled: bool
    bits: Literal[24, 32] = 32
    value_range: float = 4.0
    control_variate_range: float = 64.0
    stochastic_rounding: bool = False
    minimum_sites: int = 2
    step_deadline_seconds: float = 120.0
    mean_norm_limit: float = 0.0

    def __post_init__(self) -> None:
        for key in ("value_range", "control_variate_range"):
            require_between(f"secure_aggregation.{key}", getattr(self, key), 0, 1e6, low_open=True)
        require_between("secure_aggregation.mean_norm_limit", self.mean_norm_limit, 0, 1e9)
        require_between("secure_aggregation.minimum_sites", self.minimum_sites, 2, 10_000)
        require_between(
            "secure_aggregation.step_deadline_seconds", self.step_deadline_seconds, 0, 1e6,
            low_open=True,
        )  # fmt: skip
        require_between("secure_aggregation.mean_norm_limit", self.mean_norm_limit, 0, 1e9)
