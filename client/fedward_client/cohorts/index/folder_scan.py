"""A folder tree of DICOM files: its headers into the index, its files on request.

One header at a time, in memory that does not grow with the number of files. One bad file costs
itself alone.
"""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedward_client.cohorts.contained_path import folder_of
from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.index.folder_walk import FoundFile, FoundProblem, walk_files
from fedward_client.cohorts.index.index_scan import NEVER_KNOWN, IndexScan
from fedward_client.cohorts.index.instance_store import Progress, ScanProgress, ScanSummary
from fedward_client.cohorts.passing_codes import PASSING_CODES
from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_PATH_ESCAPES,
    E_SOURCE_UNREADABLE,
    UnusableCaseError,
)
from fedward_client.dicom.bounded_reading import (
    E_FILE_CHANGED,
    opened_regular,
    scan_header,
)
from fedward_client.dicom.header_facts import facts_of
from fedward_common.errors import CohortError


@dataclass(frozen=True)
class FolderStore:
    """Files below a folder; a locator is the path from there, with '/'.

    Args:
        folder: Its top.
        progress_every: Files between two calls of a scan's `progress`.
    """

    folder: Path
    progress_every: int = 50

    def scan(
        self,
        index: DicomIndex,
        progress: Progress | None = None,
        *,
        thorough: bool = False,  # a folder always tells what changed
    ) -> ScanSummary:
        """Keep `InstanceStore.scan`.

        A file that changes while it is read is `E_FILE_CHANGED` until the next scan. A file in
        another's place is read though it has its size and time. A folder in which nothing lies any
        more counts as one that is not mounted.
        """
        folder = folder_of(str(self.folder), "DICOM files")
        _require_listable(folder)
        all_found = walk_files(folder)
        first = list(itertools.islice(all_found, 1))
        if not first and not index.is_empty:
            raise _nothing_left(folder)
        with index.scanning() as scan:
            walk = _Walk(scan, index.pseudonym_key, progress, self.progress_every)
            for found in itertools.chain(first, all_found):
                walk.take(found)
            scan.remove_vanished()  # they are nobody's twins
            _compare_twins(scan, folder)
            removed = scan.finish()
        walk.report()
        return ScanSummary.of(
            index,
            files_seen=walk.files_seen,
            files_read=walk.files_read,
            files_removed=removed,
        )

    @contextlib.contextmanager
    def local_files(self, locators: Sequence[str]) -> Iterator[list[Path]]:
        """Keep `InstanceStore.local_files`; the files are the folder's own and stay."""
        folder = folder_of(str(self.folder), "DICOM files")
        yield [_file_inside(folder, locator) for locator in locators]

    def close(self) -> None:
        """Keep `InstanceStore.close`: nothing is open."""


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
            self._bytes_seen += found.size_bytes
            if not self._scan.is_known(
                found.locator, found.size_bytes, found.modified_ns, found.changed_ns
            ):
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
            ),
            found.changed_ns,
        )
    except UnusableCaseError as error:
        if error.code == E_FILE_NOT_FOUND:  # since it was listed; the end of the scan removes it
            return
        if error.code in PASSING_CODES:  # the next scan tries again
            size = NEVER_KNOWN
        scan.add_problem(found.locator, size, modified, error.code, found.changed_ns)


def _compare_twins(scan: IndexScan, folder: Path) -> None:
    """Hash the files that share UID and size: the same file twice, or two for one UID?"""
    for locator, size, modified in scan.possible_twins():
        try:
            scan.set_content(locator, _content_of(folder / locator, size, modified))
        except UnusableCaseError as error:
            scan.add_problem(locator, NEVER_KNOWN, 0, error.code)


def _content_of(path: Path, size_bytes: int, modified_ns: int) -> bytes:
    """Hash a file that must still be the one that was read."""
    with opened_regular(path) as (descriptor, state):
        if (state.st_size, state.st_mtime_ns) != (size_bytes, modified_ns):
            raise UnusableCaseError(E_FILE_CHANGED)
        with open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").digest()


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


def _nothing_left(folder: Path) -> CohortError:
    return CohortError(
        f"{folder} is empty, and the index knows files there",
        hint="mount it; if its files are gone for good, register the cohort anew",
        code=E_SOURCE_UNREADABLE,
    )


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
