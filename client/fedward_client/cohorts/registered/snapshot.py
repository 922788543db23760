"""One immutable state of a registered cohort, `NAME@k`, as a value.

It names patients and files and so never leaves the site; what may leave is its report.
"""

from dataclasses import dataclass, field
from typing import Literal

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.source import Split, Unit
from fedward_common.annotation import NOT_ANNOTATED

__all__ = [
    "NOT_ANNOTATED",
    "CaseKind",
    "FileState",
    "MaskKind",
    "MaskReference",
    "Snapshot",
    "SnapshotCase",
]

CaseKind = Literal["image", "series"]
MaskKind = Literal["dicom-seg", "rtstruct", "volume", "picture"]


@dataclass(frozen=True)
class FileState:
    """A file as it was indexed; another size or time means another content."""

    locator: str = field(repr=False)
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class MaskReference:
    """Where a case's mask is: an instance of the index, or a file of another kind.

    Args:
        kind: How it is read.
        files: An instance's locator, or the path below `folder`.
        folder: Absolute, of the label file that named the mask; "" for an instance.
        meanings: Of an instance, what its segments are drawn as (`class_mapping.SegmentMeanings`);
            empty where no mapping was given, so that each is drawn as its number.
    """

    kind: MaskKind
    files: tuple[FileState, ...] = field(repr=False)
    folder: str = field(default="", repr=False)
    meanings: tuple[tuple[str, int | None], ...] = ()


@dataclass(frozen=True)
class SnapshotCase:
    """One image or one volume of one patient.

    Args:
        case_id: Pseudonym, the name of its cache files.
        patient: PatientID, or where there are no patient ids the image's own id.
        files: One file of an image; the slices of a series from feet to head (by position).
        frame: Of a multi-frame file taken as single images, the frame from 0; else None.
        label: Class id or NOT_ANNOTATED; of a multi-label task, 1, 0 or NOT_ANNOTATED for each
            class; None in segmentation.
        split: Fixed for ever.
        mask: Segmentation only.
        line: Of the label file.
        sex, age_years, scanner, modality: For the report's columns; "" or None where unknown.
        identities: Every name under which the split record has the case's person, by pseudonym.
    """

    case_id: str
    patient: str = field(repr=False)
    kind: CaseKind
    files: tuple[FileState, ...] = field(repr=False)
    frame: int | None
    label: int | tuple[int, ...] | None
    split: Split
    mask: MaskReference | None
    line: int
    sex: str = field(repr=False)
    age_years: int | None = field(repr=False)
    scanner: str
    modality: str
    identities: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Snapshot:
    """Everything a run needs to know of a cohort.

    Args:
        name: The cohort's.
        number: 1, 2, 3 ...
        unit: What `SnapshotCase.patient` stands for.
        class_names: Of the task it was registered for, by id.
        mask_values: Segmentation: value in the mask -> class id, NOT_ANNOTATED, or absent.
        cases: In the label file's order.
        findings: Why the others are not here.
        num_found: Cases that the label file listed.
        fingerprint: SHA-256 of all that decides what is trained on.
    """

    name: str
    number: int
    unit: Unit
    class_names: tuple[str, ...]
    mask_values: tuple[tuple[int, int], ...]
    cases: tuple[SnapshotCase, ...]
    findings: tuple[Finding, ...]
    num_found: int
    fingerprint: str

    @property
    def full_name(self) -> str:
        """`NAME@k`."""
        return f"{self.name}@{self.number}"
