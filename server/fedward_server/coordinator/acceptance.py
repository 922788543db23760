"""How long a run waits for sites that are away or paused, at its start and between two attempts.

Who is waited for stands in `waiting.json` of the run's folder, so that `fedward watch` can say it
while nothing of it is in the journal yet.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.secagg.layout import fewest_ready_sites
from fedward_common.secagg.thresholds import sites_of_share
from fedward_server.coordinator.run_setup import RunSetup

NOT_ANSWERED = "NOT_ANSWERED"

_WAITING = "waiting.json"

Waits = Callable[[Mapping[SiteId, str]], None]


@dataclass(frozen=True)
class EarlyStart:
    """When sites that are away or paused are no longer waited for.

    Attributes:
        after_seconds: Before that, everybody is.
        is_enough: Says whether these sites, which are there, can begin without the others.
        waits: Told who is waited for, each with a code, whenever that changes.
    """

    after_seconds: float
    is_enough: Callable[[Collection[SiteId]], bool]
    waits: Waits


def early_start_of(
    setup: RunSetup, known: Collection[str], note: Callable[[str], None]
) -> EarlyStart:
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

    return EarlyStart(job.quorum.acceptance_seconds, is_enough, waits_of(setup, note))


def sites_needed(job: Job, num_trainers: int) -> int:
    """Give how many of these training sites must have accepted to begin without the others."""
    share = sites_of_share(job.quorum.minimum_share, num_trainers)
    needed = max(1, job.quorum.required_sites, share)
    if job.secure_aggregation.enabled:
        needed = max(needed, fewest_ready_sites(job, "train", num_trainers))
    return needed


def words_of(sites: Mapping[SiteId, str]) -> str:
    """Give sites and their codes as words."""
    return ", ".join(f"{site} ({code})" for site, code in sorted(sites.items()))


def waits_of(setup: RunSetup, note: Callable[[str], None]) -> Waits:
    """Give what makes it known whom a run waits for: in its folder, and to a person by `note`."""

    def waits(sites: Mapping[SiteId, str]) -> None:
        tell_waiting(setup.folder, sites)
        if sites:
            note(f"waiting for {words_of(sites)}")

    return waits


def tell_waiting(folder: Path, sites: Mapping[SiteId, str]) -> None:
    """Let others see who is waited for; nobody takes the mark away."""
    file = folder / _WAITING
    if sites:
        write_atomically(file, json.dumps(sites, sort_keys=True).encode())
    else:
        file.unlink(missing_ok=True)


def waited_for(folder: Path) -> dict[SiteId, str]:
    """Give who is waited for in a run's folder, each with a code; a display may lag behind."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        content = json.loads((folder / _WAITING).read_bytes())
        return {SiteId(str(site)): str(code) for site, code in content.items()}
    return {}
