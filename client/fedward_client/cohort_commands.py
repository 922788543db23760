"""What `fedward-site cohort ...` does. An error that ends a command names no patient."""

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from fedward_client.cohort_confirmation import (
    Confirmation,
    UnconfirmedError,
    confirmation_for,
    review_change,
)
from fedward_client.cohort_display import (
    decode_progress,
    next_command,
    print_json,
    scan_progress,
    show_cohorts,
    show_exclusion,
    show_kept,
    show_preview,
)
from fedward_client.cohorts.cache.site_room import free_cache
from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.registered.cohort_checks import limits_passed
from fedward_client.cohorts.registered.cohort_folder import CohortFolder, registered_names
from fedward_client.cohorts.registered.cohort_removal import remove_cohort, require_removable
from fedward_client.cohorts.registered.cohort_work import (
    Kept,
    check_pixels,
    home_to_try,
    index_at,
    make_snapshot,
    open_or_make_site_home,
    open_site_home,
    opened_index,
    preview_snapshot,
    scan_source,
    with_fitting_cases,
)
from fedward_client.cohorts.registered.excluded_patients import read_patient_ids
from fedward_client.cohorts.registered.label_file import LabelTable, read_label_file
from fedward_client.cohorts.registered.patient_exclusion import exclude_everywhere
from fedward_client.cohorts.registered.registration import (
    CohortRegistration,
    read_registration,
    write_registration,
)
from fedward_client.cohorts.registered.registration_request import (
    RegistrationRequest,
    UpdateRequest,
    registration_of,
    says_dimensions,
    updated_registration,
)
from fedward_client.cohorts.registered.snapshot_change import SnapshotChange
from fedward_client.cohorts.registered.snapshot_store import newest_snapshot, snapshot_numbers
from fedward_client.cohorts.registered.split_record_recovery import rebuild_split_record
from fedward_client.cohorts.reports.local_report import quarantine_csv
from fedward_client.site_home import SiteHome, write_private_file
from fedward_common.errors import CohortError, ConfigurationError, CorruptFileError
from fedward_common.settings import from_table, read_toml


@dataclasses.dataclass(frozen=True)
class _Work:
    """What every step of one command needs."""

    home: SiteHome
    index: DicomIndex
    table: LabelTable
    json_output: bool

    def scan(self, registration: CohortRegistration, *, thorough: bool = False) -> None:
        with scan_progress(self.json_output) as progress:
            scan_source(self.home, registration, self.index, progress, thorough=thorough)


def add_cohort(
    home_folder: Path,
    request: RegistrationRequest,
    *,
    dry_run: bool = False,
    yes: bool = False,
    json_output: bool,
) -> None:
    """Register a cohort and make its first snapshot.

    Raises:
        ConfigurationError: Something that was said cannot be used, or the name is taken.
        CohortError: The source cannot be read, or what it would change was not confirmed.
    """
    registration = registration_of(request)
    table = read_label_file(registration)  # before anything is written or scanned
    if dry_run:
        _preview_cohort(home_folder, registration, table, request, json_output)
        return
    home = open_or_make_site_home(home_folder)
    _require_known_settings(home)
    folder = CohortFolder(home, registration.name)
    _require_new(home, registration.name)  # before its folder is made
    folder.create()
    with folder.locked(), opened_index(home, registration.name) as index:
        _require_new(home, registration.name)  # nor has another command taken it since
        work = _Work(home, index, table, json_output)
        registration = _scanned(work, registration, request)
        kept = _confirmed_snapshot(work, registration, confirmation_for(yes=yes), is_changed=True)
    next_line = next_command(home_folder, f"cohort check {request.name}")
    show_kept(kept, registration, json_output=json_output, next_line=next_line)


def _preview_cohort(
    home_folder: Path,
    registration: CohortRegistration,
    table: LabelTable,
    request: RegistrationRequest,
    json_output: bool,
) -> None:
    with home_to_try(home_folder) as (home, folder):
        _require_known_settings(home)
        _require_new(home, registration.name)
        with index_at(home, folder / "index.sqlite") as index:
            work = _Work(home, index, table, json_output)
            registration = _scanned(work, registration, request)
            kept, change = preview_snapshot(home, registration, table, index)
    show_preview(kept, change, registration, json_output=json_output)


def _scanned(
    work: _Work, registration: CohortRegistration, request: RegistrationRequest
) -> CohortRegistration:
    """Index the source, and decide on its cases where nobody did."""
    work.scan(registration)
    if request.cases is None and not says_dimensions(request.task):
        return with_fitting_cases(registration, work.table, work.index)
    return registration


def update_cohort(
    home_folder: Path,
    request: UpdateRequest,
    *,
    dry_run: bool = False,
    yes: bool = False,
    json_output: bool,
) -> None:
    """Scan again and make the next snapshot if something changed.

    Raises:
        ConfigurationError: Something that was said cannot be used.
        CohortError: The source cannot be read, or what would change was not confirmed.
    """
    home = _opened_home(home_folder)
    before = read_registration(home, request.name)
    registration = updated_registration(before, request)
    table = read_label_file(registration)
    with CohortFolder(home, request.name).locked(), opened_index(home, request.name) as index:
        work = _Work(home, index, table, json_output)
        work.scan(registration)
        if dry_run:
            kept, change = preview_snapshot(home, registration, table, index)
            show_preview(kept, change, registration, json_output=json_output)
            return
        confirmation = confirmation_for(yes=yes)
        is_changed = registration != before
        kept = _confirmed_snapshot(work, registration, confirmation, is_changed=is_changed)
    free_cache(home)
    next_line = next_command(home_folder, f"cohort check {request.name}")
    show_kept(kept, registration, json_output=json_output, next_line=next_line)


def _confirmed_snapshot(
    work: _Work, registration: CohortRegistration, confirmation: Confirmation, *, is_changed: bool
) -> Kept:
    """Make the snapshot; a person is asked while nobody waits for the split record."""

    def review(change: SnapshotChange) -> None:
        review_change(registration.name, change, confirmation)
        if is_changed:  # not before: the next update would take up what was refused
            write_registration(work.home, registration)

    while True:
        try:
            return make_snapshot(work.home, registration, work.table, work.index, review=review)
        except UnconfirmedError as error:
            confirmation.obtain(error)


def check_cohort(home_folder: Path, name: str, workers: int | None, *, json_output: bool) -> None:
    """Scan, decode everything, quarantine what cannot be used, say what is wrong.

    Raises:
        CohortError: A limit of the cohort is exceeded; what is wrong was printed before. Or the
            label file now takes patients out of the test split.
    """
    home = _opened_home(home_folder)
    registration = read_registration(home, name)
    table = read_label_file(registration)
    folder = CohortFolder(home, name)
    with folder.locked(), opened_index(home, name) as index:
        work = _Work(home, index, table, json_output)
        work.scan(registration, thorough=True)
        _require_test_split_kept(preview_snapshot(home, registration, table, index)[1], name)
        with decode_progress(json_output) as decoded:
            quarantine = check_pixels(home, registration, table, index, workers, decoded)
        kept = make_snapshot(home, registration, table, index, quarantine)
        quarantine_csv(folder, kept.snapshot)
    free_cache(home)
    next_line = next_command(home_folder, f"cohort report {name}")
    show_kept(kept, registration, json_output=json_output, next_line=next_line)
    exceeded = limits_passed(kept.snapshot, registration)
    if exceeded:
        raise CohortError(
            f"cohort {name} exceeds its limits: {', '.join(exceeded)}",
            hint=f"see the codes above, and {folder.reports / 'quarantine.csv'}",
            code=exceeded[0],
        )


def _require_test_split_kept(change: SnapshotChange, name: str) -> None:
    if change.taken_from_the_test:
        raise CohortError(
            f"cohort {name}, next snapshot: {change.taken_from_the_test}",
            hint=f"nothing was checked; look with: fedward-site cohort update {name} --dry-run",
        )


def remove_registration(home_folder: Path, name: str, *, yes: bool, json_output: bool) -> None:
    """Remove a cohort; the split record, exclusions and shown reports stay.

    Raises:
        CohortError: A run was accepted with a snapshot of it, or nobody confirmed it.
    """
    home = _opened_home(home_folder)
    require_removable(home, name)
    num_snapshots = len(snapshot_numbers(home, name))
    harm = f"its snapshots ({num_snapshots}), settings and index are deleted"
    _require_meant(f"cohort {name}", harm, yes=yes)
    num_snapshots = remove_cohort(home, name)
    free_cache(home)
    if json_output:
        print_json({"cohort": name, "snapshots_removed": num_snapshots})
        return
    Console(highlight=False).print(
        f"Cohort {name} and its snapshots ({num_snapshots}) are removed. The splits of its "
        "patients, exclusions and shown reports stay."
    )


def rebuild_record(home_folder: Path, *, yes: bool, json_output: bool) -> None:
    """Make the split record again from the snapshots.

    Raises:
        CohortError: Nobody confirmed it.
        CorruptFileError: A snapshot is damaged, or too many are gone; the record is as it was.
    """
    home = _opened_home(home_folder)
    harm = "what only a damaged or lost one knew, as the patients of removed cohorts, is forgotten"
    _require_meant("the split record", harm, yes=yes)
    num_identities = rebuild_split_record(home)
    if json_output:
        print_json({"identities": num_identities})
        return
    Console(highlight=False, soft_wrap=True).print(
        f"The split record is made again: {num_identities} identities. An old one lies "
        "beside it, as split_record.sqlite.old."
    )


def _require_meant(subject: str, harm: str, *, yes: bool) -> None:
    confirmation = confirmation_for(yes=yes)
    try:
        confirmation.require(subject, (harm,), "nothing was changed; if it is meant say --yes")
    except UnconfirmedError as error:
        confirmation.obtain(error)


def list_cohorts(home_folder: Path, *, json_output: bool) -> None:
    """List the cohorts with their newest snapshots."""
    home = _opened_home(home_folder)
    rows = [_row_of(home, name) for name in registered_names(home)]
    if json_output:
        print_json({"cohorts": rows})
    else:
        show_cohorts(rows)


def exclude_patients(
    home_folder: Path,
    file: Path,
    column: str | None,
    reason: str,
    *,
    with_other_ids: bool = False,
    json_output: bool,
) -> None:
    """Take patients out of all cohorts; ids are counted, never printed.

    Raises:
        CorruptFileError: Something could not be read; the patients were excluded before.
    """
    home = open_site_home(home_folder)
    ids = read_patient_ids(file, column)
    outcome = exclude_everywhere(home, ids, reason, with_other_ids=with_other_ids)
    free_cache(home)
    if json_output:
        print_json(dataclasses.asdict(outcome))
    else:
        show_exclusion(outcome)
    if outcome.damaged:
        places = ", ".join(outcome.damaged)
        raise CorruptFileError(
            f"the patients are excluded, but could not be looked for in: {places}",
            hint="restore it and run this again: there they may have other names, or images",
        )


def report_cohort(
    home_folder: Path, full_name: str, *, local: bool, html: Path | None, json_output: bool
) -> None:
    """Show what a coordinator may see of a snapshot, or with `local` what the hospital may."""
    from fedward_client.cohorts.reports.report_commands import report_of

    home = _opened_home(home_folder)
    answered = report_of(home, full_name, local=local)
    report = answered.report
    if answered.note:
        Console(stderr=True, highlight=False, soft_wrap=True).print(answered.note)
    if html is not None:
        from fedward_client.cohorts.reports.report_page import page_of

        write_private_file(html, page_of(report).encode())
    if json_output:
        print_json(report)
        return
    from fedward_client.cohorts.reports.report_commands import tables_of

    console = Console(highlight=False)
    for one in tables_of(report):
        console.print(one)


def _opened_home(folder: Path) -> SiteHome:
    home = open_site_home(folder)
    _require_known_settings(home)
    return home


def _require_known_settings(home: SiteHome) -> None:
    """See that `site.toml` has no key that nobody reads; a site that has not joined has few."""
    if not home.settings_file.exists():
        return
    from fedward_client.daemon.site_state import SiteSettings

    table = read_toml(home.settings_file)
    unsaid = {one.name: "-" for one in dataclasses.fields(SiteSettings) if one.type is str}
    from_table(SiteSettings, unsaid | table)


def _require_new(home: SiteHome, name: str) -> None:
    for other in registered_names(home):
        if other.casefold() == name.casefold():
            raise ConfigurationError(
                f"cohort {other!r} is registered already",
                hint=f"look for changes with: fedward-site cohort update {other}",
            )
    for file in home.cohorts.glob("*.toml"):
        if file.stem.casefold() == name.casefold():
            raise ConfigurationError(
                f"{file.name} lists a cohort of this name already",
                hint="choose another name, or move that file away",
            )


def _row_of(home: SiteHome, name: str) -> dict[str, Any]:
    try:
        registration = read_registration(home, name)
        newest = newest_snapshot(home, name)
    except (ConfigurationError, CorruptFileError):
        nothing = {"snapshots": 0, "cases": 0, "units": 0, "unit": "", "task": ""}
        return {
            "name": name, "damaged": True, "snapshot": None, **nothing, "limits_passed": []
        }  # fmt: skip
    return {
        "name": name,
        "damaged": False,
        "snapshot": None if newest is None else newest.full_name,
        "snapshots": len(snapshot_numbers(home, name)),
        "cases": 0 if newest is None else len(newest.cases),
        "units": 0 if newest is None else len({one.patient for one in newest.cases}),
        "unit": registration.unit,
        "task": registration.task.kind,
        "limits_passed": [] if newest is None else list(limits_passed(newest, registration)),
    }
