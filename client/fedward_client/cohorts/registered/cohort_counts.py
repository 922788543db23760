"""How many patients of a snapshot are of each label, sex, age band, scanner and so on: exact.

Each table cuts the same patients into categories, each patient in one; who has images of two
categories is in "several". Where the unit is not the patient, units are counted in their place.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fedward_client.cohorts.findings import counts_by_code
from fedward_client.cohorts.labels import NOT_ANNOTATED_WORD
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.snapshot import NOT_ANNOTATED, Snapshot, SnapshotCase
from fedward_client.cohorts.registered.snapshot_building import costs_a_case, is_wanted
from fedward_client.cohorts.source import SPLITS

SEVERAL = "several"
OTHER = "other"
UNKNOWN = "unknown"
_OLDEST = 90
_SEXES = ("F", "M", "O", UNKNOWN)

# of these a category is named only if many patients are in it; what is left is "other"
OPEN_TABLES = ("modality", "manufacturer", "transfer_syntax")

_TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K RPCL Lossless",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}


@dataclass(frozen=True)
class CohortCounts:
    """Exact counts of one snapshot.

    Args:
        units: Patients, or what the unit is.
        tables: Name -> category -> units; each table adds up to `units`.
        found: Cases that the label file lists: the sum of the next four.
        used: Cases in the snapshot.
        quarantined: Cases that cannot be used, by code.
        excluded_by_label: Cases that the mapping excludes.
        excluded_by_request: Cases of patients who were excluded.
        archive: Findings between files, by code.
    """

    units: int
    tables: Mapping[str, Mapping[str, int]]
    found: int
    used: int
    quarantined: Mapping[str, int]
    excluded_by_label: int
    excluded_by_request: int
    archive: Mapping[str, int]


def count_cohort(
    snapshot: Snapshot,
    registration: CohortRegistration,
    transfer_syntax_of: Callable[[SnapshotCase], str],
) -> CohortCounts:
    """Count a snapshot.

    Args:
        snapshot: The state.
        registration: For its task.
        transfer_syntax_of: Gives the UID of a case's first file, "" if unknown.
    """
    by_unit: dict[str, list[SnapshotCase]] = defaultdict(list)
    for one in snapshot.cases:
        by_unit[one.patient].append(one)
    units = list(by_unit.values())
    syntax_of = {one.case_id: _syntax_name(transfer_syntax_of(one)) for one in snapshot.cases}
    tables = {
        "split": _table(units, lambda one: one.split, SPLITS),
        **_label_tables(units, registration),
        "sex": _table(units, lambda one: one.sex or UNKNOWN, _SEXES),
        "age": _table(units, lambda one: age_band(one.age_years), _AGE_BANDS),
        "modality": _table(units, lambda one: one.modality or UNKNOWN),
        "manufacturer": _table(units, lambda one: one.scanner or UNKNOWN),
        "transfer_syntax": _table(units, lambda one: syntax_of[one.case_id]),
    }
    lost = [one for one in snapshot.findings if costs_a_case(one)]
    wanted = counts_by_code(one for one in lost if is_wanted(one))
    return CohortCounts(
        units=len(units),
        tables=tables,
        found=snapshot.num_found,
        used=len(snapshot.cases),
        quarantined=counts_by_code(one for one in lost if not is_wanted(one)),
        excluded_by_label=wanted.get("EXCLUDED_BY_LABEL", 0),
        excluded_by_request=wanted.get("EXCLUDED_BY_REQUEST", 0),
        archive=counts_by_code(one for one in snapshot.findings if one.line is None),
    )


def age_band(years: int | None) -> str:
    """Give "40-49" for 47; all from 90 on are one band."""
    if years is None:
        return UNKNOWN
    low = years // 10 * 10
    return f"{_OLDEST}+" if low >= _OLDEST else f"{low}-{low + 9}"


_AGE_BANDS = (*(age_band(years) for years in range(0, _OLDEST + 1, 10)), UNKNOWN)


def _table(
    units: Iterable[list[SnapshotCase]],
    category_of: Callable[[SnapshotCase], str],
    always: Iterable[str] = (),
) -> dict[str, int]:
    counts = Counter(dict.fromkeys((*always, SEVERAL), 0))
    for cases in units:
        categories = {category_of(one) for one in cases}
        counts[categories.pop() if len(categories) == 1 else SEVERAL] += 1
    return dict(counts)


def _label_tables(
    units: list[list[SnapshotCase]], registration: CohortRegistration
) -> dict[str, dict[str, int]]:
    names = registration.task.class_names
    if registration.task.kind == "segmentation":
        return {}
    if not registration.task.multi_label:
        words = dict(enumerate(names))
        always = (*names, NOT_ANNOTATED_WORD)
        return {
            "label": _table(
                units,
                lambda one: words.get(_as_number(one.label), NOT_ANNOTATED_WORD),
                always,
            )
        }
    return {f"label: {name}": _finding_table(units, number) for number, name in enumerate(names)}


def _as_number(label: int | tuple[int, ...] | None) -> int:
    return label if isinstance(label, int) else NOT_ANNOTATED


def _finding_table(units: list[list[SnapshotCase]], number: int) -> dict[str, int]:
    """A finding is present if any image shows it, else absent if any is said not to."""
    counts = {"present": 0, "absent": 0, NOT_ANNOTATED_WORD: 0}
    for cases in units:
        values = {one.label[number] for one in cases if isinstance(one.label, tuple)}
        if 1 in values:
            counts["present"] += 1
        else:
            counts["absent" if 0 in values else NOT_ANNOTATED_WORD] += 1
    return counts


def _syntax_name(uid: str) -> str:
    return _TRANSFER_SYNTAXES.get(uid, OTHER if uid else UNKNOWN)
