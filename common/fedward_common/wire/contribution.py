"""The vectors that a site's contribution to a round is made of, by name; the one list of them.

Whoever adds contributions up, masks them or checks them goes by this list, in its order.
"""

from dataclasses import dataclass
from typing import Literal

from fedward_common.job.job_file import Job
from fedward_common.wire import messages


@dataclass(frozen=True)
class ContributionVector:
    """One vector beside a `TrainReply`: its array's name, its length and what its values are."""

    name: str
    length: int
    dtype: Literal["float32", "int64"] = "float32"


def contribution_vectors(job: Job, num_parameters: int) -> tuple[ContributionVector, ...]:
    """Give what each site sends for a round of this job.

    Args:
        job: Its mechanism and strategy decide.
        num_parameters: Of the model.
    """
    if job.privacy.mechanism == "joint":
        return (ContributionVector(messages.SHARES, num_parameters, "int64"),)
    update = ContributionVector(messages.UPDATE, num_parameters)
    if job.strategy.name == "scaffold":
        return update, ContributionVector(messages.CONTROL_VARIATE_CHANGE, num_parameters)
    return (update,)
