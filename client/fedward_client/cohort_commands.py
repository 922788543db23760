"""What `fedward-site cohort ...` does and prints: codes, lines and counts, never a patient."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from fedward_client.cohorts.cache.site_room import free_cache
from fedward_client.cohorts.index.instance_store import ScanProgress
from fedward_client.cohorts.registered.cohort_checks import limits_passed
from fedward_client.cohorts.registered.cohort_folder import CohortFolder, registered_names
from fedward_client.cohorts.registered.cohort_work import (
    Kept,
    check_pixels,
    make_snapshot,
    open_or_make_site_home,
    open_site_home,
    opened_index,
    scan_source,
    with_fitting_cases,
)
from fedward_client.cohorts.registered.excluded_patients import read_patient_ids
from fedward_client.cohorts.registered.label_file import LabelTable, read_label_file
from fedward_client.cohorts.registered.patient_exclusion import (
    ExclusionOutcome,
    exclude_everywhere,
)
from fedward_client.cohorts.registered.registration import (
    CohortRegistration,
    read_registration,
    write_registration,
)
from fedward_client.cohorts.registered.registration_request import (
    RegistrationRequest,
    registration_of,
    says_dimensions,
)
from fedward_client.cohorts.registered.snapshot_store import newest_snapshot, snapshot_numbers
from fedward_client.cohorts.reports.local_report import findings_table, quarantine_csv, summary_of
from fedward_client.site_home import SiteHome, write_private_file
from fedward_common.errors import CohortError, ConfigurationError, CorruptFileError


def add_cohort(home_folder: Path, request: RegistrationRequest, *, json_output: bool) -> None:
    """Register a cohort and make its first snapshot.

    Raises:
        ConfigurationError: Something that was said cannot be used, or the name is taken.
        CohortError: The source cannot be read.
    """
    registration = registration_of(request)
    table = read_label_file(registration)  # before anything is written or scanned
    home = open_or_make_site_home(home_folder)
    folder = CohortFolder(home, registration.name)
    _require_new(home, registration.name)  # before its folder is made
    folder.create()
    with folder.locked():
        _require_new(home, registration.name)  # nor has another command taken it since
        registration, kept = _first_snapshot(home, registration, table, request, json_output)
    _show(kept, registration, json_output=json_output, next_step=f"cohort check {request.name}")


def _first_snapshot(
    home: SiteHome,
    registration: CohortRegistration,
    table: LabelTable,
    request: RegistrationRequest,
    json_output: bool,
) -> tuple[CohortRegistration, Kept]:
    with opened_index(home, registration.name) as index:
        with _scan_progress(json_output) as progress:
            scan_source(home, registration, index, progress)
        if request.cases is None and not says_dimensions(request.task):
            registration = with_fitting_cases(registration, table, index)
        write_registration(home, registration)
        return registration, make_snapshot(home, registration, table, index)


def update_cohort(home_folder: Path, name: str, labels: Path | None, *, json_output: bool) -> None:
    """Scan again and make the next snapshot if something changed."""
    home = open_site_home(home_folder)
    registration = read_registration(home, name)
    if labels is not None:
        registration = dataclasses.replace(registration, labels_file=str(labels.absolute()))
    table = read_label_file(registration)
    with CohortFolder(home, name).locked(), opened_index(home, name) as index:
        with _scan_progress(json_output) as progress:
            scan_source(home, registration, index, progress)
        if labels is not None:
            write_registration(home, registration)
        kept = make_snapshot(home, registration, table, index)
    free_cache(home)
    _show(kept, registration, json_output=json_output, next_step=f"cohort check {name}")


def check_cohort(home_folder: Path, name: str, workers: int | None, *, json_output: bool) -> None:
    """Scan, decode everything, quarantine what cannot be used, say what is wrong.

    Raises:
        CohortError: A limit of the cohort is passed; what is wrong was printed before.
    """
    home = open_site_home(home_folder)
    registration = read_registration(home, name)
    table = read_label_file(registration)
    folder = CohortFolder(home, name)
    with folder.locked(), opened_index(home, name) as index:
        with _scan_progress(json_output) as progress:
            scan_source(home, registration, index, progress)
        with _decode_progress(json_output) as decoded:
            quarantine = check_pixels(home, registration, table, index, workers, decoded)
        kept = make_snapshot(home, registration, table, index, quarantine)
        quarantine_csv(folder, kept.snapshot)
    free_cache(home)
    _show(kept, registration, json_output=json_output, next_step=f"cohort report {name}")
    passed = limits_passed(kept.snapshot, registration)
    if passed:
        raise CohortError(
            f"cohort {name} passes its limits: {', '.join(passed)}",
            hint=f"see the codes above, and {folder.reports / 'quarantine.csv'}",
            code=passed[0],
        )


def list_cohorts(home_folder: Path, *, json_output: bool) -> None:
    """List the cohorts with their newest snapshots."""
    home = open_site_home(home_folder)
    rows = [_row_of(home, name) for name in registered_names(home)]
    if json_output:
        _print_json({"cohorts": rows})
        return
    from rich.table import Table

    table = Table("cohort", "snapshot", "cases", "patients", "task", "limits passed")
    for row in rows:
        cells = (row["snapshot"] or "-", row["cases"], row["units"], row["task"])
        limits = "damaged" if row["damaged"] else ", ".join(row["limits_passed"]) or "none"
        table.add_row(row["name"], *map(str, cells), limits)
    Console().print(table if rows else "No cohort is registered yet.")


def exclude_patients(
    home_folder: Path, file: Path, column: str | None, reason: str, *, json_output: bool
) -> None:
    """Take patients out of all cohorts; ids are counted, never printed.

    Raises:
        CorruptFileError: Something could not be read; the patients were excluded before.
    """
    home = open_site_home(home_folder)
    outcome = exclude_everywhere(home, read_patient_ids(file, column), reason)
    free_cache(home)
    if json_output:
        _print_json(dataclasses.asdict(outcome))
    else:
        _show_exclusion(outcome)
    if outcome.damaged:
        places = ", ".join(outcome.damaged)
        raise CorruptFileError(
            f"the patients are excluded, but could not be looked for in: {places}",
            hint="restore it and run this again: there they may have other names, or images",
        )


def _show_exclusion(outcome: ExclusionOutcome) -> None:
    console = Console(highlight=False)
    console.print(
        f"{outcome.named} patients named, {outcome.unknown} of them unknown at this site "
        "(they stay excluded should they appear)."
    )
    for name, count in outcome.cases.items():
        console.print(f"  {name}: {count} cases are out from the next round on")
    if outcome.other_ids:
        ids = "id has" if outcome.other_ids == 1 else "ids have"
        console.print(
            f"{outcome.other_ids} other patient {ids} the same name, birth date and sex as one of "
            "them and stay: if it is the same person, exclude these too (see W_PATIENT_TWICE)."
        )
    console.print(f"{outcome.arrays_deleted} decoded arrays deleted.")
    if any(outcome.cases.values()):
        console.print("For snapshots without them: fedward-site cohort update NAME")


def report_cohort(
    home_folder: Path, full_name: str, *, local: bool, html: Path | None, json_output: bool
) -> None:
    """Show what a coordinator may see of a snapshot, or with `local` what the hospital may."""
    from fedward_client.cohorts.reports.report_commands import report_of

    home = open_site_home(home_folder)
    answered = report_of(home, full_name, local=local)
    report = answered.report
    if answered.note:
        Console(stderr=True, highlight=False, soft_wrap=True).print(answered.note)
    if html is not None:
        from fedward_client.cohorts.reports.report_page import page_of

        write_private_file(html, page_of(report).encode())
    if json_output:
        _print_json(report)
        return
    from fedward_client.cohorts.reports.report_commands import tables_of

    console = Console(highlight=False)
    for one in tables_of(report):
        console.print(one)


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


def _show(
    kept: Kept, registration: CohortRegistration, *, json_output: bool, next_step: str
) -> None:
    summary = summary_of(kept, registration)
    if json_output:
        _print_json(summary)
        return
    console = Console(highlight=False)
    state = "new snapshot" if kept.is_new else "nothing changed since"
    console.print(f"Cohort {registration.name}: {state} {kept.snapshot.full_name}")
    console.print(
        f"{summary['cases']} cases of {summary['units']} {registration.unit}s "
        f"({', '.join(f'{count} {split}' for split, count in summary['splits'].items())}), "
        f"{summary['found']} found, each case one of: {registration.cases}"
    )
    if summary["lines"] or summary["archive"]:
        console.print(findings_table(kept))
    for code in summary["limits_passed"]:
        console.print(f"Limit passed: {code}")
    console.print(f"Next: fedward-site {next_step}")


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


@contextmanager
def _scan_progress(json_output: bool) -> Iterator[Any]:
    """Show how many files were seen, on the terminal alone."""
    console = Console(stderr=True)
    if json_output or not console.is_terminal:
        yield None
        return
    with console.status("Scanning ...") as status:

        def show(progress: ScanProgress) -> None:
            status.update(f"Scanning: {progress.files_seen} files, {progress.files_read} read")

        yield show


@contextmanager
def _decode_progress(json_output: bool) -> Iterator[Any]:
    console = Console(stderr=True)
    if json_output or not console.is_terminal:
        yield None
        return
    with console.status("Decoding ...") as status:
        yield lambda done, total: status.update(f"Decoding: {done} of {total} cases")
