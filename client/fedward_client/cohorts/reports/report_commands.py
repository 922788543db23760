"""`fedward-site cohort report`: which report is asked for, and how it looks on a terminal."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.cohort_counts import count_cohort
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.cohort_work import Kept, opened_index
from fedward_client.cohorts.registered.quarantine import read_quarantine
from fedward_client.cohorts.registered.registration import CohortRegistration, read_registration
from fedward_client.cohorts.registered.snapshot import Snapshot
from fedward_client.cohorts.registered.snapshot_store import read_snapshot
from fedward_client.cohorts.reports.coordinator_report import facts_of, frozen_report
from fedward_client.cohorts.reports.local_report import local_report
from fedward_client.cohorts.reports.shown_reports import FEWEST_CHANGED
from fedward_client.site_home import SiteHome

HIDDEN = "hidden"
_FLOW_WORDS = {
    "found": "cases that the label file lists",
    "quarantined": "cannot be used",
    "excluded_by_label": "excluded by the mapping",
    "excluded_by_request": "excluded on request",
    "used": "used",
}


@dataclass(frozen=True)
class AnsweredReport:
    """A report, and what the one who asked must know of it, "" if nothing."""

    report: dict[str, Any]
    note: str = ""


def report_of(home: SiteHome, full_name: str, *, local: bool) -> AnsweredReport:
    """Give a snapshot's report, for a coordinator or for the hospital itself.

    Raises:
        CohortError: There is nobody to report of, or too alike a report is there.
        ConfigurationError: There is no such cohort or snapshot.
        CorruptFileError: A file is not what was written.
    """
    registration = read_registration(home, full_name.partition("@")[0])
    snapshot = read_snapshot(home, full_name)
    if local:
        return AnsweredReport(_local(home, registration, _with_warnings(home, snapshot)))
    shown = frozen_report(home, registration, snapshot)
    if shown.report["fingerprint"] == snapshot.fingerprint:
        return AnsweredReport(shown.report)
    return AnsweredReport(
        shown.report,
        f"this is the report of {shown.snapshot}: a new one is made once {FEWEST_CHANGED} "
        f"{snapshot.unit}s have entered or left",
    )


def _local(home: SiteHome, registration: CohortRegistration, snapshot: Snapshot) -> dict[str, Any]:
    with opened_index(home, registration.name) as index:

        def syntax(one: Any) -> str:
            facts = facts_of(index, one)
            return facts.transfer_syntax_uid if facts is not None else ""

        counts = count_cohort(snapshot, registration, syntax)
        kept = Kept(snapshot, is_new=False, not_dicom=index.counts().not_dicom)
    return local_report(kept, registration, counts)


def _with_warnings(home: SiteHome, snapshot: Snapshot) -> Snapshot:
    """Add what the last check saw in pixels that costs no case."""
    quarantine = read_quarantine(CohortFolder(home, snapshot.name).quarantine_file)
    known = {(one.code, one.line) for one in snapshot.findings}
    seen = [
        Finding(code, case.line, place=case.files[0].locator)
        for case in snapshot.cases
        if (code := quarantine.code_of(case)) is not None and (code, case.line) not in known
    ]
    return dataclasses.replace(snapshot, findings=(*snapshot.findings, *seen))


def tables_of(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Draw a report for a terminal."""
    yield f"Cohort {report['cohort']}, fingerprint {report['fingerprint'][:16]}"
    yield f"{report['unit']}s: {_shown(report['units'])}"
    yield _table("flow", {_FLOW_WORDS[key]: report["flow"][key] for key in _FLOW_WORDS})
    for name, cells in report["tables"].items():
        yield _table(name, cells)
    if "codes" in report:
        yield from _codes(report["codes"])
        return
    for name, cells in report["spacing_mm"].items():
        if any(value is not None for value in cells.values()):
            yield _table(f"{name}, mm", cells)
    yield report["rules"]


def _table(title: str, cells: Mapping[str, Any]) -> Table:
    table = Table(title=escape(title), title_justify="left", show_header=False)
    for name, value in cells.items():
        table.add_row(escape(name), _shown(value))
    return table


def _codes(codes: list[dict[str, Any]]) -> Iterator[Table]:
    for one in codes:
        lines = ", ".join(map(str, one["lines"])) or "in the archive"
        yield _table(
            one["code"],
            {
                "count": one["count"],
                "lines": lines,
                "means": one["meaning"],
                "to do": one["advice"],
            },
        )


def _shown(value: Any) -> str:
    return HIDDEN if value is None else escape(str(value))
