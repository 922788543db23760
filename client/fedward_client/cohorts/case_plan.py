"""Which cases of which sources a view is built from, each with its split and its privacy unit."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.exclusions import ExclusionTally
from fedward_client.cohorts.partition import part_of_patient
from fedward_client.cohorts.source import (
    E_PATIENT_IN_TWO_SPLITS,
    Case,
    CohortSource,
    Exclusion,
    Label,
    Split,
    Unit,
)
from fedward_client.cohorts.splits import in_two_splits, with_split
from fedward_common.job.job_file import SplitFractions

_DOMAIN = b"fedward privacy unit v1"


@dataclass(frozen=True)
class PlannedCase:
    """A case to decode.

    Args:
        source: Place of its source in the cohort.
        case: The case.
        split: Where it belongs.
        unit_key: Keyed hash of who it belongs to; equal for cases of one patient.
    """

    source: int
    case: Case
    split: Split
    unit_key: bytes = field(repr=False)


def plan_cases(
    settings: Sequence[SourceSettings],
    sources: Sequence[CohortSource],
    fractions: SplitFractions,
    split_key: bytes,
    tally: ExclusionTally,
) -> list[PlannedCase]:
    """List the cases of all sources in order; exclusions go to the tally.

    A patient whose cases fall into two splits is left out with all of them, in every source. Where
    a simulation cuts a cohort into parts, the first part alone counts what belongs to no patient.
    """
    planned: list[PlannedCase] = []
    excluded: list[tuple[int, Exclusion]] = []
    for number, (table, source) in enumerate(zip(settings, sources, strict=True)):
        listed = source.cases()
        excluded += [(number, exclusion) for exclusion in listed.exclusions]
        scope = _scope_of(source.unit, table, settings)
        for case in listed.cases:
            placed, split = with_split(case, split_key, fractions)
            key = _unit_key(source.unit, scope, case.patient, split_key)
            planned.append(PlannedCase(number, placed, split, key))
    whole, torn = _without_torn_patients(planned, sources)
    kept = _of_this_part(whole, settings)
    _count(kept, excluded + torn, settings, tally)
    return kept


def _count(
    kept: list[PlannedCase],
    excluded: list[tuple[int, Exclusion]],
    settings: Sequence[SourceSettings],
    tally: ExclusionTally,
) -> None:
    told = [
        (source, exclusion)
        for source, exclusion in excluded
        if (part := settings[source].partition) is None or part.site == 0
    ]
    num_listed = Counter([one.source for one in kept] + [source for source, _ in told])
    for source in range(len(settings)):
        tally.list_cases(source, num_listed[source])
    for source, exclusion in told:
        tally.exclude(source, exclusion.code, exclusion.line)


def _of_this_part(
    planned: list[PlannedCase], settings: Sequence[SourceSettings]
) -> list[PlannedCase]:
    """Keep the patients of a simulated site's part; a patient's first label decides for all."""
    label_of: dict[bytes, Label] = {}
    for one in planned:
        label_of.setdefault(one.unit_key, one.case.label)
    return [
        one
        for one in planned
        if (part := settings[one.source].partition) is None
        or part_of_patient(one.unit_key, label_of[one.unit_key], part) == part.site
    ]


def _without_torn_patients(
    planned: list[PlannedCase], sources: Sequence[CohortSource]
) -> tuple[list[PlannedCase], list[tuple[int, Exclusion]]]:
    torn = in_two_splits(
        (p.unit_key, p.split) for p in planned if sources[p.source].unit != "image"
    )
    excluded = [
        (one.source, Exclusion(E_PATIENT_IN_TWO_SPLITS, one.case.line))
        for one in planned
        if one.unit_key in torn
    ]
    return [p for p in planned if p.unit_key not in torn], excluded


def _scope_of(unit: Unit, table: SourceSettings, settings: Sequence[SourceSettings]) -> str:
    """Say within what a name is unique: an image's within its file, a patient's at a hospital.

    A file or a registered cohort counts by its place among the sources, not by its path: patients
    are numbered by their keys, so moved data would else be trained on in another order.
    """
    if unit != "image":
        return table.patient_namespace
    places = [(other.path, other.cohort.partition("@")[0]) for other in settings]
    return str(places.index((table.path, table.cohort.partition("@")[0])))


def _unit_key(unit: Unit, scope: str, patient: str, split_key: bytes) -> bytes:
    parts = (unit, scope, patient)
    text = b"".join(len(p.encode()).to_bytes(8, "big") + p.encode() for p in parts)
    return hmac.new(split_key, _DOMAIN + text, hashlib.sha256).digest()


def weakest_unit(sources: Sequence[CohortSource]) -> Unit:
    """Give the unit that holds for every source: one without patient ids makes it the image."""
    units = {source.unit for source in sources}
    weakest_first: tuple[Unit, ...] = ("image", "lesion", "patient")
    return next(unit for unit in weakest_first if unit in units)
