"""PNG and JPEG pictures in a .zip or in a folder, 2-D only.

A zip is read in place and never unpacked. Pictures beyond the limits of `picture_files` are left
out, so a decompression bomb costs one exclusion.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.contained_path import existing_file_inside, leaves_its_folder
from fedward_client.cohorts.manifest_cases import read_case_table
from fedward_client.cohorts.picture_files import (
    MAX_PICTURE_BYTES,
    decode_mask_picture,
    decode_picture,
    read_picture_file,
)
from fedward_client.cohorts.pixel_arrays import channels_first, whole_numbers
from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_IMAGE_TOO_LARGE,
    E_IMAGE_UNREADABLE,
    E_MASK_UNREADABLE,
    E_PATH_ESCAPES,
    E_SOURCE_UNREADABLE,
    Case,
    CaseList,
    Unit,
    UnusableCaseError,
)
from fedward_common.errors import CohortError
from fedward_common.job.job_file import DataSection, TaskSection

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage, IntegerMask


class _Store(Protocol):
    def require(self, name: str) -> object: ...

    def read(self, name: str, unreadable: str) -> bytes: ...

    def files(self, names: Iterator[str]) -> Iterator[Path]: ...

    def close(self) -> None: ...


class ArchiveSource:
    """Cases whose pixels are pictures.

    Raises:
        ConfigurationError: The manifest or its columns cannot be used.
        CohortError: `E_SOURCE_UNREADABLE`: the path is neither a zip nor a folder.
    """

    def __init__(self, settings: SourceSettings, task: TaskSection, data: DataSection) -> None:
        self._table = read_case_table(settings, task)
        self._data = data
        path = Path(settings.path)
        self._store: _Store = _Folder(path) if path.is_dir() else _Zip(path)

    @property
    def unit(self) -> Unit:
        """What `Case.patient` stands for."""
        return self._table.unit

    def cases(self) -> CaseList:
        """List the cases whose files are there."""
        return self._table.cases(self._store.require)

    def files(self) -> Iterator[Path]:
        """Give the zip, or the pictures that the manifest lists."""
        return self._store.files(self._table.locators())

    def read_image(self, case: Case) -> "FloatImage":
        """Give the pixels, shape (channels, rows, columns)."""
        content = self._store.read(case.image, E_IMAGE_UNREADABLE)
        picture = decode_picture(content, self._data.channels, E_IMAGE_UNREADABLE)
        return channels_first(picture, self._data.spatial_dims)

    def read_mask(self, case: Case) -> "IntegerMask":
        """Give the mask, shape (rows, columns)."""
        content = self._store.read(case.mask or "", E_MASK_UNREADABLE)
        mask = decode_mask_picture(content, E_MASK_UNREADABLE)
        return whole_numbers(mask, self._data.spatial_dims)

    def close(self) -> None:
        """Close the zip."""
        self._store.close()


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def require(self, name: str) -> Path:
        return existing_file_inside(self._folder, name)

    def read(self, name: str, unreadable: str) -> bytes:
        return read_picture_file(self.require(name), unreadable)

    def files(self, names: Iterator[str]) -> Iterator[Path]:
        return (self._folder / name for name in names if not leaves_its_folder(name))

    def close(self) -> None:
        pass


class _Zip:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as error:
            raise CohortError(
                f"{path} is neither a folder nor a readable zip",
                hint="check path in the cohort's file",
                code=E_SOURCE_UNREADABLE,
            ) from error

    def require(self, name: str) -> zipfile.ZipInfo:
        if leaves_its_folder(name):
            raise UnusableCaseError(E_PATH_ESCAPES)
        try:
            return self._zip.getinfo(name)
        except KeyError:
            raise UnusableCaseError(E_FILE_NOT_FOUND) from None

    def read(self, name: str, unreadable: str) -> bytes:
        info = self.require(name)
        if info.file_size > MAX_PICTURE_BYTES:  # zipfile reads no more than it declares
            raise UnusableCaseError(E_IMAGE_TOO_LARGE)
        try:
            return self._zip.read(info)
        except Exception:  # a crafted member raises anything, LZMAError included
            raise UnusableCaseError(unreadable) from None

    def files(self, names: Iterator[str]) -> Iterator[Path]:
        del names  # all of them are in the one file
        yield self._path

    def close(self) -> None:
        self._zip.close()
