"""Flower's database: what is done where it is damaged or gone.

Nothing in it is worth more than a restart. Runs go on from their own journals, and sites from their
own homes. So a damaged one is never mended or replaced in silence, and a missing one is made anew.

A coordinator that was killed leaves nodes in it as connected, and Flower lets no node connect that
is. One that lives says so every 25 seconds at most; whoever does not is let in again after those,
where Flower takes up to a minute.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import CorruptFileError

BELIEVED_SECONDS = 25.0
ONLINE = "online"  # what a node's state is called in Flower's table of nodes

_SMALLEST_BYTES = 512  # the least page size of SQLite
_EXPECT_SIGNS_OF_LIFE = "UPDATE node SET online_until = min(online_until, ?) WHERE status = ?"


def is_rebuilt(database: Path, utc_seconds: Callable[[], float] = time.time) -> bool:
    """Prepare the start, and say whether a database that was here before is gone.

    Args:
        database: Of Flower.
        utc_seconds: Gives seconds since 1970.

    Raises:
        CorruptFileError: It is damaged.
    """
    begun = database.with_name("begun")
    if database.exists():
        _require_sound(database)
        _expect_signs_of_life(database, utc_seconds())
        is_gone = False
    else:
        is_gone = begun.exists()
        for beside in ("-wal", "-shm"):  # of the one that is gone; they belong to no other
            database.with_name(database.name + beside).unlink(missing_ok=True)
    if not begun.exists():
        write_atomically(begun, b"")
    return is_gone


def _expect_signs_of_life(database: Path, now_seconds: float) -> None:
    """Believe no node for long to be connected still."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'node'")
        if tables.fetchone():  # a start that was cut short made none
            until = now_seconds + BELIEVED_SECONDS
            connection.execute(_EXPECT_SIGNS_OF_LIFE, (until, ONLINE))


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
