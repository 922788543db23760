"""Append-only lines, each naming the hash of the one before.

One canonical JSON object a line, fsynced before `append` returns. A line that a crash cut short was
never acknowledged: it is dropped when the file is opened again. Any other change is found and the
file is refused, with the line's number.
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

        Raises:
            DiskFullError: Nothing was added.
        """
        chained = {"index": len(self._entries), "previous": self._last, **entry}
        line = _encode(chained)
        with full_disk_named(self.path):
            try:
                write_all(self._descriptor, line + b"\n")
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._size)
                raise
        self._size += len(line) + 1
        self._last = hashlib.sha256(line).hexdigest()
        self._entries.append(chained)


def _encode(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _verified_lines(path: Path) -> tuple[list[dict[str, Any]], str, int]:
    content = path.read_bytes()
    intact = content.rfind(b"\n") + 1
    entries: list[dict[str, Any]] = []
    last = _START
    for number, line in enumerate(content[:intact].split(b"\n")[:-1], start=1):
        entry = _verified_line(path, number, line, last)
        last = hashlib.sha256(line).hexdigest()
        entries.append(entry)
    return entries, last, intact


def _verified_line(path: Path, number: int, line: bytes, last: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _changed(path, number) from error
    follows = (
        isinstance(entry, dict)
        and entry.get("previous") == last
        and entry.get("index") == number - 1
        and _encode(entry) == line
    )
    if not follows:
        raise _changed(path, number)
    return entry  # type: ignore[no-any-return]


def _changed(path: Path, number: int) -> CorruptFileError:
    return CorruptFileError(
        f"{path} line {number} was changed after it was written",
        hint="restore the file, or start the run anew in another folder",
    )
