"""Whom the start of a run waits for, and with how many it may begin."""

from collections.abc import Callable, Collection

from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.secagg.layout import fewest_ready_sites
from fedward_common.secagg.thresholds import sites_of_share
from fedward_server.coordinator.run_setup import RunSetup
from fedward_server.coordinator.waiting import Patience, teller_of


def patience_at_start(
    setup: RunSetup, known: Collection[str], note: Callable[[str], None]
) -> Patience:
    """Give what a run's job asks for.

    Args:
        setup: Of the run.
        known: Who accepted the run when it began; empty where it begins now.
        note: Tells a person something.
    """
    job = setup.job
    trainers = {SiteId(s) for s in setup.manifest.training_sites if not known or s in known}
    needed = sites_needed(job, len(trainers))

    def is_enough(accepted: Collection[SiteId]) -> bool:
        return len(trainers.intersection(accepted)) >= needed

    return Patience(job.quorum.acceptance_seconds, is_enough, teller_of(setup.folder, note))


def sites_needed(job: Job, num_trainers: int) -> int:
    """Give how many of these training sites must have accepted to begin without the others."""
    share = sites_of_share(job.quorum.minimum_share, num_trainers)
    needed = max(1, job.quorum.required_sites, share)
    if job.secure_aggregation.enabled:
        needed = max(needed, fewest_ready_sites(job, "train", num_trainers))
    return needed
