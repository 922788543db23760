"""One site of a cohorts file as a DICOM hospital: a folder of images, and a label file.

Cases keep the order of their manifests, so that a job trains on them in the same order. What the
sources leave out is left out here too, and counted.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.labels import NOT_ANNOTATED_WORD, LabelMap
from fedward_client.cohorts.open_source import open_source
from fedward_client.cohorts.source import (
    E_MASK_SHAPE,
    Case,
    CohortSource,
    Unit,
    UnusableCaseError,
)
from fedward_client.dicomizing.wrapped_case import CaseToWrap, WrappedCase, wrap_case
from fedward_common.annotation import NOT_ANNOTATED
from fedward_common.dicom_writing.encoded_files import file_bytes
from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job

if TYPE_CHECKING:
    from fedward_common.dicom_writing.volumes import VolumeGeometry

Progress = Callable[[str, int, int], None]

LABELS_FILE = "labels.csv"
DICOM_FOLDER = "dicom"
_UNKNOWN = "unknown"  # in a label column: nobody looked
_MAX_ID_LENGTH = 64  # PS3.5 Table 6.2-1, LO
_MAX_SITE_LENGTH = 40


@dataclass
class DicomizedSite:
    """What became of one site.

    Attributes:
        site: Its name.
        unit: What its cases' patients stand for.
        num_listed: Cases that the manifests list, after the filter.
        num_cases: Cases that were wrapped.
        num_files: DICOM files.
        excluded: Number of cases left out, by code.
        largest_error: Largest difference between a pixel's value and the one that is read back.
        label_values: What the registration must be told of the label file's values, if anything.
    """

    site: str
    unit: Unit
    num_listed: int = 0
    num_cases: int = 0
    num_files: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    largest_error: float = 0.0
    label_values: dict[str, str] = field(default_factory=dict)


def require_wrappable(site: str, tables: Sequence[SourceSettings]) -> None:
    """Check a site's sources before anything is written.

    Raises:
        ConfigurationError: A source is DICOM already, or the sources differ in what their patients
            stand for.
    """
    for table in tables:
        if table.source in ("dicom-folder", "registered"):
            raise ConfigurationError(
                f"sites.{site} is DICOM already", hint="`fedward-site cohort add` registers it"
            )
    if len({table.unit for table in tables}) > 1:
        raise ConfigurationError(
            f"the sources of sites.{site} have different units", hint="give them one unit"
        )


def dicomize_site(
    folder: Path, site: str, tables: Sequence[SourceSettings], job: Job, progress: Progress
) -> DicomizedSite:
    """Write `dicom/` and `labels.csv` of one site.

    Args:
        folder: Of this site; made here.
        site: Its name.
        tables: Its sources, paths absolute; `require_wrappable` took them.
        job: Decides between labels and masks, images and volumes.
        progress: Called with the site, the number of cases done and of all.

    Raises:
        ConfigurationError: A patient id cannot be a DICOM one, or a manifest cannot be used.
        CohortError: A source cannot be opened.
    """
    with ExitStack() as stack:
        opened = []
        for table in tables:
            opened.append(open_source(table, job.task, job.data))
            stack.callback(opened[-1].close)
        return _Wrapper(folder, site, tables, opened, job, progress).run()


@dataclass
class _Wrapper:
    """Wraps the cases of one site, one in memory at a time."""

    folder: Path
    site: str
    tables: Sequence[SourceSettings]
    sources: Sequence[CohortSource]
    job: Job
    progress: Progress

    def run(self) -> DicomizedSite:
        made = DicomizedSite(self.site, self.tables[0].unit)
        listed = [source.cases() for source in self.sources]
        made.excluded.update(x.code for cases in listed for x in cases.exclusions)
        made.num_listed = sum(cases.num_listed for cases in listed)
        total = sum(len(cases.cases) for cases in listed)
        self.folder.mkdir(parents=True)
        (self.folder / DICOM_FOLDER).mkdir()
        with (self.folder / LABELS_FILE).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(self._columns())
            for number, cases in enumerate(listed):
                for case in cases.cases:
                    self._add(made, number, case, table.writerow)
                    self.progress(self.site, made.num_cases + made.excluded.total(), total)
        return made

    def _add(
        self,
        made: DicomizedSite,
        source: int,
        case: Case,
        write_row: Callable[[Sequence[str]], object],
    ) -> None:
        patient_id = self._patient_id(case, made.num_cases + 1)
        try:
            wrapped = self._wrapped(source, case, patient_id)
        except UnusableCaseError as error:
            made.excluded[error.code] += 1
            return
        made.num_files += self._write(wrapped)
        made.num_cases += 1
        made.largest_error = max(made.largest_error, wrapped.largest_error)
        made.label_values |= self._label_values(case, wrapped)
        write_row(self._row(case, wrapped))

    def _wrapped(self, source: int, case: Case, patient_id: str) -> WrappedCase:
        image = self.sources[source].read_image(case)
        mask = self._mask(source, case) if self.job.task.kind == "segmentation" else None
        if mask is not None and mask.shape != image.shape[1:]:
            raise UnusableCaseError(E_MASK_SHAPE)
        geometry = _geometry_of(self.sources[source], case, self.job.data.spatial_dims)
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        place = ("fedward dicomize", self.site, source, case.line, digest)
        whole = CaseToWrap(place, patient_id, image, mask, geometry)
        return wrap_case(whole, self.job.data.modality, self.job.task.class_names)

    def _mask(self, source: int, case: Case) -> NDArray[np.uint8]:
        classes = LabelMap(self.tables[source].labels, self.job.task)
        return classes.mask_of(self.sources[source].read_mask(case))

    def _patient_id(self, case: Case, number: int) -> str:
        if self.tables[0].unit == "image":
            return f"{self.site[:_MAX_SITE_LENGTH]}-{number:06}"
        if len(case.patient) > _MAX_ID_LENGTH or not case.patient.isprintable():
            raise _no_identifier(self.site, case.line)
        if "\\" in case.patient:  # it parts the values of a DICOM element
            raise _no_identifier(self.site, case.line)
        return case.patient

    def _write(self, wrapped: WrappedCase) -> int:
        files = [*wrapped.images, *([] if wrapped.seg is None else [wrapped.seg])]
        for ds in files:
            levels = (str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID))
            parent = self.folder.joinpath(DICOM_FOLDER, *levels)
            parent.mkdir(parents=True, exist_ok=True)
            (parent / f"{ds.SOPInstanceUID}.dcm").write_bytes(file_bytes(ds))
        return len(files)

    def _columns(self) -> list[str]:
        task = self.job.task
        key = "sop_instance_uid" if self.job.data.spatial_dims == 2 else "series_instance_uid"
        names = list(task.class_names) if task.multi_label else ["label"]
        if task.kind == "segmentation":
            names = ["seg_sop_instance_uid"]
        unit = {"image": ["image_id"], "lesion": ["lesion_id"], "patient": []}
        return [key, *names, "split", *unit[self.tables[0].unit]]

    def _row(self, case: Case, wrapped: WrappedCase) -> list[str]:
        first = wrapped.images[0]
        flat = self.job.data.spatial_dims == 2
        key = first.SOPInstanceUID if flat else first.SeriesInstanceUID
        if wrapped.seg is not None:
            cells = [str(wrapped.seg.SOPInstanceUID)]
        elif isinstance(case.label, tuple):
            cells = [_UNKNOWN if one == NOT_ANNOTATED else str(one) for one in case.label]
        else:
            cells = [self._class_name(case.label)]
        unit = [] if self.tables[0].unit == "patient" else [case.patient]
        return [str(key), *cells, case.split or "", *unit]

    def _class_name(self, label: int | None) -> str:
        if label is None or label == NOT_ANNOTATED:
            return _UNKNOWN
        return self.job.task.class_names[label]

    def _label_values(self, case: Case, wrapped: WrappedCase) -> dict[str, str]:
        """Say what values mean, where one means that nobody looked."""
        task, names = self.job.task, self.job.task.class_names
        if wrapped.seg is not None:
            if len(wrapped.seg.SegmentSequence) < len(names):
                return {}
            by_number = {str(number): name for number, name in enumerate(names)}
            return by_number | {str(len(names)): NOT_ANNOTATED_WORD}
        labels = case.label if isinstance(case.label, tuple) else (case.label,)
        if NOT_ANNOTATED not in labels:
            return {}
        known = {"0": "absent", "1": "present"} if task.multi_label else {n: n for n in names}
        return known | {_UNKNOWN: NOT_ANNOTATED_WORD}


def _geometry_of(source: CohortSource, case: Case, spatial_dims: int) -> "VolumeGeometry | None":
    """Give a volume's place; 1 mm voxels at the origin where the source knows none."""
    from fedward_client.cohorts.volume_source import VolumeSource
    from fedward_common.dicom_writing.volumes import VolumeGeometry

    if spatial_dims == 2:
        return None
    if isinstance(source, VolumeSource):
        return source.geometry_of(case)
    return VolumeGeometry((1.0, 1.0, 1.0))


def _no_identifier(site: str, line: int) -> ConfigurationError:
    return ConfigurationError(
        f"sites.{site}: the patient id on line {line} of the manifest cannot be a DICOM one",
        hint=f"at most {_MAX_ID_LENGTH} printable characters, no backslash",
    )
