"""`split_record.sqlite`: the split of every person that was ever in a snapshot, by pseudonym.

Written before the snapshot is, so that no snapshot is ever ahead of it. One record serves all
cohorts of the site. A person stands in it under every identity that a case had
(`case_identities`), and none of them ever moves to a split that is seen less.

The record is sealed (`home_seal`) with the number of its identities. Snapshots keep the number as
it was when they were made, and the record that of excluded patients, so that an older copy of
either file does not pass for the present one.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedward_client.cohorts.registered.snapshot_store import newest_recorded_counts
from fedward_client.cohorts.registered.split_decision import more_seen
from fedward_client.cohorts.source import SPLITS, Split, Unit
from fedward_client.home_seal import seal_of, verify_seal
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome
from fedward_client.sqlite_errors import named_sqlite_errors
from fedward_common.errors import CorruptFileError
from fedward_common.file_lock import held_lock

_BUSY_SECONDS = 30.0
_LABEL = "fedward-split-record/2"
_SCHEMA = """
CREATE TABLE splits (
  patient TEXT PRIMARY KEY, split TEXT NOT NULL CHECK (split IN ('train', 'validation', 'test'))
) WITHOUT ROWID;
CREATE TABLE sealed (
  identities INTEGER NOT NULL, excluded INTEGER NOT NULL, seal TEXT NOT NULL
)
"""
_SPLIT_NAMED: Mapping[str, Split] = {split: split for split in SPLITS}
_HINT = (
    "restore it from the backup, for it says which patients may never test a model; without one:"
    " fedward-site cohort rebuild-record"
)


def record_key(key: bytes, unit: Unit, cohort: str, patient: str, *, is_uid: bool = False) -> str:
    """Name a unit in the record.

    Args:
        key: The site's pseudonym key.
        unit: What `patient` stands for.
        cohort: Names that a label file gives to images mean something in its cohort alone.
        patient: The unit's id.
        is_uid: An image is named by its UID, which is one everywhere.
    """
    if unit == "patient":
        return pseudonym(key, "patient", patient)
    if unit == "image" and is_uid:
        return pseudonym(key, "instance", patient)
    return pseudonym(key, "case", f"{unit}\0{cohort if unit == 'image' else ''}\0{patient}")


@dataclass(frozen=True)
class _State:
    """What the record's seal stands for, beside its rows."""

    num_identities: int = 0
    num_excluded: int = 0


class SplitRecord:
    """The record of one site.

    Args:
        path: `split_record.sqlite`.
        seal_key: `SiteHome.seal_key()`.
    """

    def __init__(self, path: Path, seal_key: bytes) -> None:
        self._path = path
        self._seal_key = seal_key

    @classmethod
    def of_home(cls, home: SiteHome) -> "SplitRecord":
        """Give a site's record.

        Raises:
            CorruptFileError: It is gone although there are snapshots, is not what was written, or
                holds less than when a snapshot was made.
        """
        path = record_file(home)
        if not path.exists():
            if any(home.cohorts.glob("*/snapshots/*.json")):
                raise CorruptFileError(f"{path} is missing", hint=_HINT)
            return cls(path, home.seal_key())
        record = cls(path, home.seal_key())
        needed = max(newest_recorded_counts(home), default=0)
        with record._opened() as connection:
            there = record._verified(connection).num_identities
        if there < needed:
            raise CorruptFileError(
                f"{path} is an older copy: it holds {there} identities, and a snapshot was made"
                f" with {needed}",
                hint=_HINT,
            )
        return record

    def splits_of(self, keys: Iterable[str]) -> dict[str, Split]:
        """Give the recorded splits of those that have one.

        Raises:
            CorruptFileError: The record is not what was written.
        """
        if not self._path.exists():
            return {}
        with self._opened() as connection:
            state = self._verified(connection)
            return _splits_of(connection, keys) if state.num_identities else {}

    def all_splits(self) -> dict[str, Split]:
        """Give everything that is recorded.

        Raises:
            CorruptFileError: The record is not what was written.
        """
        if not self._path.exists():
            return {}
        with self._opened() as connection:
            state = self._verified(connection)
            return dict(_all_splits(connection)) if state.num_identities else {}

    @property
    def num_excluded(self) -> int:
        """How many patients were excluded when that was last noted."""
        if not self._path.exists():
            return 0
        with self._opened() as connection:
            return self._verified(connection).num_excluded

    def add(self, splits: Mapping[str, Split]) -> int:
        """Record splits, all or none; a split that is seen less does not replace another.

        Returns:
            The number of identities in the record.
        """
        with self._changed() as (connection, state):
            known = _splits_of(connection, splits)
            now = {k: more_seen(v, known[k]) if k in known else v for k, v in splits.items()}
            connection.executemany(
                "INSERT INTO splits VALUES (?, ?)"
                " ON CONFLICT (patient) DO UPDATE SET split = excluded.split",
                sorted(now.items()),
            )
            return self._sealed(connection, state.num_excluded).num_identities

    def note_excluded(self, num_excluded: int) -> None:
        """Note how many patients are excluded; that number never falls."""
        with self._changed() as (connection, state):
            if num_excluded > state.num_excluded:
                self._sealed(connection, num_excluded)

    def changing(self) -> contextlib.AbstractContextManager[None]:
        """Wait until no other command decides splits, and keep others from it."""
        return only_snapshot_maker(self._path.parent)

    def _verified(self, connection: sqlite3.Connection) -> _State:
        """Check the seal; an empty file is what a first command left that was killed."""
        if not _has_tables(connection):
            if self._path.stat().st_size:
                raise self._damaged()
            return _State()
        rows = connection.execute("SELECT identities, excluded, seal FROM sealed").fetchall()
        if len(rows) != 1:
            raise self._damaged()
        [(num_identities, num_excluded, unverified)] = rows
        state = _State(num_identities, num_excluded)
        if _count(connection) != num_identities:
            raise self._damaged()
        parts = _parts(connection, state)
        verify_seal(self._seal_key, _LABEL, parts, str(unverified), self._damaged())
        return state

    def _sealed(self, connection: sqlite3.Connection, num_excluded: int) -> _State:
        state = _State(_count(connection), num_excluded)
        seal = seal_of(self._seal_key, _LABEL, _parts(connection, state))
        connection.execute("DELETE FROM sealed")
        connection.execute(
            "INSERT INTO sealed VALUES (?, ?, ?)", (state.num_identities, state.num_excluded, seal)
        )
        return state

    @contextlib.contextmanager
    def _changed(self) -> Iterator[tuple[sqlite3.Connection, _State]]:
        """Open the record for one change, whole or none."""
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                state = self._verified(connection)
                if not _has_tables(connection):
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    self._sealed(connection, 0)
                yield connection, state

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with contextlib.suppress(OSError):  # SQLite says what is wrong
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        with (
            named_sqlite_errors(self._path, "split record", self._damaged()),
            contextlib.closing(
                sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            ) as connection,
        ):
            connection.execute("PRAGMA synchronous = FULL")
            yield connection

    def _damaged(self) -> CorruptFileError:
        return CorruptFileError(f"{self._path} is not what was written here", hint=_HINT)


def record_file(home: SiteHome) -> Path:
    """Give `split_record.sqlite`."""
    return home.folder / "split_record.sqlite"


def only_snapshot_maker(home_folder: Path) -> contextlib.AbstractContextManager[None]:
    """Wait until no command makes a snapshot, and keep others from it; no record is needed."""
    return held_lock(home_folder / ".split_record.lock")


def _has_tables(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {"splits", "sealed"} <= {name for (name,) in found}


def _splits_of(connection: sqlite3.Connection, keys: Iterable[str]) -> dict[str, Split]:
    wanted = set(keys)
    return {name: split for name, split in _all_splits(connection) if name in wanted}


def _all_splits(connection: sqlite3.Connection) -> Iterator[tuple[str, Split]]:
    rows = connection.execute("SELECT patient, split FROM splits")
    return ((name, _SPLIT_NAMED[split]) for name, split in rows)


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM splits").fetchone()[0])


def _parts(connection: sqlite3.Connection, state: _State) -> tuple[bytes, ...]:
    """Give what is sealed: both numbers, and one hash of all rows in order."""
    digest = hashlib.sha256()
    for patient, split in connection.execute("SELECT patient, split FROM splits ORDER BY patient"):
        digest.update(f"{patient}\0{split}\n".encode("utf-8", "surrogatepass"))
    return (f"{state.num_identities}\0{state.num_excluded}\0".encode(), digest.digest())
