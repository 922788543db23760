"""Rows of a manifest to cases, the same way for every kind of source."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedward_client.cohorts.cohort_file import ColumnsSection, SourceSettings
from fedward_client.cohorts.labels import LabelMap
from fedward_client.cohorts.manifest_csv import Manifest, ManifestRow, read_manifest
from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_PATIENT_MISSING,
    E_SPLIT_VALUE,
    Case,
    CaseList,
    Exclusion,
    Label,
    Split,
    Unit,
    UnusableCaseError,
)
from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import TaskSection

USUAL_SPLITS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class CaseColumns:
    """The manifest's columns that this task uses; None where there is none.

    `labels` has none in segmentation, one for each class of a multi-label task, else one.
    """

    image: str
    mask: str | None
    labels: tuple[str, ...]
    patient: str | None
    split: str | None


@dataclass(frozen=True)
class CaseTable:
    """A filtered manifest, ready to be turned into cases."""

    manifest: Manifest
    columns: CaseColumns
    labels: LabelMap
    multi_label: bool
    splits: Mapping[str, Split]
    unit: Unit

    def locators(self) -> Iterator[str]:
        """Give every image and mask that the manifest lists, in its order."""
        for row in self.manifest.rows:
            yield row.cells[self.columns.image]
            if self.columns.mask is not None:
                yield row.cells[self.columns.mask]

    def cases(
        self,
        require_present: Callable[[str], object],
        patient_in_header: Callable[[str], str] | None = None,
    ) -> CaseList:
        """Turn each row into a case or an exclusion.

        Args:
            require_present: Raises `UnusableCaseError` where a locator leads nowhere.
            patient_in_header: Finds the patient of an image where the manifest has no column.
        """
        cases: list[Case] = []
        exclusions: list[Exclusion] = []
        for row in self.manifest.rows:
            try:
                cases.append(self._case(row, require_present, patient_in_header))
            except UnusableCaseError as error:
                exclusions.append(Exclusion(error.code, row.line))
        return CaseList(tuple(cases), tuple(exclusions))

    def _case(
        self,
        row: ManifestRow,
        require_present: Callable[[str], object],
        patient_in_header: Callable[[str], str] | None,
    ) -> Case:
        columns = self.columns
        label = self._label(row)
        split = None if columns.split is None else self._split(row.cells[columns.split])
        image = row.cells[columns.image]
        mask = None if columns.mask is None else row.cells[columns.mask]
        for locator in (image,) if mask is None else (image, mask):
            if not locator:
                raise UnusableCaseError(E_FILE_NOT_FOUND)
            require_present(locator)
        patient = self._patient(row, image, patient_in_header)
        return Case(patient, label, split, image, mask, row.line)

    def _label(self, row: ManifestRow) -> Label:
        found = self.labels.labels_of_cells(row.cells[name] for name in self.columns.labels)
        if self.multi_label:
            return found
        return found[0] if found else None

    def _split(self, value: str) -> Split | None:
        if not value:
            return None
        split = self.splits.get(value) or USUAL_SPLITS.get(value)
        if split is None:
            raise UnusableCaseError(E_SPLIT_VALUE)
        return split

    def _patient(self, row: ManifestRow, image: str, in_header: Callable[[str], str] | None) -> str:
        if self.unit == "image":
            return image
        if self.columns.patient is not None:
            patient = row.cells[self.columns.patient]
        else:
            patient = in_header(image).strip() if in_header is not None else ""
        if not patient:
            raise UnusableCaseError(E_PATIENT_MISSING)
        return patient


def label_columns(columns: ColumnsSection, task: TaskSection) -> tuple[str, ...]:
    """Give the column of each class of a multi-label task, by default the one of its name.

    Raises:
        ConfigurationError: `columns.labels` names a class that the task does not have.
    """
    unknown = [name for name in columns.labels if name not in task.class_names]
    if unknown:
        names = ", ".join(repr(name) for name in task.class_names)
        raise ConfigurationError(
            f"columns.labels.{unknown[0]} is for no class of the task", hint=f"one of: {names}"
        )
    return tuple(columns.labels.get(name, name) for name in task.class_names)


def read_case_table(
    settings: SourceSettings,
    task: TaskSection,
    *,
    usual_image_columns: tuple[str, ...] = ("file",),
    patient_may_be_in_header: bool = False,
) -> CaseTable:
    """Read a source's manifest and find its columns.

    Raises:
        ConfigurationError: The manifest is unusable, a column that the task needs is missing, or
            the labels name a class that the task does not have.
    """
    manifest = read_manifest(Path(settings.manifest))
    finder = _ColumnFinder(manifest, settings)
    segmentation = task.kind == "segmentation"
    patient = settings.columns.patient
    if settings.unit != "image" and not patient_may_be_in_header:
        patient = patient or "patient"
    columns = CaseColumns(
        image=finder.image(usual_image_columns),
        mask=finder.needed(settings.columns.mask or "mask", "masks") if segmentation else None,
        labels=() if segmentation else finder.labels(task),
        patient=finder.patient(patient),
        split=finder.optional(settings.columns.split, "split"),
    )
    return CaseTable(
        manifest.where(settings.filter),
        columns,
        LabelMap(settings.labels, task),
        task.multi_label,
        settings.splits,
        settings.unit,
    )


@dataclass(frozen=True)
class _ColumnFinder:
    manifest: Manifest
    settings: SourceSettings

    def needed(self, name: str, what: str) -> str:
        return self.manifest.require_column(name, what)

    def optional(self, name: str | None, usual: str) -> str | None:
        if name is None:
            return usual if usual in self.manifest.columns else None
        return self.needed(name, usual) if name else None

    def image(self, usual: tuple[str, ...]) -> str:
        present = [name for name in usual if name in self.manifest.columns]
        return self.needed(self.settings.columns.image or (present or list(usual))[0], "images")

    def labels(self, task: TaskSection) -> tuple[str, ...]:
        columns = self.settings.columns
        if not task.multi_label:
            return (self.needed(columns.label or "label", "labels"),)
        return tuple(
            self.needed(name, f"the class {task_class!r}")
            for task_class, name in zip(task.class_names, label_columns(columns, task), strict=True)
        )

    def patient(self, name: str | None) -> str | None:
        if self.settings.unit == "image":
            return None
        try:
            return self.optional(name, "patient")
        except ConfigurationError as error:
            error.hint += ' (or write unit = "image" where there are no patient ids)'
            raise
