"""A PACS as a cohort's source: headers into the index, images on request into bounded space.

A scan asks for studies, their series and instances page by page; headers are fetched for a series
of which something is new, or whose patient id or accession number was corrected. A thorough scan
fetches all of them: an instance whose header is another under its old UID is another state of it,
which is decoded anew. New pixels under the very same header go unnoticed. What makes a
server or an account unusable ends a scan, which the next one completes; what concerns one series
or instance costs that alone.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.index.index_scan import NEVER_KNOWN, IndexScan
from fedward_client.cohorts.index.instance_store import Progress, ScanProgress, ScanSummary
from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_SOURCE_UNREADABLE,
    UnusableCaseError,
)
from fedward_client.dicom.bounded_reading import read_header
from fedward_client.dicomweb.client import (
    DicomWebClient,
    InstanceAddress,
    JsonDataset,
    first_value,
    is_uid,
)
from fedward_client.dicomweb.json_headers import facts_from_json
from fedward_client.dicomweb.problems import (
    E_SERVER_ANSWER,
    E_SERVER_NOT_FOUND,
    E_SERVER_TOO_LARGE,
    DicomWebError,
)
from fedward_client.dicomweb.session import DicomWebSession, Query
from fedward_client.dicomweb.settings import DicomWebSettings
from fedward_client.dicomweb.temporary_space import Lease, TemporarySpace
from fedward_client.pseudonyms import pseudonym
from fedward_common.clock import Clock
from fedward_common.errors import CohortError

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_PATIENT_ID, _ACCESSION_NUMBER = "00100020", "00080050"
_WANTED = (("includefield", _PATIENT_ID), ("includefield", _ACCESSION_NUMBER))
_OF_ONE = {E_SERVER_ANSWER, E_SERVER_NOT_FOUND, E_SERVER_TOO_LARGE}
_MAX_FAILURES_IN_A_ROW = 10

_log = logging.getLogger(__name__)


class DicomWebStore:
    """Instances behind DICOMweb; a locator is `studies/UID/series/UID/instances/UID`.

    Args:
        settings: Which server, and how.
        cache_folder: Of the site; fetched files live in `dicomweb/` below it.
        clock: For pauses and deadlines.

    Raises:
        ConfigurationError: The secret or the certificates cannot be used.
    """

    def __init__(
        self, settings: DicomWebSettings, cache_folder: Path, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._session = DicomWebSession(settings, clock)
        self._client = DicomWebClient(
            self._session, settings.page_size, settings.max_instance_bytes
        )
        self._space = TemporarySpace(cache_folder / "dicomweb", settings.temporary_quota_bytes)

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def scan(
        self, index: DicomIndex, progress: Progress | None = None, *, thorough: bool = False
    ) -> ScanSummary:
        """Keep `InstanceStore.scan`; every match of `settings.studies` is scanned.

        A server that has nothing any more counts as one that does not show it to this account.

        Raises:
            DicomWebError: The server cannot be asked, or not any more.
        """
        with index.scanning() as scan:
            walk = _Walk(self._client, self._settings, index, scan, progress, thorough=thorough)
            walk.all_studies()
            if not walk.found_any and not index.is_empty:
                raise _nothing_left()
            removed = scan.finish()
        walk.report()
        walk.tell_changes()
        return ScanSummary.of(
            index, files_seen=walk.num_seen, files_read=walk.num_read, files_removed=removed
        )

    @contextlib.contextmanager
    def local_files(self, locators: Sequence[str]) -> Iterator[list[Path]]:
        """Keep `InstanceStore.local_files`: fetched now, deleted when the block ends.

        Raises:
            UnusableCaseError: An instance is gone (`E_FILE_NOT_FOUND`), another came in its place
                (`E_FILE_CHANGED`), or it cannot be had (`E_SERVER_ANSWER`, and
                `E_SERVER_TOO_LARGE` also where all together are beyond the quota).
            DicomWebError: The server cannot be asked.
            CohortError: `E_CACHE_FULL`: other blocks, still open, leave too little of the quota.
        """
        with self._space.lease() as lease:
            yield [
                self._fetch(locator, lease, f"{number:06d}.dcm")
                for number, locator in enumerate(locators)
            ]

    def store(self, paths: Sequence[Path]) -> None:
        """Send files to the server (STOW-RS).

        Raises:
            DicomWebError: It did not take all of them.
        """
        self._client.store(paths)

    def store_content(self, content: bytes) -> None:
        """Send one file that is not on disk yet; it is there only until it is sent.

        Raises:
            DicomWebError: The server did not take it.
            CohortError: It does not fit into the quota.
        """
        with self._space.lease() as lease:
            with lease.new_file("result.dcm") as file:
                file.write(content)
            self.store([file.path])

    def locators_of_series(self, series_uid: str) -> tuple[str, ...]:
        """Ask the server for a series by its UID alone; empty where it has none such.

        Raises:
            DicomWebError: The server cannot be asked, or `series_uid` is no UID.
        """
        if not is_uid(series_uid):
            raise DicomWebError(E_SERVER_ANSWER, "the series is not named by a UID")
        query: Query = (("SeriesInstanceUID", series_uid),)
        studies = {
            uid
            for page in self._client.search("series", _SERIES, query)
            for match in page
            if first_value(match, _SERIES) == series_uid
            if is_uid(uid := first_value(match, _STUDY))
        }
        return tuple(
            locator
            for study in sorted(studies)
            for locator in _instances_of(self._client, study, series_uid)
        )

    def _fetch(self, locator: str, lease: Lease, name: str) -> Path:
        try:
            address = InstanceAddress.of_locator(locator)
            with lease.new_file(name) as file:
                self._client.retrieve(address, file)
        except DicomWebError as error:
            if error.code == E_SERVER_NOT_FOUND:
                raise UnusableCaseError(E_FILE_NOT_FOUND) from None
            if error.code in _OF_ONE:
                raise UnusableCaseError(error.code) from None
            raise
        _require_same_instance(file.path, address)
        return file.path


def _nothing_left() -> CohortError:
    return CohortError(
        "the server shows no instance at all, and the index knows some",
        hint="check the account's rights, [studies] and [series]; if they are gone for good, "
        "register the cohort anew",
        code=E_SOURCE_UNREADABLE,
    )


def _require_same_instance(path: Path, address: InstanceAddress) -> None:
    """A server may send anything; what it sent must be what was asked for."""
    header = read_header(path, ["SOPInstanceUID", "SeriesInstanceUID"])
    found = (str(header.get("SeriesInstanceUID", "")), str(header.get("SOPInstanceUID", "")))
    if found != (address.series, address.instance):
        raise UnusableCaseError("E_FILE_CHANGED")


def _instances_of(client: DicomWebClient, study: str, series: str) -> list[str]:
    """List the locators of a series' instances; what is no UID is passed over."""
    path = f"studies/{study}/series/{series}/instances"
    found = (
        first_value(match, _INSTANCE) for page in client.search(path, _INSTANCE) for match in page
    )
    unique = dict.fromkeys(uid for uid in found if is_uid(uid))
    return [InstanceAddress(study, series, uid).path for uid in unique]


class _Walk:
    """What was met so far."""

    def __init__(
        self,
        client: DicomWebClient,
        settings: DicomWebSettings,
        index: DicomIndex,
        scan: IndexScan,
        progress: Progress | None,
        *,
        thorough: bool,
    ) -> None:
        self.num_seen = 0
        self.num_read = 0
        self.found_any = False
        self._thorough = thorough
        self._num_changed = 0
        self._num_failures = 0
        self._client, self._settings = client, settings
        self._index, self._scan, self._progress = index, scan, progress

    def report(self) -> None:
        """Say how far it is."""
        if self._progress is not None:
            self._progress(ScanProgress(self.num_seen, self.num_read, 0))

    def tell_changes(self) -> None:
        """Say in the log how much is another than before: names and places of none."""
        if self._num_changed:
            _log.warning(
                "scan: %d instances of the server are not what was indexed: they are decoded anew",
                self._num_changed,
            )

    def all_studies(self) -> None:
        """Walk over everything that matches."""
        query = (*self._settings.studies.items(), *_WANTED)
        for page in self._client.search("studies", _STUDY, query):
            for study in page:
                if is_uid(first_value(study, _STUDY)):
                    self._study(study)

    def _study(self, study: JsonDataset) -> None:
        uid = first_value(study, _STUDY)
        path = f"studies/{uid}/series"
        try:
            pages = self._client.search(path, _SERIES, tuple(self._settings.series.items()))
            found = [first_value(match, _SERIES) for page in pages for match in page]
        except DicomWebError as error:
            self._note(path, "study", uid, error)
            self._keep_known(self._index.series_of_study(uid))
            return
        for series in dict.fromkeys(found):
            if is_uid(series):
                self._series(study, uid, series)
                self.report()

    def _series(self, study: JsonDataset, study_uid: str, series_uid: str) -> None:
        path = f"studies/{study_uid}/series/{series_uid}"
        try:
            locators = _instances_of(self._client, study_uid, series_uid)
            self.num_seen += len(locators)
            self.found_any |= bool(locators)
            wanted = [one for one in locators if self._thorough or not self._is_known(one, study)]
            self._read_headers(path, wanted)
        except DicomWebError as error:
            self._note(path, "series", series_uid, error)
            self._keep_known((series_uid,))
        else:
            self._num_failures = 0

    def _keep_known(self, series: Iterable[str]) -> None:
        """Mark instances as still there: that they cannot be listed now does not mean they went."""
        for uid in series:
            for facts in self._index.series(uid):
                self._scan.is_known(facts.locator, facts.size_bytes, facts.modified_ns)

    def _is_known(self, locator: str, study: JsonDataset) -> bool:
        """Mark an instance that is in the index with the same patient and accession number."""
        known = self._index.at(locator)
        if known is None:
            return False
        for tag, value in (
            (_PATIENT_ID, known.patient_id),
            (_ACCESSION_NUMBER, known.accession_number),
        ):
            if tag in study and _text(first_value(study, tag)) != value:
                return False
        return self._scan.is_known(locator, known.size_bytes, known.modified_ns)

    def _read_headers(self, path: str, locators: Sequence[str]) -> None:
        missing = dict.fromkeys(locators)
        try:
            if missing:
                self._client.metadata(path, lambda headers: self._add_all(path, headers, missing))
        except DicomWebError as error:
            if error.code not in _OF_ONE:
                raise
        # a server may not offer metadata of a whole series, or choke on one of its instances
        for locator in list(missing):
            self._read_one_header(path, locator, missing)

    def _read_one_header(self, path: str, locator: str, missing: dict[str, None]) -> None:
        code = "E_HEADER_UNREADABLE"
        try:
            self._client.metadata(locator, lambda headers: self._add_all(path, headers, missing))
        except DicomWebError as error:
            if error.code not in _OF_ONE:
                raise
            code = error.code
        if locator not in missing:
            return
        known = self._index.at(locator) if self._thorough else None
        if known is None:
            self._scan.add_problem(locator, NEVER_KNOWN, 0, code)
        else:  # that it cannot be compared now does not mean it went
            self._scan.is_known(locator, known.size_bytes, known.modified_ns)

    def _add_all(self, path: str, headers: Iterable[JsonDataset], missing: dict[str, None]) -> None:
        """Add what was asked for; anything else that a server sends is passed over."""
        for header in headers:
            locator = f"{path}/instances/{first_value(header, _INSTANCE)}"
            if locator not in missing:
                continue
            del missing[locator]
            self.num_read += 1
            self._add(locator, header)

    def _add(self, locator: str, header: JsonDataset) -> None:
        try:
            facts = facts_from_json(header, locator, self._index.pseudonym_key)
            if InstanceAddress.of_locator(locator) != InstanceAddress(
                facts.study_instance_uid, facts.series_instance_uid, facts.sop_instance_uid
            ):
                raise UnusableCaseError("E_HEADER_INCOMPLETE")
        except UnusableCaseError as error:
            self._scan.add_problem(locator, NEVER_KNOWN, 0, error.code)
        else:
            known = self._index.at(locator) if self._thorough else None
            self._num_changed += known is not None and known.modified_ns != facts.modified_ns
            self._scan.add(facts)

    def _note(
        self, place: str, kind: Literal["study", "series"], uid: str, error: DicomWebError
    ) -> None:
        """Keep a problem of one study or series; anything worse, or too many in a row, goes up."""
        self._num_failures += 1
        self.found_any = True
        if error.code not in _OF_ONE or self._num_failures >= _MAX_FAILURES_IN_A_ROW:
            raise error
        name = pseudonym(self._index.pseudonym_key, kind, uid)
        _log.warning("scan: %s %s cannot be read: %s", kind, name, error.code)
        self._scan.add_problem(place, NEVER_KNOWN, 0, error.code)


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
