"""Append-only lines, each naming the hash of the one before.

One canonical JSON object a line, fsynced before `append` returns. A line that a crash cut short was
never acknowledged: it is dropped when the file is opened again. A change to any line but the last
is found and the file is refused, with the line's number; the last has nobody to vouch for it.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from fedward_common.atomic_files import full_disk_named, sync_folder, write_all
from fedward_common.errors import CorruptFileError, LockedError

_START = "0" * 64
_CHAIN_KEYS = ("index", "previous")


class ChainedLines:
    """A hash-chained file, open for one writer.

    Raises:
        LockedError: Another process has it open.
        CorruptFileError: A line does not follow from the one before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        existed = path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._lock()
            self._entries, self._last, intact = _verified_lines(path)
            if intact < path.stat().st_size:
                os.ftruncate(self._descriptor, intact)
                os.fsync(self._descriptor)
            self._size = intact
            if not existed:
                sync_folder(path.parent)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                f"{self.path.parent} is in use by another process",
                hint="wait for it to end, or choose another --out folder",
            ) from error

    def __enter__(self) -> "ChainedLines":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def entries(self) -> Iterator[dict[str, Any]]:
        """Give what was appended, oldest first."""
        yield from self._entries

    def append(self, entry: dict[str, Any]) -> None:
        """Add one entry; when this returns it survives a power cut.

        Args:
            entry: JSON values under any keys but `index` and `previous`, the chain's own.

        Raises:
            DiskFullError: Nothing was added.
        """
        if not entry.keys().isdisjoint(_CHAIN_KEYS):
            raise ValueError("'index' and 'previous' are the chain's own keys")
        chained = {"index": len(self._entries), "previous": self._last, **entry}
        line = _encode(chained)
        with full_disk_named(self.path):
            try:
                write_all(self._descriptor, line + b"\n")
                os.fsync(self._descriptor)
            # Ctrl-C as well: a line nobody knows of would make the next one a forgery.
            except BaseException:
                os.ftruncate(self._descriptor, self._size)
                raise
            self._size += len(line) + 1
            self._last = _hash_of(line)
            self._entries.append(chained)


def _encode(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _hash_of(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _verified_lines(path: Path) -> tuple[list[dict[str, Any]], str, int]:
    content = path.read_bytes()
    intact = content.rfind(b"\n") + 1
    lines = content[:intact].split(b"\n")[:-1]
    entries = [_entry_of(path, number, line) for number, line in enumerate(lines, start=1)]
    hashes = [_START, *map(_hash_of, lines)]
    for number, entry in enumerate(entries, start=1):
        if entry["previous"] != hashes[number - 1]:
            raise _changed(path, _suspects(entries, hashes, number))
    return entries, hashes[-1], intact


def _suspects(entries: list[dict[str, Any]], hashes: list[str], number: int) -> str:
    """Line `number` does not name the hash of the one before; say which of the two was changed."""
    if number == 1:
        return "1"
    if number == len(entries):
        return f"{number - 1} or {number}"
    vouched_for = entries[number]["previous"] == hashes[number]
    return str(number - 1 if vouched_for else number)


def _entry_of(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        canonical = isinstance(entry, dict) and _encode(entry) == line
    except (ValueError, RecursionError) as error:
        raise _changed(path, str(number)) from error
    if not canonical or entry.get("index") != number - 1 or "previous" not in entry:
        raise _changed(path, str(number))
    return entry  # type: ignore[no-any-return]


def _changed(path: Path, line: str) -> CorruptFileError:
    return CorruptFileError(
        f"{path} line {line} was changed after it was written",
        hint="restore the file, or start the run anew in another folder",
    )
