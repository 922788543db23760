"""A folder tree of DICOM files: its headers into the index, its files on request.

One header at a time, in memory that does not grow with the number of files. One bad file costs
itself alone.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedward_client.cohorts.contained_path import folder_of
from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.index.folder_walk import FoundFile, FoundProblem, walk_files
from fedward_client.cohorts.index.index_scan import NEVER_KNOWN, IndexScan
from fedward_client.cohorts.index.instance_store import Progress, ScanProgress, ScanSummary
from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_PATH_ESCAPES,
    E_SOURCE_UNREADABLE,
    UnusableCaseError,
)
from fedward_client.dicom.bounded_reading import (
    E_DECODER_MEMORY,
    E_FILE_CHANGED,
    E_FILE_UNREADABLE,
    scan_header,
)
from fedward_client.dicom.header_facts import facts_of
from fedward_common.errors import CohortError

# Of the machine or the moment, not of the file's content: the next scan tries again
_MAY_PASS = (E_FILE_CHANGED, E_FILE_UNREADABLE, E_DECODER_MEMORY)


@dataclass(frozen=True)
class FolderStore:
    """Files below a folder; a locator is the path from there, with '/'.

    Args:
        folder: Its top.
        progress_every: Files between two calls of a scan's `progress`.
    """

    folder: Path
    progress_every: int = 50

    def scan(self, index: DicomIndex, progress: Progress | None = None) -> ScanSummary:
        """Keep `InstanceStore.scan`.

        A file that changes while it is read is `E_FILE_CHANGED` until the next scan.
        """
        folder = folder_of(str(self.folder), "DICOM files")
        _require_listable(folder)
        with index.scanning() as scan:
            walk = _Walk(scan, index.pseudonym_key, progress, self.progress_every)
            for found in walk_files(folder):
                walk.take(found)
            scan.remove_vanished()  # they are nobody's twins
            _compare_twins(scan, folder)
            removed = scan.finish()
        walk.report()
        counts = index.counts()
        return ScanSummary(
            files_seen=walk.files_seen,
            files_read=walk.files_read,
            files_removed=removed,
            instances=counts.instances,
            problems=counts.problems,
            not_dicom=counts.not_dicom,
        )

    @contextlib.contextmanager
    def local_files(self, locators: Sequence[str]) -> Iterator[list[Path]]:
        """Keep `InstanceStore.local_files`; the files are the folder's own and stay."""
        folder = folder_of(str(self.folder), "DICOM files")
        yield [_file_inside(folder, locator) for locator in locators]


class _Walk:
    """What was met so far."""

    def __init__(
        self, scan: IndexScan, pseudonym_key: bytes, progress: Progress | None, every: int
    ) -> None:
        self.files_seen = 0
        self.files_read = 0
        self._bytes_seen = 0
        self._scan = scan
        self._pseudonym_key = pseudonym_key
        self._progress = progress
        self._every = every

    def take(self, found: FoundFile | FoundProblem) -> None:
        """Bring the index up to date on one file."""
        self.files_seen += 1
        if isinstance(found, FoundProblem):
            self._scan.add_problem(found.locator, NEVER_KNOWN, 0, found.code)
        else:
            size, modified = found.size_bytes, found.modified_ns
            self._bytes_seen += size
            if not self._scan.is_known(found.locator, size, modified):
                self.files_read += 1
                _read_into(self._scan, found, self._pseudonym_key)
        if self.files_seen % self._every == 0:
            self.report()

    def report(self) -> None:
        """Say how far the walk is."""
        if self._progress is not None:
            self._progress(ScanProgress(self.files_seen, self.files_read, self._bytes_seen))


def _read_into(scan: IndexScan, found: FoundFile, pseudonym_key: bytes) -> None:
    """Read one header and write what came of it."""
    size, modified = found.size_bytes, found.modified_ns
    try:
        header = scan_header(Path(found.path))  # picking elements costs more than keeping them
        if (header.size_bytes, header.modified_ns) != (size, modified):
            raise UnusableCaseError(E_FILE_CHANGED)
        scan.add(
            facts_of(
                header.dataset,
                found.locator,
                size,
                modified,
                pseudonym_key,
                has_pixels=header.has_pixels,
            )
        )
    except UnusableCaseError as error:
        if error.code == E_FILE_NOT_FOUND:  # since it was listed; the end of the scan removes it
            return
        if error.code in _MAY_PASS:
            size = NEVER_KNOWN
        scan.add_problem(found.locator, size, modified, error.code)


def _compare_twins(scan: IndexScan, folder: Path) -> None:
    """Hash the files that share UID and size: the same file twice, or two for one UID?"""
    for locator, size, modified in scan.possible_twins():
        try:
            with (folder / locator).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
                status = os.fstat(file.fileno())
        except OSError:
            scan.add_problem(locator, NEVER_KNOWN, 0, E_FILE_UNREADABLE)
            continue
        if (status.st_size, status.st_mtime_ns) == (size, modified):
            scan.set_content(locator, content)
        else:
            scan.add_problem(locator, NEVER_KNOWN, 0, E_FILE_CHANGED)


def _require_listable(folder: Path) -> None:
    try:
        with os.scandir(folder):
            return
    except OSError:
        raise CohortError(
            f"{folder} cannot be read",
            hint="let the site's user read the folder",
            code=E_SOURCE_UNREADABLE,
        ) from None


def _file_inside(folder: Path, locator: str) -> Path:
    """As the walk goes: every name that a file can have, but no way out."""
    pure = PurePosixPath(locator)
    if pure.is_absolute() or ".." in pure.parts:
        raise UnusableCaseError(E_PATH_ESCAPES)
    try:
        path = (folder / pure).resolve()
        found = path.is_file()
    except (OSError, ValueError, RuntimeError):  # NUL inside, name too long, links in a circle
        raise UnusableCaseError(E_FILE_NOT_FOUND) from None
    if not path.is_relative_to(folder):
        raise UnusableCaseError(E_PATH_ESCAPES)
    if not found:
        raise UnusableCaseError(E_FILE_NOT_FOUND)
    return path
