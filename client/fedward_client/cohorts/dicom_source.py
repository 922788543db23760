"""A plain folder of DICOM files, one image a file, 2-D only.

The manifest names each image by file, or by SOPInstanceUID in a column of that name. Where it has
no patient column, PatientID of the header is the patient. A file with several frames is refused.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.contained_path import (
    existing_file_inside,
    folder_of,
    leaves_its_folder,
)
from fedward_client.cohorts.dicom_files import decode_dicom, decode_dicom_mask, header_value
from fedward_client.cohorts.manifest_cases import read_case_table
from fedward_client.cohorts.picture_files import decode_mask_picture, read_picture_file
from fedward_client.cohorts.pixel_arrays import channels_first, whole_numbers
from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_IMAGE_UNREADABLE,
    E_MASK_UNREADABLE,
    Case,
    CaseList,
    Unit,
    UnusableCaseError,
)
from fedward_common.job.job_file import DataSection, TaskSection

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage, IntegerMask

_IMAGE_COLUMNS = ("file", "sop_instance_uid", "SOPInstanceUID")


class DicomSource:
    """Cases whose pixels are single-frame DICOM images.

    Raises:
        ConfigurationError: The manifest or its columns cannot be used.
        CohortError: `E_SOURCE_UNREADABLE`: the path is no folder.
    """

    def __init__(self, settings: SourceSettings, task: TaskSection, data: DataSection) -> None:
        self._table = read_case_table(
            settings, task, usual_image_columns=_IMAGE_COLUMNS, patient_may_be_in_header=True
        )
        column = self._table.columns.image.replace("_", "").casefold()
        self._keyed_by_uid = column == "sopinstanceuid"
        self._spatial_dims = data.spatial_dims
        self._folder = folder_of(settings.path, "DICOM files")

    @property
    def unit(self) -> Unit:
        """What `Case.patient` stands for."""
        return self._table.unit

    def cases(self) -> CaseList:
        """List the cases whose files are there; headers are read where the manifest needs them."""
        return self._table.cases(self._require_present, self._patient_id)

    def files(self) -> Iterator[Path]:
        """Give the listed files; every file of the folder where images go by UID."""
        if self._keyed_by_uid:
            yield from self._all_files()
            return
        for locator in self._table.locators():
            if not leaves_its_folder(locator):
                yield self._folder / locator

    def read_image(self, case: Case) -> "FloatImage":
        """Give the pixels after the modality transform, shape (channels, rows, columns)."""
        pixels = decode_dicom(self._image_path(case.image), E_IMAGE_UNREADABLE)
        return channels_first(pixels, self._spatial_dims)

    def read_mask(self, case: Case) -> "IntegerMask":
        """Give the mask, a PNG or a DICOM file of the same folder, shape (rows, columns)."""
        path = existing_file_inside(self._folder, case.mask or "")
        if path.suffix.lower() == ".png":
            content = read_picture_file(path, E_MASK_UNREADABLE)
            mask = decode_mask_picture(content, E_MASK_UNREADABLE)
        else:
            mask = decode_dicom_mask(path, E_MASK_UNREADABLE)
        return whole_numbers(mask, self._spatial_dims)

    def close(self) -> None:
        """Nothing is held open."""

    def _require_present(self, locator: str) -> None:
        if not (self._keyed_by_uid and locator in self._path_of_uid):
            existing_file_inside(self._folder, locator)

    def _patient_id(self, locator: str) -> str:
        return header_value(self._image_path(locator), "PatientID", E_IMAGE_UNREADABLE)

    def _image_path(self, locator: str) -> Path:
        if not self._keyed_by_uid:
            return existing_file_inside(self._folder, locator)
        if locator not in self._path_of_uid:
            raise UnusableCaseError(E_FILE_NOT_FOUND)
        return self._path_of_uid[locator]

    @cached_property
    def _path_of_uid(self) -> dict[str, Path]:
        """Every readable image of the folder by SOPInstanceUID; of twins, the first by name."""
        found: dict[str, Path] = {}
        for path in self._all_files():
            with contextlib.suppress(UnusableCaseError):  # not every file need be an image
                uid = header_value(path, "SOPInstanceUID", E_IMAGE_UNREADABLE)
                found.setdefault(uid, path)
        return found

    def _all_files(self) -> Iterator[Path]:
        for parent, folders, names in os.walk(self._folder):
            folders.sort()
            for name in sorted(names):
                path = Path(parent, name)
                if not path.is_symlink() and path.is_file():
                    yield path
