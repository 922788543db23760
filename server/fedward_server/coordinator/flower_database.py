"""Flower's database: what is done where it is damaged or gone.

Nothing in it is worth more than a restart. Runs go on from their own journals, and sites from their
own homes. So a damaged one is never mended or replaced in silence, and a missing one is made anew.
"""

import contextlib
import sqlite3
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CorruptFileError

_SMALLEST_BYTES = 512  # the least page size of SQLite


def is_rebuilt(database: Path) -> bool:
    """Prepare the start, and say whether a database that was here before is gone.

    Raises:
        CorruptFileError: It is damaged.
    """
    begun = database.with_name("begun")
    if database.exists():
        _require_sound(database)
        is_gone = False
    else:
        is_gone = begun.exists()
        for beside in ("-wal", "-shm"):  # of the one that is gone; they belong to no other
            database.with_name(database.name + beside).unlink(missing_ok=True)
    if not begun.exists():
        write_atomically(begun, b"")
    return is_gone


def _require_sound(database: Path) -> None:
    try:
        if database.stat().st_size < _SMALLEST_BYTES:
            raise sqlite3.DatabaseError("file is cut short")
        with contextlib.closing(sqlite3.connect(database)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")
    except sqlite3.DatabaseError as error:
        raise CorruptFileError(
            f"{database} is damaged ({error})",
            hint="move it away and start again: runs go on from their own journals, and sites "
            "connect anew within two minutes",
        ) from error
