"""What a data manager sees: exact counts, codes with their lines, advice. It never leaves the site.

Even here no patient is named; places of files go into a CSV file for the owner alone.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from fedward_client.cohorts.finding_codes import meaning_of
from fedward_client.cohorts.findings import Finding, counts_by_code
from fedward_client.cohorts.registered.cohort_checks import limits_passed
from fedward_client.cohorts.registered.cohort_counts import CohortCounts
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.cohort_work import Kept
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.snapshot import Snapshot
from fedward_client.cohorts.source import SPLITS
from fedward_client.site_home import write_private_file

E_NOT_DICOM = "E_NOT_DICOM"
_LINES_SHOWN = 5


def summary_of(kept: Kept, registration: CohortRegistration) -> dict[str, Any]:
    """Give what the commands print as JSON.

    `lines` counts lines of the label file by code, `archive` files, studies and persons.
    """
    snapshot = kept.snapshot
    splits = Counter(one.split for one in snapshot.cases)
    return {
        "cohort": snapshot.name,
        "snapshot": snapshot.full_name,
        "is_new": kept.is_new,
        "fingerprint": snapshot.fingerprint,
        "cases_are": registration.cases,
        "unit": snapshot.unit,
        "found": snapshot.num_found,
        "cases": len(snapshot.cases),
        "units": len({one.patient for one in snapshot.cases}),
        "splits": {split: splits[split] for split in SPLITS},
        "lines": counts_by_code(_of_lines(snapshot.findings)),
        "first_lines": {c: n[:_LINES_SHOWN] for c, n in _line_numbers(snapshot.findings).items()},
        "archive": _archive_counts(kept),
        "limits_passed": list(limits_passed(snapshot, registration)),
    }


def findings_table(kept: Kept) -> Table:
    """Draw codes with counts, lines, meaning and advice."""
    table = Table()
    for heading in ("code", "count", "lines"):
        table.add_column(heading, no_wrap=heading != "lines")
    table.add_column("what it means, and what to do")
    for code, numbers in _line_numbers(kept.snapshot.findings).items():
        more = ", ..." if len(numbers) > _LINES_SHOWN else ""
        shown = ", ".join(map(str, numbers[:_LINES_SHOWN])) + more
        table.add_row(code, str(len(numbers)), shown, _advice(code))
    for code, count in _archive_counts(kept).items():
        table.add_row(code, str(count), "archive", _advice(code))
    return table


def _advice(code: str) -> str:
    words = meaning_of(code)
    return escape(f"{words.meaning}: {words.advice}")


def local_report(
    kept: Kept, registration: CohortRegistration, counts: CohortCounts
) -> dict[str, Any]:
    """Give exact counts, and each code with its lines and advice."""
    numbers = _line_numbers(kept.snapshot.findings)
    codes = [
        {
            "code": code,
            "count": len(numbers.get(code, ())) or archive,
            "lines": numbers.get(code, []),
            "meaning": meaning_of(code).meaning,
            "advice": meaning_of(code).advice,
        }
        for code, archive in {**dict.fromkeys(numbers, 0), **_archive_counts(kept)}.items()
    ]
    return {
        "schema": "fedward-cohort-local/1",
        **summary_of(kept, registration),
        "flow": {
            "found": counts.found,
            "used": counts.used,
            "quarantined": sum(counts.quarantined.values()),
            "excluded_by_label": counts.excluded_by_label,
            "excluded_by_request": counts.excluded_by_request,
        },
        "tables": {name: dict(table) for name, table in counts.tables.items()},
        "codes": codes,
    }


def quarantine_csv(folder: CohortFolder, snapshot: Snapshot) -> Path:
    """Write every finding with its place to `reports/quarantine.csv`, for the owner alone."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(("code", "line", "place", "meaning", "advice"))
    for one in snapshot.findings:
        meaning = meaning_of(one.code)
        line = "" if one.line is None else one.line
        writer.writerow((one.code, line, _cell(one.place), meaning.meaning, meaning.advice))
    path = folder.reports / "quarantine.csv"
    write_private_file(path, buffer.getvalue().encode("utf-8", "backslashreplace"))
    return path


def _cell(text: str) -> str:
    """A spreadsheet takes a cell that begins so for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _of_lines(findings: Iterable[Finding]) -> list[Finding]:
    return [one for one in findings if one.line is not None]


def _line_numbers(findings: Iterable[Finding]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for one in findings:
        if one.line is not None:
            numbers[one.code].append(one.line)
    return {code: sorted(numbers[code]) for code in sorted(numbers)}


def _archive_counts(kept: Kept) -> dict[str, int]:
    counts = counts_by_code(one for one in kept.snapshot.findings if one.line is None)
    if kept.not_dicom:
        counts[E_NOT_DICOM] = kept.not_dicom
    return dict(sorted(counts.items()))
