"""Private folders for fetched files: bounded, emptied after use, and after a crash at next start.

Each lease holds a lock on its folder for as long as its process lives. A folder whose lock is
free belongs to nobody, and is removed when the space is opened.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicomweb.problems import E_SERVER_TOO_LARGE
from fedward_common.atomic_files import full_disk_named, write_all
from fedward_common.errors import CohortError

_LOCK = "lock"
_PREFIX = "fetched-"


class TemporarySpace:
    """A folder in which leases live.

    Args:
        folder: Made if missing, for its owner alone. What dead processes left is removed.
        quota_bytes: Most that all leases together may take. What other processes hold is counted
            when a lease begins.
    """

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._quota_bytes = folder, quota_bytes
        with _locked(folder):
            for left in folder.glob(f"{_PREFIX}*"):
                _remove_if_dead(left)

    def lease(self) -> "Lease":
        """Begin a new private folder."""
        used = sum(_bytes_below(other) for other in self._folder.glob(f"{_PREFIX}*"))
        with _locked(self._folder):  # nobody may take it for dead before its lock is held
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._folder))
            return Lease(folder, self._quota_bytes, used)


class Lease:
    """One private folder; a context manager that removes it.

    Args:
        folder: Made already, empty.
        quota_bytes: Of the whole space.
        used_bytes: What the other leases hold.
    """

    def __init__(self, folder: Path, quota_bytes: int, used_bytes: int) -> None:
        self.folder = folder
        self._quota_bytes, self._used_bytes = quota_bytes, used_bytes
        self._num_bytes = 0
        self._lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator["QuotaFile"]:
        """Open a new file of mode 0600 to write."""
        path = self.folder / name
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            yield QuotaFile(path, file, self)

    def spend(self, num_bytes: int) -> None:
        """Count bytes that are about to be written; negative ones were given back.

        Raises:
            UnusableCaseError: `E_SERVER_TOO_LARGE`: beyond the quota, whoever else is there.
            CohortError: `E_CACHE_FULL`: others leave too little, which is no fault of these files.
        """
        self._num_bytes += num_bytes
        if self._num_bytes > self._quota_bytes:
            raise UnusableCaseError(E_SERVER_TOO_LARGE)
        if self._num_bytes + self._used_bytes > self._quota_bytes:
            raise CohortError(
                f"several cases at once need more than the {self._quota_bytes} bytes that fetched "
                "files may take",
                hint="raise temporary_quota_bytes",
                code="E_CACHE_FULL",
            )


class QuotaFile:
    """A file under the lease's quota; what `DicomWebClient.retrieve` writes to."""

    def __init__(self, path: Path, file: FileIO, lease: Lease) -> None:
        self.path, self._file, self._lease = path, file, lease
        self.num_bytes = 0

    def restart(self) -> None:
        """Throw away what was written."""
        self._file.seek(0)
        self._file.truncate()
        self._lease.spend(-self.num_bytes)
        self.num_bytes = 0

    def write(self, block: bytes) -> None:
        """Append.

        Raises:
            CohortError: As `Lease.spend`.
            DiskFullError: No space left.
        """
        self.num_bytes += len(block)
        self._lease.spend(len(block))
        with full_disk_named(self.path):
            write_all(self._file.fileno(), block)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from making or removing leases, for as long as that takes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _bytes_below(folder: Path) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError):  # its owner may be removing it
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


def _remove_if_dead(folder: Path) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return  # just removed by its owner
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # in use
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
