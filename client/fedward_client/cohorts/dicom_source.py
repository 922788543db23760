"""A plain folder of DICOM files, one image a file, 2-D only.

The manifest names each image by file, or by SOPInstanceUID in a column of that name. Where it has
no patient column, PatientID of the header is the patient. A file with several frames is refused.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.contained_path import (
    existing_file_inside,
    folder_of,
    leaves_its_folder,
)
from fedward_client.cohorts.manifest_cases import read_case_table
from fedward_client.cohorts.picture_files import decode_mask_picture, read_picture_file
from fedward_client.cohorts.pixel_arrays import channels_first, whole_numbers
from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_IMAGE_SHAPE,
    E_MASK_UNREADABLE,
    Case,
    CaseList,
    Unit,
    UnusableCaseError,
)
from fedward_client.dicom.bounded_reading import read_header, silenced_dicom
from fedward_client.dicom.decode_pool import Decoded, DecodePool
from fedward_client.dicom.element_walk import E_HEADER_UNREADABLE
from fedward_common.job.job_file import DataSection, TaskSection

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        self._decoders = DecodePool()

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
        decoded = self._decoders.run("image", path=str(self._image_path(case.image)))
        _require_single_frame(decoded)
        return channels_first(decoded.array, self._spatial_dims)

    def read_mask(self, case: Case) -> "IntegerMask":
        """Give the mask, a PNG or a DICOM file of the same folder, shape (rows, columns)."""
        path = existing_file_inside(self._folder, case.mask or "")
        if path.suffix.lower() == ".png":
            content = read_picture_file(path, E_MASK_UNREADABLE)
            mask = decode_mask_picture(content, E_MASK_UNREADABLE)
        else:
            mask = self._decode_mask(path)
        return whole_numbers(mask, self._spatial_dims)

    def close(self) -> None:
        """End the decoding process."""
        self._decoders.close()

    def _require_present(self, locator: str) -> None:
        if not (self._keyed_by_uid and locator in self._path_of_uid):
            existing_file_inside(self._folder, locator)

    def _patient_id(self, locator: str) -> str:
        return _header_text(self._image_path(locator), "PatientID")

    def _decode_mask(self, path: Path) -> "NDArray[Any]":
        try:
            decoded = self._decoders.run("image", path=str(path), transform="stored")
            _require_single_frame(decoded)
        except UnusableCaseError:
            raise UnusableCaseError(E_MASK_UNREADABLE) from None
        return decoded.array

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
                uid = _header_text(path, "SOPInstanceUID")
                found.setdefault(uid, path)
        return found

    def _all_files(self) -> Iterator[Path]:
        for parent, folders, names in os.walk(self._folder):
            folders.sort()
            for name in sorted(names):
                path = Path(parent, name)
                if not path.is_symlink() and path.is_file():
                    yield path


def _require_single_frame(decoded: Decoded) -> None:
    if decoded.facts["frames"] != 1:
        raise UnusableCaseError(E_IMAGE_SHAPE)


def _header_text(path: Path, keyword: str) -> str:
    """Give one element of a header; empty where it is absent."""
    header = read_header(path, [keyword])
    try:
        with silenced_dicom():
            value = header.get(keyword)
            return "" if value is None else str(value).strip()
    except Exception:  # pydicom raises anything on damaged values, and quotes them
        raise UnusableCaseError(E_HEADER_UNREADABLE) from None
