"""Lines of the label file x index -> matched cases, or findings. Pure: nothing is read or decoded.

A line costs itself alone, and has one code. What lines say of each other (two of one image, a
patient in two splits) is decided in `case_selection`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.labels import LabelMap
from fedward_client.cohorts.manifest_cases import USUAL_SPLITS
from fedward_client.cohorts.registered.image_gate import may_show_text
from fedward_client.cohorts.registered.label_file import LabelRow, LabelTable
from fedward_client.cohorts.registered.label_targets import IndexLookup, Target, TargetFinder
from fedward_client.cohorts.registered.mask_matching import mask_of_row, state_of
from fedward_client.cohorts.registered.patient_identity import StatedPatient
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_client.cohorts.registered.snapshot import CaseKind, FileState, MaskReference
from fedward_client.cohorts.source import (
    E_PATIENT_MISSING,
    E_SPLIT_VALUE,
    Split,
    UnusableCaseError,
)
from fedward_client.dicom.instance_facts import InstanceFacts

Label = int | tuple[int, ...] | None


@dataclass(frozen=True)
class MatchedCase:
    """A case whose line is sound in itself.

    Args:
        line: Of the label file.
        identity: One text for one case: UID, and of a frame its number.
        patient: The unit's id.
        patient_is_uid: The unit is the image, and nothing but its UID names it.
        stated: Who the line and the headers say it is of.
        first: The case's first instance.
    """

    line: int
    kind: CaseKind
    identity: str = field(repr=False)
    files: tuple[FileState, ...] = field(repr=False)
    frame: int | None
    label: Label
    stated_split: Split | None
    mask: MaskReference | None
    patient: str = field(repr=False)
    patient_is_uid: bool
    stated: StatedPatient = field(repr=False)
    first: InstanceFacts = field(repr=False)

    def says_the_same(self, other: "MatchedCase") -> bool:
        """Say whether two lines about one image agree."""
        mine = (self.label, self.mask, self.patient)
        return mine == (other.label, other.mask, other.patient)


def match_rows(
    table: LabelTable, registration: CohortRegistration, index: IndexLookup
) -> tuple[list[MatchedCase], list[Finding]]:
    """Match every line; one that cannot be used becomes a finding."""
    matcher = _Matcher(table, registration, index)
    matched: list[MatchedCase] = []
    findings: list[Finding] = []
    for row in table.rows:
        try:
            matched += matcher.cases_of(row)
        except UnusableCaseError as error:
            findings.append(Finding(error.code, row.line))
    return matched, findings


class _Matcher:
    def __init__(
        self, table: LabelTable, registration: CohortRegistration, index: IndexLookup
    ) -> None:
        self._registration = registration
        self._index = index
        self._finder = TargetFinder(index, table.key_kind, registration.cases)
        self._labels: LabelMap = registration.label_map()
        self._splits: Mapping[str, Split] = {**USUAL_SPLITS, **registration.split_values}
        self._mask_folder = Path(registration.labels_file).parent.resolve()
        self._meanings = registration.segment_meanings()
        self._mixed_studies = _studies_of_two_patients(index.scan_findings())

    def cases_of(self, row: LabelRow) -> list[MatchedCase]:
        """Give the line's cases: one, or one for each frame."""
        label = self._label(row)
        split = self._split(row.split)
        targets = self._finder.find(row.key, row.frame)
        images = self._sorted(targets[0])
        self._refuse_text(images)
        patient, is_uid = self._unit_of(row, targets[0].identity, images)
        mask = None
        if self._registration.task.kind == "segmentation":
            mask = mask_of_row(row, images, self._index, self._mask_folder, self._meanings)
        files = tuple(state_of(one) for one in images)
        stated = StatedPatient(
            row.line, row.patient or "", images[0].patient_id.strip(), images[0].person_key
        )
        return [
            MatchedCase(
                line=row.line,
                kind=target.kind,
                identity=target.identity,
                files=files,
                frame=target.frame,
                label=label,
                stated_split=split,
                mask=mask,
                patient=target.identity if is_uid else patient,
                patient_is_uid=is_uid,
                stated=stated,
                first=images[0],
            )
            for target in targets
        ]

    def _label(self, row: LabelRow) -> Label:
        task = self._registration.task
        if task.kind == "segmentation":
            return None
        if task.multi_label:
            return self._labels.labels_of_cells(row.labels)
        return self._labels.class_of(row.labels[0])

    def _split(self, word: str) -> Split | None:
        if not word:
            return None
        split = self._splits.get(word)
        if split is None:
            raise UnusableCaseError(E_SPLIT_VALUE)
        return split

    def _sorted(self, target: Target) -> tuple[InstanceFacts, ...]:
        if target.kind == "image":
            return target.instances
        from fedward_client.dicom.series_geometry import check_series

        return check_series(target.instances)

    def _refuse_text(self, images: tuple[InstanceFacts, ...]) -> None:
        if self._registration.burned_in == "refuse" and any(map(may_show_text, images)):
            raise UnusableCaseError("E_BURNED_IN_TEXT")

    def _unit_of(
        self, row: LabelRow, identity: str, images: tuple[InstanceFacts, ...]
    ) -> tuple[str, bool]:
        """Give who is protected, and whether nothing but the UID names it."""
        if self._registration.unit == "image":
            if row.image_id is None:
                return identity, True
            patient = row.image_id
        else:
            self._refuse_mixed_patients(images)
            patient = row.patient or ""
            if self._registration.unit == "patient":
                patient = patient or images[0].patient_id.strip()
        if not patient:
            raise UnusableCaseError(E_PATIENT_MISSING)
        return patient, False

    def _refuse_mixed_patients(self, images: tuple[InstanceFacts, ...]) -> None:
        ids = {one.patient_id.strip() for one in images}
        mixed = any(one.study_instance_uid in self._mixed_studies for one in images)
        if len(ids) > 1 or mixed:
            raise UnusableCaseError("E_STUDY_OF_TWO_PATIENTS")


def _studies_of_two_patients(findings: Iterable[Finding]) -> frozenset[str]:
    return frozenset(one.place for one in findings if one.code == "E_STUDY_OF_TWO_PATIENTS")
