"""Which snapshots a run goes on with: those that were newest when it was accepted, `NAME@k`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedward_client.cohorts.cohort_file import SourceSettings, read_cohort_file
from fedward_client.cohorts.registered.cohort_checks import limits_passed
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.excluded_patients import excluded_patients, is_excluded
from fedward_client.cohorts.registered.registration import read_registration
from fedward_client.cohorts.registered.snapshot_store import read_snapshot, snapshot_numbers
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CohortError


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
            code is that of the first.
    """
    named = tuple(replace(one, cohort=_full_name(one)) for one in sources)
    for one in named:
        if one.source == "registered":
            _require_within_limits(SiteHome(Path(one.path)), one.cohort)
    return named


def _require_within_limits(home: SiteHome, full_name: str) -> None:
    snapshot = read_snapshot(home, full_name)
    registration = read_registration(home, snapshot.name)
    excluded, key = excluded_patients(home), home.pseudonym_key()
    present = tuple(o for o in snapshot.cases if not is_excluded(key, excluded, (o.patient,)))
    num_gone = len(snapshot.cases) - len(present)
    today = replace(snapshot, cases=present, num_found=snapshot.num_found - num_gone)
    passed = limits_passed(today, registration)
    if passed:
        raise CohortError(
            f"{full_name} passes its cohort's limits: {', '.join(passed)}",
            hint=f"look at it with: fedward-site cohort check {snapshot.name}",
            code=passed[0],
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
