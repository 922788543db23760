"""What a data manager said of a cohort, once: `cohorts/NAME/cohort.toml`.

Secrets stand there as paths alone. `task` is the task the cohort was registered for; a job with
other classes cannot use it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fedward_client.cohorts.labels import LabelMap
from fedward_client.cohorts.registered.class_mapping import SegmentMeanings, segment_meanings
from fedward_client.cohorts.registered.cohort_folder import (
    CohortFolder,
    checked_cohort_name,
    registered_names,
)
from fedward_client.cohorts.source import Split, Unit
from fedward_client.dicomweb.settings import DicomWebSettings
from fedward_client.site_home import SiteHome, write_private_file
from fedward_common.errors import ConfigurationError
from fedward_common.job.checks import require, require_between
from fedward_common.job.sections import TaskSection
from fedward_common.settings import from_table, read_toml
from fedward_common.toml_writing import toml_of

if TYPE_CHECKING:
    from fedward_client.cohorts.index.instance_store import InstanceStore

CasesAre = Literal["images", "series"]
DEFAULT_MAX_EXCLUDED_SHARE = 0.2
DEFAULT_MIN_PATIENTS = 10


@dataclass(frozen=True)
class LabelColumns:
    """`[columns]`: names of the label file's columns; None takes the usual names.

    A column named here must exist. `split = ""` ignores a split column, so that the keyed hash of
    the patient decides. Of the first five, one is the key.
    """

    sop_instance_uid: str | None = None
    file: str | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None
    accession_number: str | None = None
    label: str | None = None
    patient: str | None = None
    split: str | None = None
    mask_path: str | None = None
    seg_sop_instance_uid: str | None = None
    image_id: str | None = None
    frame: str | None = None


@dataclass(frozen=True)
class CohortRegistration:
    """One registered cohort.

    Args:
        name: Its name at this site.
        labels_file: CSV file, absolute; masks that it names lie below its folder.
        task: What is predicted.
        cases: "images": each case is one image; "series": each is one volume.
        dicom_folder: Where the images are, absolute; or
        dicomweb: the server that has them.
        unit: What is protected. With "image", an image's id is its `image_id` column, else its UID.
        burned_in: Whether images that may have text in their pixels are refused.
        max_excluded_share: Limit: the share of unusable cases, 0 to 1.
        min_patients: Limit: the fewest patients, or units where the unit is no patient.
        spacing_mm: Volumes are resampled to it: slices, rows, columns.
        columns: Names of the label file's columns.
        class_columns: Multi-label: class name -> its column, where the names differ.
        label_values: Local value -> class, "exclude" or "not annotated". In segmentation the
            values are those of the mask, or names of its segments or ROIs; 0 is the background
            unless listed, and what is excluded is as if it had not been drawn.
        split_values: Local word -> split, beside the usual words.
    """

    name: str
    labels_file: str
    task: TaskSection
    cases: CasesAre
    dicom_folder: str = ""
    dicomweb: DicomWebSettings | None = None
    unit: Unit = "patient"
    burned_in: Literal["refuse", "allow"] = "refuse"
    max_excluded_share: float = DEFAULT_MAX_EXCLUDED_SHARE
    min_patients: int = DEFAULT_MIN_PATIENTS
    spacing_mm: tuple[float, float, float] | None = None
    columns: LabelColumns = field(default_factory=LabelColumns)
    class_columns: Mapping[str, str] = field(default_factory=dict)
    label_values: Mapping[str, str | int] = field(default_factory=dict)
    split_values: Mapping[str, Split] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked_cohort_name(self.name)
        require(
            bool(self.dicom_folder) != (self.dicomweb is not None),
            "the cohort", "needs a DICOM folder or a DICOMweb server",
            "name exactly one: dicom_folder or [dicomweb]",
        )  # fmt: skip
        for key in ("labels_file", "dicom_folder"):
            path = getattr(self, key)
            require(
                (not path and key == "dicom_folder") or Path(path).is_absolute(),
                key, f"is {path!r}", "write an absolute path",
            )  # fmt: skip
        require_between("max_excluded_share", self.max_excluded_share, 0, 1)
        require_between("min_patients", self.min_patients, 1, 10**9)
        for number in self.spacing_mm or ():
            require_between("spacing_mm", number, 0.01, 100)
        self._check_labels()

    def _check_labels(self) -> None:
        LabelMap(self.label_values, self.task)  # names a class that the task does not have
        self.segment_meanings()  # says two things of one
        for name in self.class_columns:
            require(
                self.task.multi_label and name in self.task.class_names,
                "class_columns", f"names {name!r}", "a class of a multi-label task",
            )  # fmt: skip

    def label_map(self) -> LabelMap:
        """Give what each local value means."""
        return LabelMap(self.label_values, self.task)

    def segment_meanings(self) -> SegmentMeanings:
        """Give what segments and ROIs are drawn as; nothing where no mapping was given."""
        if self.task.kind != "segmentation":
            return ()
        return segment_meanings(self.label_values, self.task)

    def open_store(self, cache_folder: Path) -> "InstanceStore":
        """Open the folder or the server; nothing is read or asked yet.

        Args:
            cache_folder: `SiteHome.cache`; a server's files pass through it.
        """
        if self.dicomweb is not None:
            from fedward_client.dicomweb.store import DicomWebStore

            return DicomWebStore(self.dicomweb, cache_folder)
        from fedward_client.cohorts.index.folder_scan import FolderStore

        return FolderStore(Path(self.dicom_folder))


def write_registration(home: SiteHome, registration: CohortRegistration) -> None:
    """Write `cohort.toml` whole or not at all, for its owner alone."""
    folder = CohortFolder(home, registration.name)
    folder.create()
    table = {k: v for k, v in dataclasses.asdict(registration).items() if v not in ({}, None, "")}
    write_private_file(folder.settings_file, toml_of(table).encode("utf-8"))


def read_registration(home: SiteHome, name: str) -> CohortRegistration:
    """Read a registered cohort's `cohort.toml`.

    Raises:
        ConfigurationError: There is no such cohort, or the file cannot be used.
    """
    folder = CohortFolder(home, name)
    if not folder.settings_file.is_file():
        names = ", ".join(registered_names(home)) or "none yet"
        raise ConfigurationError(f"there is no cohort {name!r}", hint=f"registered: {names}")
    registration = from_table(CohortRegistration, read_toml(folder.settings_file))
    if registration.name != name:
        raise ConfigurationError(
            f"{folder.settings_file} is of cohort {registration.name!r}",
            hint="a cohort's folder has its name; do not rename it",
        )
    return registration
