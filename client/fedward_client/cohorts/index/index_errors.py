"""What SQLite says went wrong, as this project's errors; none quotes a value of the index."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from fedward_common.errors import (
    ConfigurationError,
    CorruptFileError,
    DiskFullError,
    FedwardError,
    LockedError,
)

_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NOT_ALLOWED = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def damaged(path: Path, what: str = "is damaged") -> CorruptFileError:
    """Say that an index cannot be used, and how to get another."""
    return CorruptFileError(
        f"the index {path} {what}",
        hint="delete it and scan anew; nothing but time is lost",
    )


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite, and of rows that are no longer what was written, into named ones.

    Raises:
        CorruptFileError: The file is damaged or no index.
        DiskFullError: What was committed is intact.
        LockedError: Another process writes.
        ConfigurationError: The file may not be opened or written.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _named(path, (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF) from None


def _named(path: Path, code: int) -> FedwardError:
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(f"no space is left for the index {path}", hint="free some, run again")
    if code in _LOCKED:
        return LockedError(f"another process writes the index {path}", hint="wait for it to end")
    if code in _NOT_ALLOWED:
        return ConfigurationError(
            f"the index {path} cannot be opened or written", hint="check its folder's permissions"
        )
    return damaged(path)
