"""Where a cohort's DICOM files are: a folder, or a server that gives them on request."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedward_client.cohorts.index.dicom_index import DicomIndex


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan has come; how far it has to go nobody knows before its end.

    Args:
        files_seen: Files met so far, new and known ones.
        files_read: Those whose header was read.
        bytes_seen: Size of the files met, 0 where only a server knows it.
    """

    files_seen: int
    files_read: int
    bytes_seen: int


Progress = Callable[[ScanProgress], None]


@dataclass(frozen=True)
class ScanSummary:
    """What a whole scan came to.

    Args:
        files_seen: All files met.
        files_read: Those whose header was read, being new or changed.
        files_removed: Files of the index that were no longer there.
        instances: Usable DICOM files that the index now holds.
        problems: Files that cannot be used, by code in `DicomIndex.problems`.
        not_dicom: Files that are no DICOM; no error of the cohort.
    """

    files_seen: int
    files_read: int
    files_removed: int
    instances: int
    problems: int
    not_dicom: int

    @classmethod
    def of(
        cls, index: DicomIndex, *, files_seen: int, files_read: int, files_removed: int
    ) -> "ScanSummary":
        """Sum up a scan that just ended, with what its index now holds."""
        counts = index.counts()
        return cls(
            files_seen,
            files_read,
            files_removed,
            counts.instances,
            counts.problems,
            counts.not_dicom,
        )


class InstanceStore(Protocol):
    """Two kinds keep the same contract: `FolderStore` and the one behind DICOMweb."""

    def scan(
        self, index: DicomIndex, progress: Progress | None = None, *, thorough: bool = False
    ) -> ScanSummary:
        """Bring the index up to date; what is in it and did not change is not read again.

        Args:
            index: The cohort's.
            progress: Called now and then.
            thorough: Look for changes also where finding them takes a request for each series.

        Whatever ends a scan early, `progress` raising included, leaves an index that the next scan
        completes.

        Raises:
            CohortError: `E_SOURCE_UNREADABLE`: nothing can be listed, or nothing is there though
                the index knows files; what it knows stays.
            LockedError: Another scan of this index is under way.
        """

    def local_files(self, locators: Sequence[str]) -> AbstractContextManager[list[Path]]:
        """Give files to read, in the order asked for; they may be gone after the block.

        Raises:
            UnusableCaseError: `E_FILE_NOT_FOUND` or `E_PATH_ESCAPES`.
        """

    def close(self) -> None:
        """Let go of connections; the store is not used afterwards."""
