"""Which snapshots a run goes on with: those that were newest when it was accepted, `NAME@k`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedward_client.cohorts.cohort_file import SourceSettings, read_cohort_file
from fedward_client.cohorts.registered.cohort_checks import limits_passed
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.excluded_patients import (
    all_excluded_patients,
    is_excluded,
)
from fedward_client.cohorts.registered.registration import CohortRegistration, read_registration
from fedward_client.cohorts.registered.snapshot import Snapshot
from fedward_client.cohorts.registered.snapshot_store import read_snapshot, snapshot_numbers
from fedward_client.cohorts.registered.split_decision import E_SPLIT_MOVED, more_seen
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CohortError, CorruptFileError


def offered_sources(home: SiteHome, cohort: str) -> tuple[SourceSettings, ...]:
    """Give the sources of the cohort that a site offers.

    A folder `cohorts/NAME/` holds a registered cohort, unless it is what a failed `add` left; else
    `cohorts/NAME.toml` lists files.

    Raises:
        ConfigurationError: There is neither, or it cannot be used.
    """
    is_registered = CohortFolder(home, cohort).settings_file.is_file()
    if not is_registered and not snapshot_numbers(home, cohort):
        return read_cohort_file(home.cohorts / f"{cohort}.toml")
    limit = read_registration(home, cohort).max_excluded_share
    return (
        SourceSettings(
            source="registered",
            path=str(home.folder.resolve()),
            cohort=cohort,
            max_excluded_share=limit,
        ),
    )


def with_newest_snapshots(sources: Sequence[SourceSettings]) -> tuple[SourceSettings, ...]:
    """Name the snapshot wherever a registered cohort is named alone, for a new run.

    Raises:
        ConfigurationError: A cohort has none.
        CohortError: A snapshot, without those who are excluded now, passes its cohort's limits; the
            code is that of the first. `E_SPLIT_MOVED`: since it was made, one of its patients was
            taken into a split that is seen more, in this cohort or in another.
        CorruptFileError: The split record or the list of excluded patients is not what was
            written, or lacks something that was in it.
    """
    named = tuple(replace(one, cohort=_full_name(one)) for one in sources)
    for one in named:
        if one.source == "registered":
            _require_usable(SiteHome(Path(one.path)), one.cohort)
    return named


def _require_usable(home: SiteHome, full_name: str) -> None:
    snapshot, record = read_snapshot(home, full_name), SplitRecord.of_home(home)
    excluded, key = all_excluded_patients(home, record), home.pseudonym_key()
    present = tuple(o for o in snapshot.cases if not is_excluded(key, excluded, (o.patient,)))
    num_gone = len(snapshot.cases) - len(present)
    today = replace(snapshot, cases=present, num_found=snapshot.num_found - num_gone)
    _require_within_limits(today, read_registration(home, snapshot.name))
    _require_recorded_splits(today, record)


def _require_within_limits(snapshot: Snapshot, registration: CohortRegistration) -> None:
    passed = limits_passed(snapshot, registration)
    if passed:
        raise CohortError(
            f"{snapshot.full_name} exceeds its cohort's limits: {', '.join(passed)}",
            hint=f"look at it with: fedward-site cohort check {snapshot.name}",
            code=passed[0],
        )


def _require_recorded_splits(snapshot: Snapshot, record: SplitRecord) -> None:
    recorded = record.splits_of(name for one in snapshot.cases for name in one.identities)
    if any(name not in recorded for one in snapshot.cases for name in one.identities):
        raise CorruptFileError(
            f"the split record lacks identities of {snapshot.full_name}",
            hint="restore split_record.sqlite from the backup; without one: "
            "fedward-site cohort rebuild-record",
        )
    moved = {
        one.patient
        for one in snapshot.cases
        if any(more_seen(recorded[name], one.split) != one.split for name in one.identities)
    }
    if moved:
        raise CohortError(
            f"{snapshot.full_name}: {len(moved)} patients stand in a split that is seen more,"
            " under this name or another, since it was made",
            hint=f"make the next snapshot with: fedward-site cohort update {snapshot.name}",
            code=E_SPLIT_MOVED,
        )


def _full_name(source: SourceSettings) -> str:
    if source.source != "registered" or "@" in source.cohort:
        return source.cohort
    home = SiteHome(Path(source.path))
    numbers = snapshot_numbers(home, source.cohort)
    if not numbers:
        return read_snapshot(home, source.cohort).full_name  # which says what is wrong
    return f"{source.cohort}@{numbers[-1]}"


def write_pins(file: Path, sources: Sequence[SourceSettings]) -> None:
    """Note the snapshots that a run was accepted with."""
    write_atomically(file, json.dumps([one.cohort for one in sources]).encode())


def with_pinned_snapshots(
    file: Path, sources: Sequence[SourceSettings]
) -> tuple[SourceSettings, ...]:
    """Name the snapshots that were noted, or the newest where nothing was noted yet.

    Raises:
        CohortError: `E_COHORT_CHANGED`: the cohort has other sources than when it was noted.
    """
    if not file.exists():
        return with_newest_snapshots(sources)
    names = json.loads(file.read_bytes())
    here = [one.cohort.partition("@")[0] for one in sources]
    if here != [name.partition("@")[0] for name in names]:
        raise CohortError(
            "the cohort has other sources than when this run was accepted",
            hint="put them back as they were, or start a new run",
            code="E_COHORT_CHANGED",
        )
    return tuple(replace(one, cohort=name) for one, name in zip(sources, names, strict=True))
