"""Images in a NumPy archive (.npz).

A locator is `archive.npz:key[index]`, `key[index]`, a key alone, or an index alone, which stands
for `images[index]`. Nothing is unpickled. An array that is read by index is loaded once and kept;
one that is an image by itself is not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.contained_path import leaves_its_folder
from fedward_client.cohorts.manifest_cases import read_case_table
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

_LOCATOR = re.compile(r"(?:(?P<archive>[^:]+):)?(?P<key>[^\[\]:]+)(?:\[(?P<index>\d{1,18})\])?")
_KEY_OF_BARE_INDEX = "images"
_MAX_ARRAY_BYTES = 16 * 1024**3


@dataclass(frozen=True)
class _Place:
    key: str
    index: int | None


class ArraySource:
    """Cases whose pixels are arrays of one .npz file.

    Raises:
        ConfigurationError: The manifest or its columns cannot be used.
        CohortError: `E_SOURCE_UNREADABLE`: the file is no NumPy archive.
    """

    def __init__(self, settings: SourceSettings, task: TaskSection, data: DataSection) -> None:
        self._table = read_case_table(settings, task)
        self._path = Path(settings.path)
        self._spatial_dims = data.spatial_dims
        self._archive = _open_archive(self._path)
        self._names = frozenset(self._archive.files)
        self._num_bytes = _declared_bytes(self._archive, self._path)
        self._loaded: dict[str, NDArray[Any]] = {}

    @property
    def unit(self) -> Unit:
        """What `Case.patient` stands for."""
        return self._table.unit

    def cases(self) -> CaseList:
        """List the cases; an index beyond its array shows when it is read."""
        return self._table.cases(self._place)

    def files(self) -> Iterator[Path]:
        """Give the archive."""
        yield self._path

    def read_image(self, case: Case) -> "FloatImage":
        """Give the pixels, shape (channels, *spatial)."""
        return channels_first(self._read(case.image, E_IMAGE_UNREADABLE), self._spatial_dims)

    def read_mask(self, case: Case) -> "IntegerMask":
        """Give the mask, shape (*spatial)."""
        return whole_numbers(self._read(case.mask or "", E_MASK_UNREADABLE), self._spatial_dims)

    def close(self) -> None:
        """Close the archive and forget the arrays."""
        self._loaded.clear()
        self._archive.close()

    def _place(self, locator: str) -> _Place:
        """Find a locator's array; raises where there is none."""
        if leaves_its_folder(locator):
            raise UnusableCaseError(E_PATH_ESCAPES)
        match = _LOCATOR.fullmatch(locator)
        if match is None or match["archive"] not in (None, self._path.name):
            raise UnusableCaseError(E_FILE_NOT_FOUND)
        key, index = match["key"], match["index"]
        if index is None and key not in self._names and key.isascii() and key.isdigit():
            key, index = _KEY_OF_BARE_INDEX, key
        if key not in self._names:
            raise UnusableCaseError(E_FILE_NOT_FOUND)
        return _Place(key, None if index is None else int(index))

    def _read(self, locator: str, code: str) -> NDArray[Any]:
        place = self._place(locator)
        if place.index is None:
            return self._load(place.key, code)
        if place.key not in self._loaded:
            self._loaded[place.key] = self._load(place.key, code)
        array = self._loaded[place.key]
        if array.ndim == 0 or place.index >= len(array):
            raise UnusableCaseError(E_FILE_NOT_FOUND)
        return np.asarray(array[place.index])

    def _load(self, key: str, code: str) -> NDArray[Any]:
        try:
            if self._num_bytes.get(key, 0) > _MAX_ARRAY_BYTES:
                raise UnusableCaseError(E_IMAGE_TOO_LARGE)
            array = self._archive[key]
        except UnusableCaseError:
            raise
        except Exception:  # a crafted member raises anything, from TokenError to LZMAError
            raise UnusableCaseError(code) from None
        if not isinstance(array, np.ndarray):  # a member that is no array comes as bytes
            raise UnusableCaseError(code)
        return array


def _open_archive(path: Path) -> NpzFile:
    hint = "path must name a .npz file of plain arrays"
    if not path.is_file():
        raise CohortError(f"{path} is no file", hint=hint, code=E_SOURCE_UNREADABLE)
    try:
        archive = np.load(path, allow_pickle=False)
    except Exception:  # its text may quote the file
        raise CohortError(f"{path} cannot be read", hint=hint, code=E_SOURCE_UNREADABLE) from None
    if not isinstance(archive, NpzFile) or archive.zip is None:
        raise CohortError(f"{path} is no archive", hint=hint, code=E_SOURCE_UNREADABLE)
    return archive


def _declared_bytes(archive: NpzFile, path: Path) -> dict[str, int]:
    """Size of each array as the zip declares it, by key; every key stands for one member."""
    members = archive.zip.infolist() if archive.zip is not None else []
    sizes = {info.filename.removesuffix(".npy"): info.file_size for info in members}
    if len(sizes) != len(members):
        archive.close()
        raise CohortError(
            f"{path} has two arrays of one name", hint="keep one", code=E_SOURCE_UNREADABLE
        )
    return sizes
