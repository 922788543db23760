"""What a run would be, checked before anything is written, sent or spent.

`fedward plan` shows it and `fedward launch` lays it down, so the one refuses what the other does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedward_common.consortium.roster import Roster
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError
from fedward_common.identities import COORDINATOR, SiteId, parse_site_ids
from fedward_common.job.job_file import Job, read_job
from fedward_common.models.catalogue import check_model
from fedward_common.models.parameter_spec import ParameterSpec
from fedward_common.privacy.joint_constants import joint_constants_of, require_joint_quorum
from fedward_server.coordinator.aggregation_fits import require_aggregation_fits
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_setup import roster_beside


@dataclass(frozen=True)
class PlannedRun:
    """A run that could be launched now.

    Attributes:
        training_sites: Sorted; the roster's other sites only evaluate.
        weights: Initial, shape (num_parameters,).
    """

    job: Job
    seed: int
    roster: Roster
    roster_bytes: bytes
    training_sites: tuple[SiteId, ...]
    weights: NDArray[np.float32]
    spec: ParameterSpec

    @property
    def evaluating_sites(self) -> tuple[SiteId, ...]:
        """Sites of the roster that would be asked to evaluate, and not to train."""
        return tuple(site for site in self.roster.sites if site not in self.training_sites)


def planned_run(
    home: CoordinatorHome, job_file: Path, sites: Sequence[str], seed: int, *, now_seconds: float
) -> PlannedRun:
    """Check a job with these training sites, as far as the coordinator can.

    Args:
        home: Of the coordinator.
        job_file: The job.
        sites: Who trains.
        seed: Of everything random but noise.
        now_seconds: Since 1970, UTC; the roster must count then.

    Raises:
        ConfigurationError: Job, roster, key or sites cannot be used.
        PrivacyError: The joint mechanism cannot be had with these sites.
        WeightsMismatchError: `model.start` names weights of another network.
    """
    job = read_job(job_file)
    check_model(job)
    roster, roster_bytes = present_roster(home, now_seconds=now_seconds)
    _require_own_key(home, roster)
    training_sites = training_sites_of(roster, sites)
    _require_quorum_can_be_met(job, len(training_sites))
    from fedward_server.initial_weights import initial_weights_of

    weights, spec = initial_weights_of(job, seed)
    if job.privacy.mechanism == "joint":
        joint_constants_of(job, len(training_sites), spec.num_parameters)
    require_aggregation_fits(job, training_sites, roster, spec.num_parameters)
    return PlannedRun(job, seed, roster, roster_bytes, training_sites, weights, spec)


def present_roster(home: CoordinatorHome, *, now_seconds: float) -> tuple[Roster, bytes]:
    """Give the coordinator's newest roster, and its signed bytes.

    Raises:
        ConfigurationError: There is none, or it does not count.
    """
    try:
        content = home.roster_file.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{home.roster_file} is not there",
            hint="join the consortium first: fedward coordinator join",
        ) from None
    return roster_beside(home.key_file, content, now_seconds=now_seconds), content


def training_sites_of(roster: Roster, names: Sequence[str]) -> tuple[SiteId, ...]:
    """Check who is to train.

    Raises:
        ConfigurationError: Nobody, somebody twice, or somebody who is no site of the roster.
    """
    sites = parse_site_ids(names)
    if not sites:
        raise ConfigurationError("no site is to train", hint="name some: --sites A,B,C")
    unknown = [site for site in sites if site not in roster.sites]
    if unknown:
        raise ConfigurationError(
            f"{', '.join(unknown)}: not in roster version {roster.version}",
            hint=f"it has {', '.join(roster.sites) or 'no site'}",
            code="NOT_IN_ROSTER",
        )
    return sites


def _require_quorum_can_be_met(job: Job, num_sites: int) -> None:
    required = job.quorum.required_sites
    if required > num_sites:
        raise ConfigurationError(
            f"quorum.required_sites is {required}, the run has {num_sites} training sites",
            hint="add sites, or lower quorum.required_sites",
        )
    require_joint_quorum(job, num_sites)


def _require_own_key(home: CoordinatorHome, roster: Roster) -> None:
    try:
        key = SigningKey.from_raw(bytes.fromhex(home.key_file.read_text()))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{home.key_file} holds no key", hint="restore it") from error
    if roster.entry_of(COORDINATOR).key.raw != key.verifying_key.raw:
        raise ConfigurationError(
            f"{home.key_file} is not the coordinator's key in roster version {roster.version}",
            hint="restore it, or join the consortium anew",
        )
