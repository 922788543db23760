"""What SQLite says went wrong, as this project's errors; none quotes a value of the database."""

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


@contextlib.contextmanager
def named_sqlite_errors(path: Path, what: str, damaged: CorruptFileError) -> Iterator[None]:
    """Turn errors of SQLite into named ones.

    Args:
        path: The database.
        what: It is, as "index".
        damaged: Raised where the file is damaged or no database.

    Raises:
        CorruptFileError: `damaged`.
        DiskFullError: What was committed is intact.
        LockedError: Another process writes.
        ConfigurationError: The file may not be opened or written.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        raise _named(f"the {what} {path}", code, damaged) from None


def _named(subject: str, code: int, damaged: CorruptFileError) -> FedwardError:
    if code == sqlite3.SQLITE_FULL:
        return DiskFullError(f"no space is left for {subject}", hint="free some, run again")
    if code in _LOCKED:
        return LockedError(f"another process writes {subject}", hint="wait for it to end")
    if code in _NOT_ALLOWED:
        return ConfigurationError(
            f"{subject} cannot be opened or written", hint="check its folder's permissions"
        )
    return damaged
