"""One federation of a simulation: set up its folder, run it, go on with it.

The federated run, the pooled baseline and each local baseline are all this, with other sites.
"""

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context, RecordDict

from fedward_common.clock import SystemClock
from fedward_common.consortium.roster import Roster
from fedward_common.errors import ConfigurationError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.job.job_file import Job
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.secagg.rounds_in_memory import may_be_in_memory
from fedward_common.wire.manifest import encode_manifest, make_manifest
from fedward_server.coordinator.aggregation_fits import require_aggregation_fits
from fedward_server.coordinator.hold_out_set import keep_hold_out
from fedward_server.coordinator.masked_totals import attempt_folder
from fedward_server.coordinator.observer import RunObserver, observed_by
from fedward_server.coordinator.run_journal import ENTRIES_FILE, FileRunJournal, RunHistory, replay
from fedward_server.coordinator.run_setup import (
    RunSetup,
    has_run,
    make_answer_key,
    read_run_setup,
    roster_beside,
    write_initial_weights,
    write_run_setup,
)
from fedward_server.simulation.in_process_grid import InProcessGrid, InTurnGrid, node_configs
from fedward_server.simulation.throwaway_consortium import CONSORTIUM
from fedward_server.simulation.worker_grid import WorkerGrid


@dataclass(frozen=True)
class Engine:
    """How sites run: in turn in this process (0 workers), or in worker processes.

    Results do not depend on the number of workers as long as no site is late, which sites in turn
    never are. They do depend on `threads`: torch adds up in another order with another number.
    """

    num_workers: int
    threads: int = 1


@dataclass(frozen=True)
class Federation:
    """One run and the homes of its sites.

    Attributes:
        homes: Every site that answers; those not in `training_sites` only evaluate.
        roster: Signed bytes; the sites and the coordinator stand in it.
        key_file: The coordinator's key, with the authority's certificate beside it.
        seals_answers: Whether sites seal what they do not mask, as they do over a network.
        utc_seconds: Gives seconds since 1970, for the time in which a roster counts.
        hold_out: The set that the job's `[hold_out]` names; not needed once the run began.
    """

    folder: Path
    job: Job
    seed: int
    homes: Mapping[SiteId, Path]
    roster: bytes
    training_sites: tuple[SiteId, ...]
    key_file: Path
    seals_answers: bool = False
    utc_seconds: Callable[[], float] = time.time
    hold_out: Path | None = None


def set_up(federation: Federation) -> RunSetup:
    """Write manifest, roster and initial weights, or read them where the run began before.

    Raises:
        ConfigurationError: The folder holds a run of another job, seed, sites or roster, or the
            hold-out set that the job names cannot be used.
        PrivacyError: The joint mechanism cannot be had with the job's numbers.
    """
    if has_run(federation.folder):
        setup = _read_setup(federation)
        _require_same(setup, federation)
        keep_hold_out(federation.folder, setup.job, federation.hold_out)
        return setup
    if (federation.folder / ENTRIES_FILE).exists():
        raise ConfigurationError(
            f"{federation.folder} has a journal, but the manifest of its run is gone",
            hint="restore it, or start anew in another --out folder",
        )
    from fedward_server.initial_weights import initial_weights_of

    weights, spec = initial_weights_of(federation.job, federation.seed)
    if federation.job.privacy.mechanism == "joint":  # refused now, if at all
        num_sites = len(federation.training_sites)
        joint_constants_of(federation.job, num_sites, spec.num_parameters)
    roster = _roster_of(federation)
    require_aggregation_fits(federation.job, federation.training_sites, roster, spec.num_parameters)
    keep_hold_out(federation.folder, federation.job, federation.hold_out)
    digest = write_initial_weights(federation.folder, weights)
    manifest = make_manifest(
        federation.job,
        consortium=CONSORTIUM,
        run=secrets.token_hex(8),
        coordinator=COORDINATOR,
        seed=federation.seed,
        initial_weights_sha256=digest,
        parameter_spec_sha256=spec.hash,
        num_parameters=spec.num_parameters,
        training_sites=tuple(federation.training_sites),
        roster_version=roster.version,
        roster_sha256=roster.sha256,
        answer_key=make_answer_key(federation.folder) if federation.seals_answers else b"",
    )
    write_run_setup(federation.folder, encode_manifest(manifest), federation.roster)
    return _read_setup(federation)


def _read_setup(federation: Federation) -> RunSetup:
    now_seconds = federation.utc_seconds()
    return read_run_setup(federation.folder, federation.key_file, now_seconds=now_seconds)


def _require_same(setup: RunSetup, federation: Federation) -> None:
    expected = make_manifest(
        federation.job,
        consortium=setup.manifest.consortium,
        run=setup.manifest.run,
        coordinator=setup.manifest.coordinator,
        seed=federation.seed,
        initial_weights_sha256=setup.manifest.initial_weights_sha256,
        parameter_spec_sha256=setup.manifest.parameter_spec_sha256,
        num_parameters=setup.manifest.num_parameters,
        training_sites=tuple(federation.training_sites),
        roster_version=setup.manifest.roster_version,
        roster_sha256=setup.manifest.roster_sha256,
        answer_key=setup.manifest.answer_key,
        protocol=setup.manifest.protocol,
    )
    _require_same_keys(setup.roster, federation)
    if encode_manifest(expected) != setup.manifest_bytes:
        raise ConfigurationError(
            f"{federation.folder} holds a run of another job, seed or set of sites",
            hint="go on with the job it was started with, or choose another --out folder",
        )


def _require_same_keys(begun: Roster, federation: Federation) -> None:
    """Refuse homes whose keys are not the ones that the run's roster has."""
    now = _roster_of(federation)
    keys = begun.keys_of_sites
    changed = [
        site
        for site, key in now.keys_of_sites.items()
        if site not in keys or keys[site].raw != key.raw
    ]
    if changed:
        raise ConfigurationError(
            f"the key of {', '.join(changed)} is another than when the run began",
            hint="restore the home folder, or start anew in another --out folder",
        )


def _roster_of(federation: Federation) -> Roster:
    now_seconds = federation.utc_seconds()
    return roster_beside(federation.key_file, federation.roster, now_seconds=now_seconds)


def run_federation(
    federation: Federation,
    engine: Engine,
    observer: RunObserver,
    stop: threading.Event | None = None,
) -> tuple[RunSetup, RunHistory]:
    """Run a federation to its end, from wherever its journal stands.

    Args:
        federation: What to run.
        engine: How.
        observer: Who watches.
        stop: Once set, a run with worker processes ends soon with `StoppedError`.

    Raises:
        FedwardError: It cannot go on; the journal keeps what was committed.
    """
    from fedward_server.coordinator.app import app as server_app

    setup = set_up(federation)
    history = finished_history(federation.folder)
    if history is not None:
        return setup, history
    grid = _grid(federation, setup, engine, stop or threading.Event())
    context = Context(
        run_id=1,
        node_id=1,
        node_config={},
        state=RecordDict(),
        run_config={
            "run-folder": str(federation.folder),
            "key-file": str(federation.key_file),
        },
    )
    try:
        with observed_by(observer):
            server_app(grid, context)
    finally:
        if isinstance(grid, WorkerGrid):
            grid.close()
    finished = finished_history(federation.folder)
    if finished is None:
        raise ConfigurationError(f"{federation.folder}: the run did not finish")
    return setup, finished


def finished_history(folder: Path) -> RunHistory | None:
    """Give the history of a finished run; None where there is still something to do."""
    if not has_run(folder):
        return None
    journal = FileRunJournal(folder)
    try:
        history = replay(journal.entries())
    finally:
        journal.close()
    return history if history.finished else None


def keeps_rounds_in_memory(setup: RunSetup) -> bool:
    """Whether a simulation has its sites keep rounds in memory alone.

    Not while a masked round lies half done on disk: sites that unmasked it there give no other sum
    of it, so the coordinator's files have to bring it to its end.
    """
    is_half_done = attempt_folder(setup.folder, "train").exists()
    return may_be_in_memory(setup.job, setup.manifest.num_parameters) and not is_half_done


def _grid(
    federation: Federation, setup: RunSetup, engine: Engine, stop: threading.Event
) -> InProcessGrid:
    configs = node_configs(
        (str(federation.homes[site]) for site in sorted(federation.homes)),
        rounds_in_memory=keeps_rounds_in_memory(setup),
    )
    if engine.num_workers == 0:
        return InTurnGrid(configs)
    return WorkerGrid(
        configs,
        num_workers=min(engine.num_workers, len(configs)),
        threads=engine.threads,
        message_seconds=federation.job.quorum.deadline_seconds,
        clock=SystemClock(),
        stop=stop,
    )
