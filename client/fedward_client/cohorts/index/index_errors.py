"""What is wrong with an index, as this project's errors; none quotes a value of the index."""

import contextlib
from pathlib import Path

from fedward_client.sqlite_errors import named_sqlite_errors
from fedward_common.errors import CorruptFileError


def damaged(path: Path, what: str = "is damaged") -> CorruptFileError:
    """Say that an index cannot be used, and how to get another."""
    return CorruptFileError(
        f"the index {path} {what}",
        hint="delete it and scan anew; nothing but time is lost",
    )


def named_errors(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turn errors of SQLite, and of rows that are no longer what was written, into named ones.

    Raises:
        CorruptFileError: The file is damaged or no index.
        DiskFullError: What was committed is intact.
        LockedError: Another process writes.
        ConfigurationError: The file may not be opened or written.
    """
    return named_sqlite_errors(path, "index", damaged(path))
