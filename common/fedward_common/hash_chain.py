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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from fedward_common.atomic_files import full_disk_named, sync_folder, write_all
from fedward_common.errors import CorruptFileError, LockedError

_START = "0" * 64
_CHAIN_KEYS = ("index", "previous")


@dataclass(frozen=True)
class VerifiedLines:
    """Lines that were verified once: where a file still begins with these bytes, they are again.

    Args:
        size: Of the lines, in bytes.
        sha256: Of these bytes.
        entries: What the lines say, with the chain's own keys.
        head: SHA-256 of the last line.
    """

    size: int
    sha256: str
    entries: tuple[dict[str, Any], ...]
    head: str


_NO_LINES = VerifiedLines(0, hashlib.sha256().hexdigest(), (), _START)


class ChainedLines:
    """A hash-chained file, open for one writer.

    Args:
        path: The file; made if it is not there.
        known: What an earlier opening verified (`verified`): its lines are not parsed again.
        at_least: Lines that are known to have been appended. A file with fewer is refused and left
            as it is: its last line was cut by somebody, not by a crash.

    Raises:
        LockedError: Another process has it open.
        CorruptFileError: A line does not follow from the one before, or lines are gone.
    """

    def __init__(self, path: Path, *, at_least: int = 0, known: VerifiedLines = _NO_LINES) -> None:
        self.path = path
        existed = path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._lock()
            content = path.read_bytes()
            if hashlib.sha256(content[: known.size]).hexdigest() != known.sha256:
                known = _NO_LINES
            self.num_known = len(known.entries)
            self._entries, self._last, intact = _verified_lines(path, content, known)
            self._digest = hashlib.sha256(content[:intact])
            if len(self._entries) < at_least:
                raise _cut(path, len(self._entries), at_least)
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

    @property
    def head(self) -> str:
        """SHA-256 of the last line, in hex; 64 zeros for an empty file."""
        return self._last

    def verified(self) -> VerifiedLines:
        """Give what the next opening need not verify again."""
        return VerifiedLines(self._size, self._digest.hexdigest(), tuple(self._entries), self._last)

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
            self._digest.update(line + b"\n")
            self._last = _hash_of(line)
            self._entries.append(chained)


def _encode(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _hash_of(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _verified_lines(
    path: Path, content: bytes, known: VerifiedLines
) -> tuple[list[dict[str, Any]], str, int]:
    intact = content.rfind(b"\n") + 1
    lines = content[known.size : intact].split(b"\n")[:-1]
    first = len(known.entries) + 1
    new = [_entry_of(path, number, line) for number, line in enumerate(lines, start=first)]
    entries = [*known.entries, *new]
    hashes = [*(e["previous"] for e in known.entries), known.head, *map(_hash_of, lines)]
    for number, entry in enumerate(new, start=first):
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
        hint="keep it for whoever looks into this, and restore the file from its backup",
    )


def _cut(path: Path, found: int, at_least: int) -> CorruptFileError:
    return CorruptFileError(
        f"{path} has {found} whole lines, {at_least} were written: it was cut or rolled back",
        hint="restore the file as it was last written",
    )
