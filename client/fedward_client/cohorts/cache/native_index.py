"""What the native cache holds, as lines that are only ever appended.

```
CHECK # WRITING                 the first line: names this writing of the file
CHECK + NAME BYTES JSON         an array is there
CHECK - NAME                    it is gone
```
CHECK is a checksum of the rest of its line. A line that a kill cut short, or that was damaged
since, counts as absent: its array is decoded again. When most lines are out of date the file is
written anew, whole or not at all. Whoever appends holds the cache's lock.
"""

import hashlib
import itertools
import json
import os
import secrets
from collections.abc import Iterator, KeysView, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from fedward_common.atomic_files import full_disk_named, write_all, write_atomically

Role = Literal["image", "mask"]

_CHECK_DIGITS = 16
_WORN_LINES = 1000
_BLOCK_BYTES = 4096


@dataclass(frozen=True)
class FileStamp:
    """A file as its writer left it; no program writes to it without changing this."""

    modified_ns: int
    changed_ns: int
    inode: int

    @staticmethod
    def of(status: os.stat_result) -> "FileStamp":
        """Take it from what the system says of a file."""
        return FileStamp(status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True)
class CacheEntry:
    """One decoded array.

    Args:
        name: `entry_name`.
        file_bytes: Of the .npy file.
        dtype: As NumPy writes it, such as `<i2`.
        shape: Of the array.
        pixels_sha256: Of dtype, shape and values alone: equal for equal pixels.
        facts: What the decoder said of it, such as `spacing_mm`.
        stamp: The file's.
    """

    name: str
    file_bytes: int
    dtype: str
    shape: tuple[int, ...]
    pixels_sha256: str
    facts: Mapping[str, Any] = field(repr=False)
    stamp: FileStamp


def entry_name(case_id: str, content: str, role: Role) -> str:
    """Name an array by its case, by what it was decoded from, and by its role."""
    return f"{case_id}-{content}.{role}"


def case_of_name(name: str) -> str:
    """Give the case id in an array's name."""
    return name.partition("-")[0]


def on_disk(file_bytes: int) -> int:
    """Give what a file takes of the disk: whole blocks."""
    return -(-file_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


class NativeIndex:
    """The entries of one cache, as the index file has them; `refresh` reads what others added.

    Entries are kept as their lines and read when asked for, for there may be a million.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[str, tuple[int, bytes]] = {}
        self._used_bytes = 0
        self._num_lines = 0
        self._offset = 0
        self._first_line = b""
        self.refresh()

    @property
    def names(self) -> KeysView[str]:
        """The names of all entries."""
        return self._lines.keys()

    @property
    def used_bytes(self) -> int:
        """What all arrays take of the disk."""
        return self._used_bytes

    def get(self, name: str) -> CacheEntry | None:
        """Give an entry, if it is there."""
        if name not in self._lines:
            return None
        file_bytes, text = self._lines[name]
        table = json.loads(text)
        stamp = FileStamp(*table.pop("stamp"))
        shape = tuple(table.pop("shape"))
        return CacheEntry(name=name, file_bytes=file_bytes, shape=shape, stamp=stamp, **table)

    def used_by(self, name: str) -> int:
        """Give what one array takes of the disk; 0 where there is none."""
        return on_disk(self._lines[name][0]) if name in self._lines else 0

    def refresh(self) -> None:
        """Read the lines that were appended since, or all of a file that was written anew."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            self._forget()
            return
        with file:
            first_line = file.readline()
            if first_line != self._first_line or os.fstat(file.fileno()).st_size < self._offset:
                self._forget()
                self._first_line = first_line
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # being written, or cut short
                    break
                self._offset += len(line)
                self._take(line[:-1])

    def append(self, *changes: CacheEntry | str) -> None:
        """Note entries, and the names of those that are gone.

        Raises:
            DiskFullError: No space; whatever was written of a line counts as nothing.
        """
        text = b"".join(map(_line_of_change, changes))
        with full_disk_named(self._path):
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if not size:
                    text = _first_line() + text
                elif os.pread(descriptor, 1, size - 1) != b"\n":  # a kill cut the last line short
                    text = b"\n" + text
                write_all(descriptor, text)
            finally:
                os.close(descriptor)
        self.refresh()

    def settle(self) -> None:
        """Force the lines to the disk; write the file anew if most of it is out of date."""
        if self._num_lines > 2 * len(self._lines) + _WORN_LINES:
            write_atomically(
                self._path, itertools.chain([_first_line()], self._present_lines()), mode=0o600
            )
            self.refresh()
        elif self._path.exists():
            with full_disk_named(self._path), self._path.open("rb") as file:
                os.fsync(file.fileno())

    def _present_lines(self) -> Iterator[bytes]:
        for name, (file_bytes, text) in self._lines.items():
            yield _line_of(f"+ {name} {file_bytes} ".encode() + text)

    def _forget(self) -> None:
        self._lines = {}
        self._used_bytes = 0
        self._num_lines = 0
        self._offset = 0
        self._first_line = b""

    def _take(self, line: bytes) -> None:
        self._num_lines += 1
        check, _, rest = line.partition(b" ")
        if check != _check_of(rest) or rest.startswith(b"#"):
            return
        sign, name, *described = rest.split(b" ", 3)
        text = name.decode()
        self._used_bytes -= self.used_by(text)
        self._lines.pop(text, None)
        if sign == b"+":
            self._lines[text] = int(described[0]), described[1]
            self._used_bytes += self.used_by(text)


def _first_line() -> bytes:
    return _line_of(f"# {secrets.token_hex(8)}".encode())


def _line_of_change(change: CacheEntry | str) -> bytes:
    if isinstance(change, str):
        return _line_of(f"- {change}".encode())
    table = asdict(change)
    name, file_bytes = cast(str, table.pop("name")), table.pop("file_bytes")
    stamp = change.stamp
    table["stamp"] = [stamp.modified_ns, stamp.changed_ns, stamp.inode]
    text = json.dumps(table, separators=(",", ":"))
    return _line_of(f"+ {name} {file_bytes} {text}".encode())


def _line_of(rest: bytes) -> bytes:
    return _check_of(rest) + b" " + rest + b"\n"


def _check_of(rest: bytes) -> bytes:
    return hashlib.sha256(rest).hexdigest()[:_CHECK_DIGITS].encode()
