"""What a job with SCAFFOLD must say, so that control variates are what its paper means by them.

A site's control variate is the mean gradient of its steps, worked out from how far its weights
came (option II). That holds for plain gradient steps alone, and the mean over sites is unweighted.

Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1.
"""

from typing import TYPE_CHECKING

from fedward_common.job.checks import require

if TYPE_CHECKING:
    from fedward_common.job.job_file import Job


def check_scaffold_fits_job(job: "Job") -> None:
    """Refuse what cannot go with `strategy.name = "scaffold"`.

    Raises:
        ConfigurationError: One line that names the key, and a hint.
    """
    if job.strategy.name != "scaffold":
        return
    training, optimizer = job.training, job.training.optimizer
    require(
        optimizer.name == "sgd",
        "training.optimizer.name", f"is {optimizer.name!r} with scaffold",
        '"sgd": control variates are mean gradients of plain steps',
    )  # fmt: skip
    require(
        optimizer.momentum == 0,
        "training.optimizer.momentum", f"is {optimizer.momentum} with scaffold",
        "leave it out: control variates are mean gradients of plain steps",
    )  # fmt: skip
    require(
        not training.mixed_precision,
        "training.mixed_precision", "cannot go with scaffold",
        "leave it out: where half precision skips a step, a control variate is wrong",
    )  # fmt: skip
    require(
        training.proximal_mu == 0,
        "training.proximal_mu", "is above 0 with scaffold",
        "leave it out: both hold back the same drift, and each would undo part of the other",
    )  # fmt: skip
    require(
        job.strategy.weighting == "uniform",
        "strategy.weighting", f"is {job.strategy.weighting!r} with scaffold",
        '"uniform": the global control variate is the plain mean over sites',
    )  # fmt: skip
