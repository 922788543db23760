"""Every report that this home has ever shown, and whether another one may be made beside them.

Two reports of nearly the same people can be differenced: where one line was added and a count moved
to the next band, the newcomer is of that count. So a report stays the cohort's report until at
least 10 have entered or left, and no two reports of a home, whatever their cohorts are called,
differ by fewer than 10. Who differs is counted twice, by the cohort's own units and by the headers'
PatientID (without one: by the image), and the smaller number counts, so that neither a new name for
each patient nor another unit makes other people of them. Another cohort of exactly the same people
may have a report where one of the two contains the other, number by number: then both together say
no more than the larger one, as of one set of patients with masks and with labels.

Not claimed: that nothing can be learned from many reports together over a long time, from what a
reader knows of those who entered or left, from reports of several homes, or from one of a home
whose `shown_reports` were deleted. Two ids of one person count as two people.

```
shown_reports/N.json   N = 1, 2, 3 ...: the report, its snapshot and pseudonyms of who is in it
```
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedward_client.cohorts.registered.snapshot import Snapshot, SnapshotCase
from fedward_client.cohorts.reports.disclosure_control import SMALLEST_SHOWN
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome, write_private_file
from fedward_common.errors import CohortError, CorruptFileError

E_REPORT_TOO_ALIKE = "E_REPORT_TOO_ALIKE"
FEWEST_CHANGED = SMALLEST_SHOWN
_SCHEMA = "fedward-shown-report/1"


@dataclass(frozen=True)
class Members:
    """Who a report is of, as pseudonyms.

    Args:
        units: By what the cohort counts.
        persons: By the headers.
    """

    units: frozenset[str] = field(repr=False)
    persons: frozenset[str] = field(repr=False)

    def num_changed(self, other: "Members") -> int:
        """Say how many are in one of the two alone, by the way of counting that gives fewer."""
        return min(len(self.units ^ other.units), len(self.persons ^ other.persons))


@dataclass(frozen=True)
class ShownReport:
    """A report as it was first shown.

    Args:
        snapshot: `NAME@k`, which it is of.
        report: What was shown.
        members: Who is in it.
    """

    snapshot: str
    report: dict[str, Any]
    members: Members

    @property
    def cohort(self) -> str:
        """The cohort's name."""
        return self.snapshot.partition("@")[0]

    def is_nested_with(self, other: "ShownReport") -> bool:
        """Say whether both are of the same people, and one shows all that the other shows."""
        if self.members != other.members:
            return False
        mine, theirs = _numbers_of(self.report), _numbers_of(other.report)
        return mine.items() <= theirs.items() or mine.items() >= theirs.items()


def _numbers_of(report: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """Give every number of a report, hidden ones too, by table and category."""
    tables = {
        "": {"units": report["units"]},
        "flow": report["flow"],
        **{f"table {name}": cells for name, cells in report["tables"].items()},
        **{f"quantiles {name}": cells for name, cells in report["spacing_mm"].items()},
    }
    return {(name, key): value for name, cells in tables.items() for key, value in cells.items()}


def members_of(
    snapshot: Snapshot, key: bytes, header_at: Callable[[SnapshotCase], InstanceFacts | None]
) -> Members:
    """Give who is in a snapshot.

    Args:
        snapshot: The state.
        key: `SiteHome.pseudonym_key()`.
        header_at: Gives what lies today where a case's first file was.
    """

    def person(one: SnapshotCase) -> str:
        facts = header_at(one)
        if facts is None:
            return pseudonym(key, "patient", one.patient)
        if patient_id := facts.patient_id.strip():
            return pseudonym(key, "patient", patient_id)
        return pseudonym(key, "instance", facts.sop_instance_uid)

    return Members(
        units=frozenset(pseudonym(key, "patient", one.patient) for one in snapshot.cases),
        persons=frozenset(map(person, snapshot.cases)),
    )


def standing_report(shown: Sequence[ShownReport], new: ShownReport) -> ShownReport | None:
    """Give the report that stands in place of a new one; None where the new one may be shown.

    Args:
        shown: Every report of the home, the last one last.
        new: What would be shown.

    Raises:
        CohortError: `E_REPORT_TOO_ALIKE`: another cohort's report is of nearly the same people.
    """
    mine = [one for one in reversed(shown) if one.cohort == new.cohort]
    for one in mine:
        if one.report["fingerprint"] == new.report["fingerprint"]:
            return one
    for one in mine:
        if one.members.num_changed(new.members) < FEWEST_CHANGED:
            return one
    for one in shown:
        alike = one.members.num_changed(new.members) < FEWEST_CHANGED
        if alike and not one.is_nested_with(new):
            raise CohortError(
                f"{new.snapshot} is of nearly the same people as {one.snapshot}, of which there "
                "is a report",
                hint=f"show that one: fedward-site cohort report {one.snapshot}",
                code=E_REPORT_TOO_ALIKE,
            )
    return None


def read_shown(home: SiteHome) -> tuple[ShownReport, ...]:
    """Read every report that was shown, the last one last.

    Raises:
        CorruptFileError: One is missing or damaged; without it no other may be made.
    """
    files = list(_folder(home).glob("*.json"))
    return tuple(_read(home, number) for number in range(1, len(files) + 1))


def write_shown(home: SiteHome, number: int, shown: ShownReport) -> None:
    """Write a report before it is shown, for the owner alone."""
    _folder(home).mkdir(mode=0o700, exist_ok=True)
    body = {
        "schema": _SCHEMA,
        "snapshot": shown.snapshot,
        "report": shown.report,
        "units": sorted(shown.members.units),
        "persons": sorted(shown.members.persons),
    }
    write_private_file(_path(home, number), json.dumps(body, indent=1).encode())


def _read(home: SiteHome, number: int) -> ShownReport:
    path = _path(home, number)
    try:
        body = json.loads(path.read_bytes())
        members = Members(*(frozenset(_texts(body[name])) for name in ("units", "persons")))
        report, snapshot = dict(body["report"]), body["snapshot"]
        _numbers_of(report)
        sound = body["schema"] == _SCHEMA and isinstance(report["fingerprint"], str)
        sound = sound and snapshot.partition("@")[0] == report["cohort"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise CorruptFileError(
            f"{path} is missing or damaged", hint="restore it; no new report can be made without"
        )
    return ShownReport(snapshot, report, members)


def _texts(unverified: list[Any]) -> Iterator[str]:
    for one in unverified:
        if not isinstance(one, str):
            raise TypeError("no pseudonym")
        yield one


def _folder(home: SiteHome) -> Path:
    return home.folder / "shown_reports"


def _path(home: SiteHome, number: int) -> Path:
    return _folder(home) / f"{number}.json"
