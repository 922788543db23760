"""Decoded images and masks in their native dtype, kept once and for ever.

```
native/index.lines       what is there (`native_index`)
native/ab/CASE-CONTENT.image.npy, CASE-CONTENT.mask.npy
```
CASE is the case's pseudonym, CONTENT a hash of the names, sizes and times of the files it was
decoded from; no job setting plays a part, so every job shares the arrays.

What is believed: `decode_cases` takes an array without reading it if its file still has the size,
times and inode that its entry gives, since no program writes to a file without changing these;
otherwise its SHA-256 decides, once. `read`, which views are built from, hashes every
array that it gives, so damage of the disk itself is found before anything trains on it. Files are
not forced to the disk one by one: what a power cut tears does not pass these checks, and is decoded
again.

The quota is of arrays and job views together. Before it is passed, what nobody needs is taken away
(`site_room` has the rule); what is decoded at the moment stays.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.cache.native_index import (
    CacheEntry,
    FileStamp,
    NativeIndex,
    Role,
    case_of_name,
    entry_name,
    on_disk,
)
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import full_disk_named, write_all
from fedward_common.errors import CohortError, ConfigurationError, CorruptFileError
from fedward_common.file_lock import held_lock
from fedward_common.settings import read_toml

if TYPE_CHECKING:
    from fedward_client.cohorts.cache.native_decoding import CaseOutcome
    from fedward_client.cohorts.index.instance_store import InstanceStore
    from fedward_client.cohorts.registered.snapshot import Snapshot
    from fedward_client.dicom.decode_pool import DecodePool

E_CACHE_FULL = "E_CACHE_FULL"
DEFAULT_QUOTA_GIGABYTES = 200.0

_INDEX_FILE = "index.lines"
_HALF_WRITTEN = "writing.tmp"
_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600


class Surroundings(Protocol):
    """What shares the quota with the arrays, and what of all is needed."""

    def used_bytes(self) -> int:
        """What the others take of the disk."""

    def needed_names(self) -> frozenset[str]:
        """Give the arrays that must stay.

        Raises:
            CorruptFileError: Nobody can tell.
        """

    def make_room(self) -> None:
        """Take away of the others what can be made again."""


class NativeCache:
    """Arrays by case; several processes may use one folder.

    Args:
        folder: Made if missing, for its owner alone.
        quota_bytes: All arrays and what surrounds them take no more together.
        surroundings: None where there is nothing but arrays, all of them needed.
        pseudonym_key: Of the site, with which case ids are made of instances; None where cases are
            not named by what is in their files, which is then not compared.
    """

    def __init__(
        self,
        folder: Path,
        quota_bytes: int,
        surroundings: Surroundings | None = None,
        pseudonym_key: bytes | None = None,
    ) -> None:
        self.pseudonym_key = pseudonym_key
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._surroundings = surroundings
        self._spared: frozenset[str] = frozenset()
        self._others_bytes = 0
        self._writers = 0
        with full_disk_named(folder):
            folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        self._index = NativeIndex(folder / _INDEX_FILE)

    @property
    def used_bytes(self) -> int:
        """What all arrays take of the disk."""
        return self._index.used_bytes

    def decode_cases(
        self,
        snapshot: "Snapshot",
        store: "InstanceStore",
        pool: "DecodePool",
        progress: Callable[[int, int], None] | None = None,
    ) -> "Iterator[CaseOutcome]":
        """Decode what is missing of a snapshot's cases; see `native_decoding.decode_cases`."""
        from fedward_client.cohorts.cache.native_decoding import decode_cases

        return decode_cases(self, snapshot.cases, store, pool, progress)

    def find(self, case_id: str, content: str, role: Role) -> CacheEntry | None:
        """Give an entry whose file is whole, or None; another process's entries count too."""
        name = entry_name(case_id, content, role)
        entry = self._index.get(name)
        if entry is None:
            self._index.refresh()
            entry = self._index.get(name)
        return None if entry is None else self._if_whole(entry)

    def read(self, entry: CacheEntry) -> NDArray[Any]:
        """Give an array, every value of it checked, in memory of its own.

        Raises:
            CorruptFileError: It is gone or no longer what was written.
        """
        array = np.empty(entry.shape, dtype=entry.dtype)
        with _opened(self._path(entry.name), entry) as file:
            values = array.reshape(-1).view(np.uint8).data
            while values:
                num_read = file.readinto(values)
                if not num_read:
                    raise _corrupt()
                values = values[num_read:]
        if pixels_hash(array) != entry.pixels_sha256:
            raise _corrupt()
        return array

    @contextlib.contextmanager
    def only_writer(self) -> Iterator[None]:
        """Wait until no other process or cache object writes; a dead writer's lock is free.

        The object that writes already does not wait for itself.
        """
        with contextlib.ExitStack() as stack:
            if not self._writers:
                with full_disk_named(self._folder):
                    stack.enter_context(held_lock(self._folder / ".lock"))
                self._index.refresh()
                self._count_others()
            self._writers += 1
            try:
                yield
            finally:
                self._writers -= 1

    def spare(self, names: Iterable[str]) -> None:
        """Keep these arrays, and no others than are needed anyway, when room must be made."""
        self._spared = frozenset(names)

    def require_room(self, num_bytes: int) -> None:
        """Check that something else of this size fits beside the arrays; make room if need be.

        Raises:
            CohortError: `E_CACHE_FULL`.
        """
        with self.only_writer():
            self._require_room(num_bytes)

    def add(
        self, case_id: str, content: str, role: Role, array: NDArray[Any], facts: Mapping[str, Any]
    ) -> CacheEntry:
        """Keep an array; only between `only_writer`.

        Raises:
            CohortError: `E_CACHE_FULL`; nothing was written.
            DiskFullError: No space; what was there is intact.
        """
        if not case_id.isalnum() or not content.isalnum():
            raise ValueError("a case id is letters and digits")
        array = np.ascontiguousarray(array)
        header = _header_of(array.dtype.str, array.shape)
        name = entry_name(case_id, content, role)
        self._require_room(on_disk(len(header) + array.nbytes) - self._index.used_by(name))
        path = self._path(name)
        with full_disk_named(path):
            status = _write(path, self._folder / _HALF_WRITTEN, header, array)
        entry = CacheEntry(
            name=name,
            file_bytes=status.st_size,
            dtype=array.dtype.str,
            shape=array.shape,
            pixels_sha256=pixels_hash(array),
            facts=dict(facts),
            stamp=FileStamp.of(status),
        )
        self._index.append(entry)
        return entry

    def settle(self) -> None:
        """Force the index to the disk; only between `only_writer`."""
        self._index.settle()

    def remove(self, case_ids: Collection[str]) -> int:
        """Delete everything of some cases, as when consent is withdrawn; give the number of arrays.

        Open maps of other processes stay readable until they close them.
        """
        unwanted = frozenset(case_ids)
        return self._delete(lambda name: case_of_name(name) in unwanted)

    def forget(self, entry: CacheEntry) -> None:
        """Delete one array that is no longer what was written."""
        self._delete(lambda name: name == entry.name and self._index.get(name) == entry)

    def prune(self, keep: Collection[str]) -> int:
        """Delete all arrays but those of these names; give their number."""
        return self._delete(lambda name: name not in keep, sweep=True)

    def _delete(self, is_unwanted: Callable[[str], bool], *, sweep: bool = False) -> int:
        with self.only_writer():
            names = [name for name in self._index.names if is_unwanted(name)]
            # The index first: an array without its entry is only waste.
            self._index.append(*names)
            self._index.settle()
            for name in names:
                self._path(name).unlink(missing_ok=True)
            if sweep:
                self._sweep()
        return len(names)

    def _sweep(self) -> None:
        """Delete arrays that a kill left without an entry."""
        known = {self._path(name) for name in self._index.names}
        for path in self._folder.glob("*/*.npy"):
            if path not in known:
                path.unlink(missing_ok=True)

    def _require_room(self, num_bytes: int) -> None:
        if self._lacks_room(num_bytes) and self._surroundings is not None:
            with contextlib.suppress(CorruptFileError):  # then every array may be needed
                self.prune(self._surroundings.needed_names() | self._spared)
            if self._lacks_room(num_bytes):
                self._surroundings.make_room()
                self._count_others()
        if self._lacks_room(num_bytes):
            raise CohortError(
                f"the cache holds {self.used_bytes} bytes of decoded images and "
                f"{self._others_bytes} of job views, and needs {num_bytes} more; "
                f"{self._quota_bytes} are allowed",
                hint="raise cache_quota_gigabytes, or remove a cohort",
                code=E_CACHE_FULL,
            )

    def _lacks_room(self, num_bytes: int) -> bool:
        return self.used_bytes + self._others_bytes + num_bytes > self._quota_bytes

    def _count_others(self) -> None:
        if self._surroundings is not None:
            self._others_bytes = self._surroundings.used_bytes()

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / f"{name}.npy"

    def _if_whole(self, entry: CacheEntry) -> CacheEntry | None:
        try:
            status = self._path(entry.name).stat()
        except OSError:
            return None
        if status.st_size != entry.file_bytes:
            return None
        stamp = FileStamp.of(status)
        return entry if stamp == entry.stamp else self._if_restored(entry, stamp)

    def _if_restored(self, entry: CacheEntry, stamp: FileStamp) -> CacheEntry | None:
        """Believe a file with other times that holds what was written, as a backup's does."""
        try:
            self.read(entry)
        except CorruptFileError:
            return None
        fresh = dataclasses.replace(entry, stamp=stamp)
        with self.only_writer():
            if self._index.get(entry.name) == entry:
                self._index.append(fresh)
        return fresh


def open_native_cache(home: SiteHome) -> NativeCache:
    """Open a site's cache; `cache_quota_gigabytes` of its `site.toml` is the quota of `cache/`.

    Raises:
        ConfigurationError: The quota is no number above 0.
    """
    path = home.settings_file
    quota = DEFAULT_QUOTA_GIGABYTES
    if path.exists():
        quota = read_toml(path).get("cache_quota_gigabytes", quota)
    if isinstance(quota, bool) or not isinstance(quota, int | float) or not 0 < quota < 1e9:
        raise ConfigurationError(
            f"{path}: cache_quota_gigabytes is {quota!r}", hint="a number above 0"
        )
    from fedward_client.cohorts.cache.site_room import SiteRoom

    return NativeCache(
        home.cache / "native", int(quota * 1e9), SiteRoom(home), home.pseudonym_key()
    )


@contextlib.contextmanager
def _opened(path: Path, entry: CacheEntry) -> Iterator[io.FileIO]:
    """Open an array's file at its first value, if size and header are those that were written."""
    header = _header_of(entry.dtype, entry.shape)
    try:
        with path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != entry.file_bytes:
                raise _corrupt()
            if file.read(len(header)) != header:
                raise _corrupt()
            yield file
    except OSError:
        raise _corrupt() from None


def _corrupt() -> CorruptFileError:
    return CorruptFileError(
        "a decoded image is gone or no longer what was written", hint="it is decoded anew"
    )


def pixels_hash(array: NDArray[Any]) -> str:
    """Hash dtype, shape and values: equal for equal pixels, whatever they were decoded from."""
    digest = hashlib.sha256(json.dumps([array.dtype.str, array.shape]).encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@functools.lru_cache(maxsize=256)
def _header_of(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Give the bytes before the values in a .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"shape": shape, "fortran_order": False, "descr": dtype}
    )
    return buffer.getvalue()


def _write(path: Path, half_written: Path, header: bytes, array: NDArray[Any]) -> os.stat_result:
    """Write beside and rename, so that a name never stands for a part."""
    path.parent.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
    descriptor = os.open(half_written, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, _PRIVATE_FILE)
    try:
        write_all(descriptor, header)
        write_all(descriptor, array.reshape(-1).view(np.uint8).data)
        half_written.rename(path)
        return os.fstat(descriptor)
    except BaseException:
        half_written.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
