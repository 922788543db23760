"""A run's folder, laid down whole or not at all."""

import re
import secrets
import shutil
from pathlib import Path

from fedward_common.atomic_files import sync_folder
from fedward_common.errors import ConfigurationError
from fedward_common.identities import COORDINATOR
from fedward_common.wire.manifest import encode_manifest, make_manifest
from fedward_common.wire.protocol_versions import newest_version, spoken_versions
from fedward_server.coordinator.commands.planned_run import PlannedRun
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.hold_out_set import keep_hold_out
from fedward_server.coordinator.run_queue import take_place
from fedward_server.coordinator.run_setup import (
    make_answer_key,
    write_initial_weights,
    write_run_setup,
)

_MAX_NAME = 60
_MOST_OF_ONE_NAME = 10_000


def name_of_job(job_name: str) -> str:
    """Give a run's name that a job's name becomes: `Lung, first` is `lung-first`."""
    plain = re.sub(r"[^a-z0-9]+", "-", job_name.casefold())
    return plain[:_MAX_NAME].strip("-") or "run"


def free_name(home: CoordinatorHome, job_name: str) -> str:
    """Give the first name of a job's that no run has: `tiny`, then `tiny-2`.

    Raises:
        ConfigurationError: All are taken.
    """
    first = name_of_job(job_name)
    for number in range(1, _MOST_OF_ONE_NAME):
        name = first if number == 1 else f"{first}-{number}"
        if not home.run_folder(name).exists():
            return name
    raise ConfigurationError(f"all names {first}-N are taken", hint="choose one with --name")


def lay_down(
    home: CoordinatorHome,
    name: str,
    planned: PlannedRun,
    hold_out: Path | None = None,
    protocol: int | None = None,
) -> None:
    """Write everything that a run begins with into `runs/NAME`.

    Args:
        home: Of the coordinator.
        name: Of the run.
        planned: The run.
        hold_out: The set that the job's `[hold_out]` names.
        protocol: Version of the run's messages; None for the newest.

    Raises:
        ConfigurationError: The name is none, or taken; the version is not spoken here; or the
            hold-out set cannot be used.
    """
    folder = home.run_folder(name)
    if folder.exists():
        raise _taken(name)
    _require_own(protocol)
    home.make_folders()
    # Beside `runs`, so that nobody takes a half-made folder for a run.
    new = home.folder / f".new-run-{secrets.token_hex(4)}"
    new.mkdir(mode=0o700)
    try:
        keep_hold_out(new, planned.job, hold_out)
        digest = write_initial_weights(new, planned.weights)
        manifest = make_manifest(
            planned.job,
            consortium=planned.roster.consortium,
            run=secrets.token_hex(8),
            coordinator=COORDINATOR,
            seed=planned.seed,
            initial_weights_sha256=digest,
            parameter_spec_sha256=planned.spec.hash,
            num_parameters=planned.spec.num_parameters,
            training_sites=planned.training_sites,
            roster_version=planned.roster.version,
            roster_sha256=planned.roster.sha256,
            answer_key=make_answer_key(new),
            protocol=protocol,
        )
        write_run_setup(new, encode_manifest(manifest), planned.roster_bytes)
        take_place(home.runs, new)
        _move(new, home, name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _move(new: Path, home: CoordinatorHome, name: str) -> None:
    try:
        new.rename(home.run_folder(name))
    except OSError as error:
        if home.run_folder(name).exists():  # another launch was faster
            raise _taken(name) from error
        raise
    sync_folder(home.runs)


def _require_own(protocol: int | None) -> None:
    spoken = spoken_versions(newest_version())
    if protocol is not None and protocol not in spoken:
        raise ConfigurationError(
            f"--protocol {protocol}, and this release speaks {' and '.join(map(str, spoken))}",
            hint="leave it out for the newest; hospitals of an older release have to be upgraded",
            code="PROTOCOL_TOO_NEW" if protocol > newest_version() else "PROTOCOL_TOO_OLD",
        )


def _taken(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"there is a run {name!r} already",
        hint="choose another --name; or go on with it: --resume",
        code="RUN_EXISTS",
    )
