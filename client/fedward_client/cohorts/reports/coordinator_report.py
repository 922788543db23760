"""What a coordinator may see of a cohort; written once, and the same until 10 came or went.

Nothing is counted but units (patients): their number rounded to 5, tables of them as bands, small
counts hidden so that none can be worked out (`disclosure_control`). Images, lines of the label file
and files are not counted, for any number of them may be of one patient, and who is behind a line
that cannot be used is not known: found, lost and excluded are always hidden, codes not listed.
Quantiles are of one value a unit, its median; each is the mean of eleven units, and stands only
where ten lie on either side. Categories are words of fixed lists. Reports are frozen and kept apart
from one another (`shown_reports`).

Where the unit is an image or a lesion, all of this protects an image or a lesion.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.registered.cohort_counts import (
    OPEN_TABLES,
    OTHER,
    CohortCounts,
    count_cohort,
)
from fedward_client.cohorts.registered.cohort_work import opened_index
from fedward_client.cohorts.registered.mask_matching import state_of
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.snapshot import Snapshot, SnapshotCase
from fedward_client.cohorts.registered.split_record import only_snapshot_maker
from fedward_client.cohorts.reports.disclosure_control import (
    SMALLEST_SHOWN,
    Sum,
    band_shown,
    rounded,
    shown_names,
)
from fedward_client.cohorts.reports.shown_reports import (
    ShownReport,
    members_of,
    read_shown,
    standing_report,
    write_shown,
)
from fedward_client.cohorts.source import E_COHORT_EMPTY
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.site_home import SiteHome
from fedward_common.errors import CohortError

SCHEMA = "fedward-cohort-report/1"
_QUANTILES = (10, 25, 50, 75, 90)
_RULES = (
    "Every count is of patients (or of the unit named), as a band, the total rounded to 5; null is "
    "hidden: below 10, hidden to protect a count below 10, or a count of lines. This report stays "
    "the same until 10 patients have entered or left the cohort."
)
_ALWAYS_HIDDEN = ("found", "quarantined", "excluded_by_label", "excluded_by_request")
_MEAN_OF_EITHER_SIDE = 5
FactsOf = Callable[[SnapshotCase], InstanceFacts | None]


def frozen_report(
    home: SiteHome, registration: CohortRegistration, snapshot: Snapshot
) -> ShownReport:
    """Give the report that stands for a snapshot, else make one and keep it.

    Raises:
        CohortError: `E_COHORT_EMPTY`: there is nobody to report of. `E_REPORT_TOO_ALIKE`: another
            cohort's report is of nearly the same people.
        CorruptFileError: One that was shown is damaged; another must not be made in its place.
    """
    if not snapshot.cases:
        raise CohortError(
            f"{snapshot.full_name} has no usable case",
            hint="look at it with --local; a coordinator gets a report once it has cases",
            code=E_COHORT_EMPTY,
        )
    with only_snapshot_maker(home.folder), opened_index(home, registration.name) as index:
        members = members_of(
            snapshot, home.pseudonym_key(), lambda one: index.at(one.files[0].locator)
        )
        report = coordinator_report(snapshot, registration, lambda one: facts_of(index, one))
        new = ShownReport(snapshot.full_name, json.loads(json.dumps(report)), members)
        shown = read_shown(home)
        standing = standing_report(shown, new)
        if standing is None:
            write_shown(home, len(shown) + 1, new)
    return standing or new


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
        "spacing_mm": _spacing_quantiles(snapshot, headers),
    }


def banded(counts: CohortCounts) -> dict[str, Any]:
    """Turn exact counts into what may be shown; of them, those of units alone."""
    tables = {
        name: _with_small_as_other(table) if name in OPEN_TABLES else dict(table)
        for name, table in counts.tables.items()
    }
    values = {"units": counts.units}
    for name, table in tables.items():
        values |= {f"{name}/{category}": count for category, count in table.items()}
    sums = [
        Sum("units", tuple(f"{name}/{category}" for category in table))
        for name, table in tables.items()
    ]
    shown = shown_names(values, sums, {"units"})

    def band(name: str) -> str | None:
        return str(band_shown(values[name])) if name in shown else None

    units = rounded(counts.units) if "units" in shown else None
    return {
        "units": units,
        "flow": {**dict.fromkeys(_ALWAYS_HIDDEN), "used": units},
        "tables": {
            name: {category: band(f"{name}/{category}") for category in table}
            for name, table in tables.items()
        },
    }


def _with_small_as_other(table: Mapping[str, int]) -> dict[str, int]:
    """Name the large categories alone: a name beside a hidden count would say "at least one".

    Of all small ones together this may be said; that there are none may be seen.
    """
    large = {k: n for k, n in table.items() if n >= SMALLEST_SHOWN and k != OTHER}
    rest = sum(table.values()) - sum(large.values())
    return large | ({OTHER: rest} if rest else {})


def _spacing_quantiles(
    snapshot: Snapshot, headers: Mapping[str, InstanceFacts | None]
) -> dict[str, dict[str, float | None]]:
    values: dict[str, dict[str, list[float]]] = {
        name: defaultdict(list) for name in ("rows", "columns", "slice_thickness")
    }
    for one in snapshot.cases:
        facts = headers[one.case_id]
        if facts is None:
            continue
        if facts.pixel_spacing_mm:
            values["rows"][one.patient].append(facts.pixel_spacing_mm[0])
            values["columns"][one.patient].append(facts.pixel_spacing_mm[1])
        if facts.slice_thickness_mm:
            values["slice_thickness"][one.patient].append(facts.slice_thickness_mm)
    return {
        name: quantiles(sorted(map(statistics.median, by_unit.values())))
        for name, by_unit in values.items()
    }


def quantiles(ascending: Sequence[float]) -> dict[str, float | None]:
    """Give quantiles to 0.01 of one value a unit, each as the mean of eleven units.

    None where fewer than ten lie on either side.
    """
    result: dict[str, float | None] = {}
    for percent in _QUANTILES:
        place = len(ascending) * percent // 100
        enough = min(place, len(ascending) - 1 - place) >= SMALLEST_SHOWN
        around = ascending[max(0, place - _MEAN_OF_EITHER_SIDE) : place + _MEAN_OF_EITHER_SIDE + 1]
        result[f"{percent} %"] = round(statistics.fmean(around), 2) if enough else None
    return result
