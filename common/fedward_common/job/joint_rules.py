"""What a job with the joint mechanism must say, so that one round is one step of all sites.

Every number that a sum depends on is the job's: a rate, a divisor and weights that followed from a
site's own patients would tell of them.
"""

from typing import TYPE_CHECKING

from fedward_common.job.checks import require

if TYPE_CHECKING:
    from fedward_common.job.job_file import Job


def check_joint_fits_job(job: "Job") -> None:
    """Refuse what cannot go with `privacy.mechanism = "joint"`.

    Raises:
        ConfigurationError: One line that names the key, and a hint.
    """
    if job.privacy.mechanism != "joint":
        return
    training, optimizer = job.training, job.training.optimizer
    with_joint = "with the joint mechanism"
    require(
        job.privacy.expected_batch_patients is not None,
        "privacy.expected_batch_patients", f"is missing {with_joint}",
        "patients expected in a step over all sites: sampling_rate times all their patients",
    )  # fmt: skip
    require(
        training.sampling_rate is not None,
        "training.sampling_rate", f"is missing {with_joint}",
        "one rate for all sites, instead of batch_patients, which differs in meaning by site",
    )  # fmt: skip
    require(
        training.local_steps == 1,
        "training.local_steps", f"is {training.local_steps} {with_joint}",
        "1: the noise is added to the sum over sites, so a round is one step",
    )  # fmt: skip
    require(
        job.strategy.weighting == "uniform",
        "strategy.weighting", f"is {job.strategy.weighting!r} {with_joint}",
        '"uniform": sums are added as they are',
    )  # fmt: skip
    require(
        job.strategy.name != "scaffold",
        "strategy.name", f'is "scaffold" {with_joint}',
        "another strategy: a round is one step of all sites, so that nothing drifts",
    )  # fmt: skip
    for term in ("l1", "l2", "proximal_mu"):
        require(
            getattr(training, term) == 0,
            f"training.{term}", f"is above 0 {with_joint}",
            "leave it out: no site takes the step",
        )  # fmt: skip
    require(
        optimizer.name == "sgd",
        "training.optimizer.name", f"is {optimizer.name!r} {with_joint}",
        '"sgd": the coordinator takes the step, and [strategy] has its momentum',
    )  # fmt: skip
    require(
        optimizer.momentum == 0,
        "training.optimizer.momentum", f"is {optimizer.momentum} {with_joint}",
        "leave it out; strategy.momentum works on the joint steps",
    )  # fmt: skip
