"""`split_record.sqlite`: the split of every patient that was ever in a snapshot, by pseudonym.

Written before the snapshot is, so that no snapshot is ever ahead of it. One record serves all
cohorts of the site.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fedward_client.cohorts.source import SPLITS, Split, Unit
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome
from fedward_common.errors import CorruptFileError, DiskFullError, LockedError

_BUSY_SECONDS = 30.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS splits (patient TEXT PRIMARY KEY, split TEXT NOT NULL"
    " CHECK (split IN ('train', 'validation', 'test'))) WITHOUT ROWID"
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


class SplitRecord:
    """The record of one site.

    Args:
        path: `split_record.sqlite`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of_home(cls, home: SiteHome) -> "SplitRecord":
        """Give a site's record.

        Raises:
            CorruptFileError: It is gone although there are snapshots.
        """
        path = home.folder / "split_record.sqlite"
        if not path.exists() and any(home.cohorts.glob("*/snapshots/*.json")):
            raise CorruptFileError(
                f"{path} is missing",
                hint="restore it: it says which patients may never test a model",
            )
        return cls(path)

    def splits_of(self, keys: Iterable[str]) -> dict[str, Split]:
        """Give the recorded splits of those that have one."""
        if not self._path.exists():
            return {}
        wanted = set(keys)
        with self._opened() as connection:
            rows = connection.execute("SELECT patient, split FROM splits")
            known = {split: split for split in SPLITS}
            return {patient: known[split] for patient, split in rows if patient in wanted}

    def add(self, splits: Mapping[str, Split]) -> None:
        """Record splits, all or none; a later word replaces an earlier one."""
        with self._opened() as connection, connection:
            connection.executemany(
                "INSERT INTO splits VALUES (?, ?)"
                " ON CONFLICT (patient) DO UPDATE SET split = excluded.split",
                sorted(splits.items()),
            )

    def changing(self) -> contextlib.AbstractContextManager[None]:
        """Wait until no other command decides splits, and keep others from it."""
        return only_snapshot_maker(self._path.parent)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with contextlib.suppress(OSError):  # SQLite says what is wrong
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            with contextlib.closing(
                sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
            ) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                yield connection
        except sqlite3.Error as error:
            raise self._named(getattr(error, "sqlite_errorname", None) or "") from None

    def _named(self, name: str) -> CorruptFileError | DiskFullError | LockedError:
        if name.startswith("SQLITE_FULL"):
            return DiskFullError(f"no space is left for {self._path}", hint="free some, run again")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return LockedError(f"another command writes {self._path}", hint="wait for it to end")
        return CorruptFileError(f"{self._path} cannot be read or written", hint="restore it")


@contextlib.contextmanager
def only_snapshot_maker(home_folder: Path) -> Iterator[None]:
    """Wait until no command makes a snapshot, and keep others from it; no record is needed."""
    lock = home_folder / ".split_record.lock"
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
