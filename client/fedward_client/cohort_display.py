"""What the cohort commands print: codes, lines and counts, never a patient."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fedward_client.cohorts.index.instance_store import ScanProgress
from fedward_client.cohorts.registered.cohort_work import Kept
from fedward_client.cohorts.registered.patient_exclusion import ExclusionOutcome
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.snapshot_change import SnapshotChange
from fedward_client.cohorts.reports.local_report import findings_table, summary_of
from fedward_client.cohorts.source import SPLITS

_HOME_VARIABLE = "FEDWARD_SITE_HOME"


def next_command(home_folder: Path, command: str) -> str:
    """Give a command as it can be typed: with `--home`, unless the environment names this home."""
    named = os.environ.get(_HOME_VARIABLE)
    is_named = named is not None and Path(named).absolute() == home_folder.absolute()
    home = "" if is_named else f" --home {shlex.quote(str(home_folder))}"
    return f"fedward-site {command}{home}"


def show_kept(
    kept: Kept, registration: CohortRegistration, *, json_output: bool, next_line: str
) -> None:
    """Print what a step came to."""
    if json_output:
        print_json(summary_of(kept, registration))
        return
    state = "new snapshot" if kept.is_new else "nothing changed since"
    console = Console(highlight=False)
    console.print(f"Cohort {registration.name}: {state} {kept.snapshot.full_name}")
    _show_summary(console, kept, registration)
    console.print(f"Next: {next_line}", markup=False, soft_wrap=True)


def show_preview(
    kept: Kept, change: SnapshotChange, registration: CohortRegistration, *, json_output: bool
) -> None:
    """Print what a dry run found."""
    if json_output:
        told = {
            "splits_before": change.splits_before,
            "leaving_test": change.leaving_test,
            "lost": change.lost,
            "new_codes": dict(change.new_codes),
            "to_confirm": list(change.to_confirm),
        }
        print_json({**summary_of(kept, registration), "dry_run": True, "change": told})
        return
    state = "would become" if kept.is_new else "nothing changed since"
    console = Console(highlight=False)
    console.print(f"Cohort {registration.name}: {state} {kept.snapshot.full_name}")
    _show_summary(console, kept, registration)
    console.print(_table_of_change(change))
    for reason in change.to_confirm:
        console.print(f"Needs --yes: {reason}", soft_wrap=True)
    console.print("Dry run: no snapshot, split or setting was written.")


def _show_summary(console: Console, kept: Kept, registration: CohortRegistration) -> None:
    summary = summary_of(kept, registration)
    console.print(
        f"{summary['cases']} cases of {summary['units']} {registration.unit}s "
        f"({', '.join(f'{count} {split}' for split, count in summary['splits'].items())}), "
        f"{summary['found']} found, each case one of: {registration.cases}"
    )
    if summary["lines"] or summary["archive"]:
        console.print(findings_table(kept))
    for code in summary["limits_passed"]:
        console.print(f"Limit exceeded: {code}")


def _table_of_change(change: SnapshotChange) -> Table:
    table = Table("what", "now", "then")
    before: Mapping[Any, int] = change.splits_before or {}
    for split in SPLITS:
        table.add_row(
            f"{change.unit}s: {split}", str(before.get(split, "-")), str(change.splits[split])
        )
    table.add_row(f"{change.unit}s lost", "", str(change.lost))
    table.add_row(f"{change.unit}s that leave the test split", "", str(change.leaving_test))
    for code, count in change.new_codes.items():
        table.add_row(f"lines with {code}", "", f"{count} more")
    return table


def show_cohorts(rows: list[dict[str, Any]]) -> None:
    """Print the list of cohorts."""
    table = Table("cohort", "snapshot", "cases", "patients", "task", "limits exceeded")
    for row in rows:
        cells = (row["snapshot"] or "-", row["cases"], row["units"], row["task"])
        limits = "damaged" if row["damaged"] else ", ".join(row["limits_passed"]) or "none"
        table.add_row(row["name"], *map(str, cells), limits)
    Console().print(table if rows else "No cohort is registered yet.")


def show_exclusion(outcome: ExclusionOutcome) -> None:
    """Print what an exclusion came to, in counts."""
    console = Console(highlight=False)
    console.print(
        f"{outcome.named} patients named, {outcome.unknown} of them unknown at this site "
        "(they stay excluded should they appear)."
    )
    for name, count in outcome.cases.items():
        console.print(f"  {name}: {count} cases are out from the next round on")
    if outcome.other_ids_excluded:
        console.print(f"{_other_ids(outcome.other_ids_excluded)} one of them and went with them.")
    if outcome.other_ids:
        console.print(
            f"{_other_ids(outcome.other_ids)} one of them and stay: if it is the same person, "
            "exclude these too (name them, or --with-other-ids; see W_PATIENT_TWICE)."
        )
    console.print(f"{outcome.arrays_deleted} decoded arrays deleted.")
    if any(outcome.cases.values()):
        console.print("For snapshots without them: fedward-site cohort update NAME")


def _other_ids(count: int) -> str:
    ids = "id has" if count == 1 else "ids have"
    return f"{count} other patient {ids} the same name, birth date and sex, or an image, as"


def print_json(value: Any) -> None:
    """Print a value on stdout."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


@contextmanager
def scan_progress(json_output: bool) -> Iterator[Any]:
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
def decode_progress(json_output: bool) -> Iterator[Any]:
    """Show how many cases were decoded, on the terminal alone."""
    console = Console(stderr=True)
    if json_output or not console.is_terminal:
        yield None
        return
    with console.status("Decoding ...") as status:
        yield lambda done, total: status.update(f"Decoding: {done} of {total} cases")
