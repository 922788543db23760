"""One scan's index and one label file to one snapshot; the fingerprint that says what changed."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from fedward_client.cohorts.findings import Finding, counts_by_code
from fedward_client.cohorts.registered.case_selection import Selection, SiteKeys, select_cases
from fedward_client.cohorts.registered.class_mapping import mask_values
from fedward_client.cohorts.registered.finding_places import with_file_places
from fedward_client.cohorts.registered.label_file import LabelTable
from fedward_client.cohorts.registered.label_matching import match_rows
from fedward_client.cohorts.registered.label_targets import IndexLookup
from fedward_client.cohorts.registered.quarantine import Quarantine, state_hash
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.snapshot import Snapshot, SnapshotCase
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.pseudonyms import pseudonym

_WANTED = ("EXCLUDED_BY_LABEL", "EXCLUDED_BY_REQUEST")


def costs_a_case(finding: Finding) -> bool:
    """Say whether a finding is why a line of the label file is no case."""
    return finding.line is not None and not finding.code.startswith("W_")


def is_wanted(finding: Finding) -> bool:
    """Say whether a person wanted the case out."""
    return finding.code in _WANTED


def build_snapshot(
    registration: CohortRegistration,
    table: LabelTable,
    index: IndexLookup,
    keys: SiteKeys,
    record: SplitRecord,
    *,
    excluded: frozenset[str],
    quarantine: Quarantine,
    number: int,
) -> tuple[Snapshot, Selection]:
    """Build a snapshot; nothing is written.

    Args:
        registration: Of the cohort.
        table: Its label file.
        index: Its headers.
        keys: The site's.
        record: Splits of earlier snapshots.
        excluded: Pseudonyms of excluded patients.
        quarantine: What earlier checks put aside.
        number: Of the snapshot.
    """
    matched, unmatched = match_rows(table, registration, index)
    selection = select_cases(matched, registration, keys, record.splits_of, excluded, quarantine)
    of_lines = sorted((*unmatched, *selection.findings), key=lambda one: (one.line or 0, one.code))
    between_files = with_file_places(index.scan_findings(), index)
    findings = (*of_lines, *between_files, *index.problems())
    num_found = len(selection.cases) + sum(costs_a_case(one) for one in of_lines)
    values = _mask_values(registration)
    fingerprint = _fingerprint(registration, values, selection.cases, of_lines, keys)
    snapshot = Snapshot(
        name=registration.name,
        number=number,
        unit=registration.unit,
        class_names=registration.task.class_names,
        mask_values=values,
        cases=selection.cases,
        findings=tuple(findings),
        num_found=num_found,
        fingerprint=fingerprint,
    )
    return snapshot, selection


def _mask_values(registration: CohortRegistration) -> tuple[tuple[int, int], ...]:
    if registration.task.kind != "segmentation":
        return ()
    return mask_values(registration.label_values, registration.task)


def _fingerprint(
    registration: CohortRegistration,
    values: tuple[tuple[int, int], ...],
    cases: Iterable[SnapshotCase],
    of_lines: Iterable[Finding],
    keys: SiteKeys,
) -> str:
    lost = [one for one in of_lines if costs_a_case(one)]
    body: dict[str, Any] = {
        "unit": registration.unit,
        "task": [registration.task.kind, registration.task.multi_label],
        "classes": registration.task.class_names,
        "mask_values": values,
        "spacing_mm": registration.spacing_mm,
        "cases": [
            [
                one.case_id,
                pseudonym(keys.pseudonym_key, "patient", one.patient),
                state_hash(one),
                one.frame,
                one.label,
                one.split,
            ]
            for one in cases
        ],
        # so that a report of other losses is another report
        "lost": counts_by_code(lost),
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
