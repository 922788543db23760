"""The CSV file that says what each image, series, study or accession is.

Columns are found by their usual names in any spelling (`SOPInstanceUID`, `sop_instance_uid`), or by
the names that the registration gives. Nothing here looks at an image.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fedward_client.cohorts.manifest_csv import Manifest, plain_name, read_manifest
from fedward_client.cohorts.registered.registration import CohortRegistration, LabelColumns
from fedward_common.errors import ConfigurationError

KeyKind = Literal["instance", "file", "series", "study", "accession"]

# the most exact first: a file that has several is read by the first
_KEYS: tuple[tuple[KeyKind, str], ...] = (
    ("instance", "sop_instance_uid"),
    ("file", "file"),
    ("series", "series_instance_uid"),
    ("study", "study_instance_uid"),
    ("accession", "accession_number"),
)
_USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "sop_instance_uid": ("sopinstanceuid", "sopuid", "imageuid"),
    "file": ("file", "filename", "filepath", "path"),
    "series_instance_uid": ("seriesinstanceuid", "seriesuid"),
    "study_instance_uid": ("studyinstanceuid", "studyuid"),
    "accession_number": ("accessionnumber", "accession"),
    "label": ("label", "class"),
    "patient": ("patient", "patientid"),
    "lesion": ("lesion", "lesionid"),
    "split": ("split",),
    "mask_path": ("maskpath", "mask"),
    "seg_sop_instance_uid": ("segsopinstanceuid", "rtstructsopinstanceuid"),
    "image_id": ("imageid",),
    "frame": ("frame", "framenumber"),
}


@dataclass(frozen=True)
class LabelRow:
    """One line; a column that the file lacks gives None, an empty cell "".

    Args:
        line: Of the file, the header being line 1.
        key: UID, accession number or path.
        labels: One cell in classification, one a class in a multi-label task, none for masks.
        frame: Number of a frame from 1, as text.
    """

    line: int
    key: str = field(repr=False)
    labels: tuple[str, ...] = field(default=(), repr=False)
    patient: str | None = field(default=None, repr=False)
    split: str = field(default="", repr=False)
    mask_path: str = field(default="", repr=False)
    seg_sop_instance_uid: str = field(default="", repr=False)
    image_id: str | None = field(default=None, repr=False)
    frame: str = field(default="", repr=False)


@dataclass(frozen=True)
class LabelTable:
    """A label file, read: what its key names, and its lines."""

    key_kind: KeyKind
    rows: tuple[LabelRow, ...] = field(repr=False)


def read_label_file(registration: CohortRegistration) -> LabelTable:
    """Read a cohort's label file.

    Raises:
        ConfigurationError: It cannot be read as CSV, or lacks a column that the task needs. No cell
            is quoted.
    """
    manifest = read_manifest(Path(registration.labels_file))
    finder = _ColumnFinder(manifest, registration.columns)
    key_kind, key = finder.key()
    labels = _label_columns(finder, registration)
    patient = finder.patient(registration.unit)
    mask_path, seg = finder.optional("mask_path"), finder.optional("seg_sop_instance_uid")
    if registration.task.kind == "segmentation" and mask_path is None and seg is None:
        raise finder.missing("masks", ("mask_path", "seg_sop_instance_uid"))
    split, frame = finder.optional("split"), finder.optional("frame")
    image_id = finder.optional("image_id") if registration.unit == "image" else None
    rows = tuple(
        LabelRow(
            line=row.line,
            key=row.cells[key],
            labels=tuple(row.cells[column] for column in labels),
            patient=None if patient is None else row.cells[patient],
            split="" if split is None else row.cells[split],
            mask_path="" if mask_path is None else row.cells[mask_path],
            seg_sop_instance_uid="" if seg is None else row.cells[seg],
            image_id=None if image_id is None else row.cells[image_id],
            frame="" if frame is None else row.cells[frame],
        )
        for row in manifest.rows
    )
    return LabelTable(key_kind, rows)


def _label_columns(finder: "_ColumnFinder", registration: CohortRegistration) -> tuple[str, ...]:
    task = registration.task
    if task.kind == "segmentation":
        return ()
    if not task.multi_label:
        return (finder.needed("label", "labels"),)
    named = registration.class_columns
    return tuple(finder.of_class(name, named.get(name)) for name in task.class_names)


@dataclass(frozen=True)
class _ColumnFinder:
    manifest: Manifest
    columns: LabelColumns

    def key(self) -> tuple[KeyKind, str]:
        named = [(kind, key) for kind, key in _KEYS if getattr(self.columns, key)]
        for kind, key in named or _KEYS:
            column = self.optional(key)
            if column is not None:
                return kind, column
        raise self.missing("images", tuple(key for _, key in _KEYS))

    def patient(self, unit: str) -> str | None:
        if unit == "image":
            return None
        if unit == "lesion" and self.columns.patient is None:
            column = self._usual("lesion") or self._usual("patient")
            if column is None:
                raise self.missing("lesions", ("lesion_id",))
            return column
        return self.optional("patient")

    def needed(self, key: str, what: str) -> str:
        column = self.optional(key)
        if column is None:
            raise self.missing(what, (key,))
        return column

    def optional(self, key: str) -> str | None:
        named: str | None = getattr(self.columns, key)
        if named is None:
            return self._usual(key)
        return self.manifest.require_column(named, key) if named else None

    def of_class(self, name: str, named: str | None) -> str:
        if named is not None:
            return self.manifest.require_column(named, f"class {name!r}")
        found = self._spelled((plain_name(name),))
        if found is None:
            raise ConfigurationError(
                f"{self.manifest.path} has no column for class {name!r}",
                hint=f"name it: --column '{name}=COLUMN', or class_columns in cohort.toml",
            )
        return found

    def _usual(self, key: str) -> str | None:
        return self._spelled(_USUAL_NAMES[key])

    def _spelled(self, plain_names: tuple[str, ...]) -> str | None:
        for wanted in plain_names:
            fitting = [name for name in self.manifest.columns if plain_name(name) == wanted]
            if len(fitting) > 1:
                raise ConfigurationError(
                    f"{self.manifest.path} has {len(fitting)} columns that could be {wanted!r}",
                    hint="rename one, or name the right one with --column",
                )
            if fitting:
                return fitting[0]
        return None

    def missing(self, what: str, keys: tuple[str, ...]) -> ConfigurationError:
        return ConfigurationError(
            f"{self.manifest.path} has no column for {what}: {' or '.join(keys)}",
            hint=f"line 1 has {len(self.manifest.columns)} columns; name one with"
            f" --column {keys[0]}=",
        )
