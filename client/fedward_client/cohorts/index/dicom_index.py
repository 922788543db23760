"""What the headers of a cohort's files say, in one SQLite file for its owner alone.

Everything is found again by patient, study, series, instance and file. A process killed at any
moment leaves what was committed; the next scan takes up the rest. The index holds patient ids and
never leaves the site.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.index import index_findings
from fedward_client.cohorts.index.index_errors import damaged, named_errors
from fedward_client.cohorts.index.index_rows import (
    APPLICATION_ID,
    FACT_COLUMNS,
    SCHEMA,
    SCHEMA_VERSION,
    facts_from_row,
    locator_bytes,
)
from fedward_client.cohorts.index.index_scan import LAST_WHOLE, IndexScan, opened_scan
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.pseudonyms import pseudonym

_FACTS = f"SELECT {FACT_COLUMNS} FROM files f JOIN headers h ON h.id = f.header_id"  # noqa: S608
# Of files with the same content under the same UID the first by name stands for all. Content that
# nobody compared, as of a server's instances, is NULL and equals nothing.
_NO_TWIN = (
    " AND NOT EXISTS (SELECT 1 FROM files t WHERE t.sop_instance_uid = f.sop_instance_uid"
    " AND t.size_bytes = f.size_bytes AND t.content_sha256 = f.content_sha256"
    " AND t.locator < f.locator)"
)
_IN_USE = " AND EXISTS (SELECT 1 FROM files f WHERE f.header_id = h.id)"
_COUNT_HEADERS = (
    "SELECT count(DISTINCT nullif(patient_id, '')), count(DISTINCT study_instance_uid),"  # noqa: S608
    f" count(DISTINCT series_instance_uid) FROM headers h WHERE 1{_IN_USE}"
)
_BUSY_SECONDS = 30.0


@dataclass(frozen=True)
class IndexCounts:
    """How much an index holds; patients are ids, the empty one left out."""

    patients: int
    studies: int
    series: int
    instances: int
    problems: int
    not_dicom: int


class DicomIndex:
    """The index of one cohort.

    Args:
        path: Its file; two more beside it belong to SQLite, a third is the lock of a scan.
        connection: To it, with the tables made.
        pseudonym_key: Of the site.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, pseudonym_key: bytes) -> None:
        self.path = path
        self.pseudonym_key = pseudonym_key
        self._connection = connection

    @classmethod
    def open(cls, path: Path, *, pseudonym_key: bytes) -> "DicomIndex":
        """Open an index, or make an empty one.

        Raises:
            CorruptFileError: It is damaged, of another version, or of another site's key: it must
                be deleted and made anew.
            LockedError: Another process is writing and does not end.
            ConfigurationError: It cannot be opened.
        """
        with named_errors(path):
            connection = _connected(path)
            try:
                _prepare(path, connection, pseudonym(pseudonym_key, "file", "key of the index"))
            except BaseException:
                connection.close()
                raise
        return cls(path, connection, pseudonym_key)

    def __enter__(self) -> "DicomIndex":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def scanning(self) -> contextlib.AbstractContextManager[IndexScan]:
        """Begin a scan; a block left early keeps what it added, and removes nothing.

        Raises:
            LockedError: Another scan of this index is under way.
        """
        return opened_scan(self.path, self._connection)

    @property
    def is_whole(self) -> bool:
        """Whether the last scan that began went through to its end."""
        rows = dict(self._rows("SELECT name, value FROM meta"))
        return bool(0 < rows.get("scan", 0) == rows.get(LAST_WHOLE))

    @property
    def is_empty(self) -> bool:
        """Whether no file is known at all, be it usable or not."""
        return not self._rows("SELECT 1 FROM files LIMIT 1")

    def count(self) -> int:
        """Give the number of usable DICOM files, twins among them."""
        return int(self._rows("SELECT count(*) FROM files WHERE header_id IS NOT NULL")[0][0])

    def counts(self) -> IndexCounts:
        """Count everything."""
        [(patients, studies, series)] = self._rows(_COUNT_HEADERS)
        codes = dict(self._rows("SELECT code, count(*) FROM files WHERE code <> '' GROUP BY code"))
        not_dicom = codes.pop(index_findings.NOT_DICOM, 0)
        return IndexCounts(patients, studies, series, self.count(), sum(codes.values()), not_dicom)

    def series(self, uid: str) -> tuple[InstanceFacts, ...]:
        """Give the instances of a series by locator, identical twins left out."""
        where = f" WHERE h.series_instance_uid = ?{_NO_TWIN} ORDER BY f.locator"
        return self._facts(where, uid)

    def instance(self, uid: str) -> tuple[InstanceFacts, ...]:
        """Give the files of an instance, identical twins left out: none, one, or contradictions."""
        return self._facts(f" WHERE f.sop_instance_uid = ?{_NO_TWIN} ORDER BY f.locator", uid)

    def at(self, locator: str) -> InstanceFacts | None:
        """Give what lies at a place."""
        found = self._facts(" WHERE f.locator = ?", locator_bytes(locator))
        return found[0] if found else None

    def studies_of_accession(self, number: str) -> tuple[str, ...]:
        """Give the studies of an accession number, sorted."""
        return self._distinct("study_instance_uid", "accession_number", number)

    def studies_of_patient(self, patient_id: str) -> tuple[str, ...]:
        """Give the studies of a patient, sorted."""
        return self._distinct("study_instance_uid", "patient_id", patient_id)

    def series_of_study(self, uid: str) -> tuple[str, ...]:
        """Give the series of a study, sorted."""
        return self._distinct("series_instance_uid", "study_instance_uid", uid)

    def problems(self) -> Iterator[Finding]:
        """Give the files that cannot be used, by code and place; not those that are no DICOM."""
        with named_errors(self.path):
            yield from index_findings.problems(self._connection)

    def scan_findings(self) -> list[Finding]:
        """Give what only shows between files, by code and place.

        Places: `E_DUPLICATE_INSTANCE`, one for each UID, its files apart by ' | ';
        `W_DUPLICATE_FILE`, one for each file that is not used, that file; `W_SEVERAL_STUDIES` an
        accession number; `W_PATIENT_TWICE` patient ids; `E_STUDY_OF_TWO_PATIENTS` a study.
        """
        with named_errors(self.path):
            return index_findings.scan_findings(self._connection)

    def _facts(self, where: str, value: str | bytes) -> tuple[InstanceFacts, ...]:
        rows = self._rows(_FACTS + where, value)
        try:
            return tuple(facts_from_row(row) for row in rows)
        except (ValueError, TypeError):  # a row is not what was written
            raise damaged(self.path) from None

    def _distinct(self, wanted: str, key: str, value: str) -> tuple[str, ...]:
        rows = self._rows(
            f"SELECT DISTINCT {wanted} FROM headers h WHERE {key} = ?{_IN_USE}"  # noqa: S608
            f" ORDER BY {wanted}",
            value,
        )
        return tuple(row[0] for row in rows)

    def _rows(self, statement: str, *values: str | bytes) -> list[tuple[Any, ...]]:
        with named_errors(self.path):
            return self._connection.execute(statement, values).fetchall()


def _connected(path: Path) -> sqlite3.Connection:
    """SQLite gives its side files the mode of the file, which it never has to make itself."""
    with contextlib.suppress(OSError):  # SQLite says what is wrong
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def _prepare(path: Path, connection: sqlite3.Connection, key_check: str) -> None:
    """Make the tables of an empty file; check who made the others."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        [(application,)] = connection.execute("PRAGMA application_id")
        [(version,)] = connection.execute("PRAGMA user_version")
        [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_master")
        if (application, version, tables) == (0, 0, 0):
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('key_check', ?)", (key_check,))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif application != APPLICATION_ID:
            raise damaged(path, "is another kind of file")
        elif version != SCHEMA_VERSION:
            raise damaged(path, "was made by another version")
        elif dict(connection.execute("SELECT name, value FROM meta")).get("key_check") != key_check:
            raise damaged(path, "was made with another site's key")
