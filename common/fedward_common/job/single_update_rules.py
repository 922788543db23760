"""What a job must say whose strategy compares the sites' updates with each other.

Secure aggregation exists so that nobody but a site sees its update, and the joint mechanism sends
shares that mean something only once they are added up.
"""

from typing import TYPE_CHECKING

from fedward_common.job.checks import require

if TYPE_CHECKING:
    from fedward_common.job.job_file import Job

NEEDS_SINGLE_UPDATES = frozenset({"median"})
_FEWEST_SITES = 3


def check_single_updates_fit_job(job: "Job") -> None:
    """Refuse what cannot go with a strategy that needs each site's own update.

    Raises:
        ConfigurationError: One line that names the key, and a hint.
    """
    name = job.strategy.name
    if name not in NEEDS_SINGLE_UPDATES:
        return
    require(
        not job.secure_aggregation.enabled,
        "strategy.name", f"is {name!r}, which needs each site's own update",
        "secure aggregation hides these: set secure_aggregation.enabled = false, which each "
        'site\'s policy must allow, or take a strategy of sums such as "fedavg"',
    )  # fmt: skip
    require(
        job.privacy.mechanism != "joint",
        "privacy.mechanism", f"is 'joint' with {name!r}, which needs each site's own update",
        '"per-site", or a strategy of sums such as "fedavg"',
    )  # fmt: skip
    require(
        job.strategy.weighting == "uniform",
        "strategy.weighting", f"is {job.strategy.weighting!r} with {name!r}",
        '"uniform": it counts each site once',
    )  # fmt: skip
    require(
        job.quorum.required_sites >= _FEWEST_SITES,
        "quorum.required_sites", f"is {job.quorum.required_sites} with {name!r}",
        f"{_FEWEST_SITES} or more: of two sites either moves it as it likes, and to bear k that "
        "lie a round needs 2 k + 1",
    )  # fmt: skip
