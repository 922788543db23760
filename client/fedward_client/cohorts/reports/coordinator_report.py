"""What a coordinator may see of a cohort; written once for each state, and the same for ever.

Counts as bands, the total of patients rounded to 5, small counts hidden so that none can be worked
out (`disclosure_control`); quantiles only where ten cases lie on either side. Categories are words
of fixed lists. A report that changed with every look could be differenced, so it is frozen by the
fingerprint of what was counted.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.registered.cohort_counts import (
    OPEN_TABLES,
    OTHER,
    CohortCounts,
    count_cohort,
)
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.cohort_work import opened_index
from fedward_client.cohorts.registered.mask_matching import state_of
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.snapshot import Snapshot, SnapshotCase
from fedward_client.cohorts.reports.disclosure_control import (
    SMALLEST_SHOWN,
    Sum,
    band_shown,
    rounded,
    shown_names,
)
from fedward_client.cohorts.source import E_COHORT_EMPTY
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.site_home import SiteHome, write_private_file
from fedward_common.errors import CohortError, CorruptFileError

SCHEMA = "fedward-cohort-report/1"
_QUANTILES = (10, 25, 50, 75, 90)
_RULES = (
    "Counts are bands, the total of patients is rounded to 5; null is hidden: below 10, or hidden "
    "to protect a count below 10. This report stays the same until the cohort changes."
)
_MORE_IMAGES = "images beyond each patient's first"
_FLOW = ("used", "quarantined", "excluded_by_label", "excluded_by_request")
FactsOf = Callable[[SnapshotCase], InstanceFacts | None]


def frozen_report(
    home: SiteHome, registration: CohortRegistration, snapshot: Snapshot
) -> dict[str, Any]:
    """Give the report of a snapshot: what was written for its fingerprint, else a new one.

    Raises:
        CohortError: `E_COHORT_EMPTY`: there is nobody to report of.
        CorruptFileError: The written one is damaged; another must not be made in its place.
    """
    if not snapshot.cases:
        raise CohortError(
            f"{snapshot.full_name} has no usable case",
            hint="look at it with --local; a coordinator gets a report once it has cases",
            code=E_COHORT_EMPTY,
        )
    folder = CohortFolder(home, registration.name)
    path = folder.reports / f"{snapshot.fingerprint}.json"
    if not path.exists():
        with opened_index(home, registration.name) as index:
            report = coordinator_report(snapshot, registration, lambda one: facts_of(index, one))
        folder.reports.mkdir(mode=0o700, exist_ok=True)
        write_private_file(path, json.dumps(report, indent=1).encode())
    try:
        report = json.loads(path.read_bytes())
        sound = report["schema"] == SCHEMA and report["fingerprint"] == snapshot.fingerprint
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise CorruptFileError(f"{path} is damaged", hint="restore it; it must stay as it was")
    return dict(report)


def facts_of(index: DicomIndex, case: SnapshotCase) -> InstanceFacts | None:
    """Give the header of a case's first file; None if there is another file today."""
    facts = index.at(case.files[0].locator)
    return facts if facts is not None and state_of(facts) == case.files[0] else None


def coordinator_report(
    snapshot: Snapshot, registration: CohortRegistration, header_of: FactsOf
) -> dict[str, Any]:
    """Make the report; pure but for `header_of`, which gives the header of a case's first file."""
    headers = {one.case_id: header_of(one) for one in snapshot.cases}
    counts = count_cohort(
        snapshot,
        registration,
        lambda one: facts.transfer_syntax_uid if (facts := headers[one.case_id]) else "",
    )
    return {
        "schema": SCHEMA,
        "rules": _RULES,
        "cohort": snapshot.name,
        "fingerprint": snapshot.fingerprint,
        "unit": snapshot.unit,
        "task": registration.task.kind,
        "classes": list(snapshot.class_names),
        "cases_are": registration.cases,
        **banded(counts),
        "spacing_mm": _spacing_quantiles([one for one in headers.values() if one is not None]),
    }


def banded(counts: CohortCounts) -> dict[str, Any]:
    """Turn exact counts into what may be shown."""
    tables = {
        name: _with_small_as_other(table) if name in OPEN_TABLES else dict(table)
        for name, table in counts.tables.items()
    }
    codes = _with_small_as_other(counts.quarantined)
    flow = {
        "used": counts.used,
        "quarantined": sum(counts.quarantined.values()),
        "excluded_by_label": counts.excluded_by_label,
        "excluded_by_request": counts.excluded_by_request,
    }
    values = {"units": counts.units, "found": counts.found, **flow}
    values |= {f"codes/{code}": count for code, count in codes.items()}
    for name, table in tables.items():
        values |= {f"{name}/{category}": count for category, count in table.items()}
    values |= {_MORE_IMAGES: counts.used - counts.units}
    sums = list(_sums(counts, tables, codes))
    # where no code is listed it is seen that there is none
    known_zero: set[str] = set() if codes else {"quarantined"}
    shown = shown_names(values, sums, {"units"}, {_MORE_IMAGES, *known_zero})

    def band(name: str) -> str | None:
        if name in known_zero:
            return "0"
        return str(band_shown(values[name])) if name in shown else None

    return {
        "units": rounded(counts.units) if "units" in shown else None,
        "flow": {step: band(step) for step in ("found", *_FLOW)},
        "quarantined_by_code": {code: band(f"codes/{code}") for code in codes},
        "tables": {
            name: {category: band(f"{name}/{category}") for category in table}
            for name, table in tables.items()
        },
        "archive": {
            code: str(band_shown(count))
            for code, count in counts.archive.items()
            if count >= SMALLEST_SHOWN
        },
    }


def _sums(
    counts: CohortCounts, tables: Mapping[str, Mapping[str, int]], codes: Mapping[str, int]
) -> Iterator[Sum]:
    yield Sum("found", _FLOW)
    yield Sum("quarantined", tuple(f"codes/{code}" for code in codes))
    for name, table in tables.items():
        yield Sum("units", tuple(f"{name}/{category}" for category in table))
    # a reader may know that each patient has one image, and else that each has one at least
    yield Sum("used", ("units",) if counts.used == counts.units else ("units", _MORE_IMAGES))


def _with_small_as_other(table: Mapping[str, int]) -> dict[str, int]:
    """Name the large categories alone: a name beside a hidden count would say "at least one".

    Of all small ones together this may be said; that there are none may be seen.
    """
    large = {k: n for k, n in table.items() if n >= SMALLEST_SHOWN and k != OTHER}
    rest = sum(table.values()) - sum(large.values())
    return large | ({OTHER: rest} if rest else {})


def _spacing_quantiles(headers: Sequence[InstanceFacts]) -> dict[str, dict[str, float | None]]:
    values = {
        "rows": [one.pixel_spacing_mm[0] for one in headers if one.pixel_spacing_mm],
        "columns": [one.pixel_spacing_mm[1] for one in headers if one.pixel_spacing_mm],
        "slice_thickness": [one.slice_thickness_mm for one in headers if one.slice_thickness_mm],
    }
    return {name: quantiles(sorted(numbers)) for name, numbers in values.items()}


def quantiles(ascending: Sequence[float]) -> dict[str, float | None]:
    """Give quantiles to 0.01; None where fewer than ten values lie on either side."""
    result: dict[str, float | None] = {}
    for percent in _QUANTILES:
        place = len(ascending) * percent // 100
        enough = min(place, len(ascending) - 1 - place) >= SMALLEST_SHOWN
        result[f"{percent} %"] = round(ascending[place], 2) if enough else None
    return result
