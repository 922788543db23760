"""Files of one round that are unreadable once the round's key is gone.

Every file is sealed under a key derived from the key of the round and a salt of its own. To destroy
the round is to overwrite and remove that one small key first; what remains of the other files, in a
backup or in blocks that a disk kept, is noise. (A disk that keeps old versions of overwritten
blocks may keep the key as well; full-disk encryption is the answer to that.)

A file that is written whole is sealed in blocks, so that a vector needs no second copy. The key of
a block is bound to its place and to whether it is the last: blocks that were cut off, swapped,
repeated or taken from another file do not open.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fedward_common.atomic_files import full_disk_named, sync_folder, write_all, write_atomically
from fedward_common.crypto.key_derivation import derive_key
from fedward_common.crypto.sealing import TAG_BYTES, open_sealed, seal, seal_into
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import CorruptFileError, UnverifiedMessageError

_KEY = "round.key"
_SEALED = ".sealed"
_LABEL = "fedward round vault v1"
_BLOCK_LABEL = "fedward round vault block v1"
_KEY_BYTES = 32
_SALT_BYTES = 16
_LENGTH_BYTES = 8
# A second-level cache holds a block, plain and sealed.
_BLOCK_BYTES = 1 << 18
# A smaller file is as fast to make as to move.
_SPARE_FROM_BYTES = 1 << 16


_Identity = tuple[int, int, int, int]


@dataclass
class RoundVault:
    """A folder of sealed files.

    What it remembers of them counts as long as they are the same: another process of the site may
    write or destroy them between two calls.

    Args:
        folder: Of this round alone; made when something is written.
        durable: Whether a write must outlive a power cut, and not the process alone.
        spare: Where the largest sealed file stays whose key was destroyed, for the next that is
            written, unless it has to be durable: new blocks of a disk take many times as long.
            None for nowhere.
    """

    folder: Path
    durable: bool = True
    spare: Path | None = None
    _key: tuple[_Identity, SecretBytes] | None = field(default=None, init=False, repr=False)
    _paths: dict[str, Path] = field(default_factory=dict, init=False, repr=False)
    _last: dict[str, tuple[int, int]] = field(default_factory=dict, init=False, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether the round's key is there."""
        return self.identity(_KEY) is not None

    def identity(self, name: str) -> _Identity | None:
        """Give what changes with every write of a file; None where it is not there."""
        try:
            state = self._path(name).stat()
        except FileNotFoundError:
            return None
        return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns

    def sealed_identity(self, name: str) -> tuple[_Identity, _Identity] | None:
        """Give that of a sealed file and of the key that opens it; None where one is gone."""
        key, file = self.identity(_KEY), self.identity(name)
        return None if key is None or file is None else (key, file)

    def write(self, name: str, *parts: bytes | memoryview) -> None:
        """Seal a file, in place of the one of this name.

        Args:
            name: Of the file.
            parts: Its content, one behind the other; no second copy of it is made.

        Raises:
            DiskFullError: No space; the old file is untouched.
        """
        round_key, salt = self._round_key(), os.urandom(_SALT_BYTES)
        blocks = _sealed_blocks(round_key, salt, name, parts)
        write_whole(self._path(name), blocks, durable=self.durable, over=self.spare)

    def read_into(self, name: str, *places: memoryview) -> bool:
        """Open a file into memory of the caller, without a second copy of it.

        Args:
            name: Of the file.
            places: Where its content goes, one behind the other.

        Returns:
            Whether it is there, with its key, and exactly as long as all places together. If not,
            what the places hold means nothing.

        Raises:
            CorruptFileError: It is not what was sealed; what the places hold means nothing.
        """
        file = self._file(name)
        if file is None:
            return False
        with file:
            return _fill(places, self._opened_blocks(name, file))

    def _file(self, name: str) -> BinaryIO | None:
        try:
            return self._path(name).open("rb") if self.is_open else None
        except FileNotFoundError:
            return None

    def _opened_blocks(self, name: str, file: BinaryIO) -> Iterator[bytes]:
        """Open one block after the other; a file that was cut has no last one."""
        round_key, salt = self._round_key(), file.read(_SALT_BYTES)
        bytes_left = os.fstat(file.fileno()).st_size - _SALT_BYTES
        for place in itertools.count():
            sealed = file.read(_BLOCK_BYTES + TAG_BYTES)
            bytes_left -= len(sealed)
            is_last = bytes_left <= 0
            key = _block_key(round_key, salt, place, is_last, name)
            try:
                yield open_sealed(key, sealed, associated=name.encode())
            except UnverifiedMessageError as error:
                raise self._damaged(name) from error
            if is_last:
                return

    def _damaged(self, name: str) -> CorruptFileError:
        return CorruptFileError(
            f"{self._path(name)} is not what was written", hint="the round cannot go on here"
        )

    def _opened(self, name: str, content: memoryview) -> bytes:
        salt, sealed = bytes(content[:_SALT_BYTES]), content[_SALT_BYTES:]
        try:
            key = self._key_of(salt, name)
            return open_sealed(key, sealed, associated=name.encode())
        except UnverifiedMessageError as error:
            raise self._damaged(name) from error

    def append(self, name: str, content: bytes) -> None:
        """Seal a small record behind the others of a file; `latest` gives it.

        A third of the time of `write`, for what changes with every message. A record that a crash
        cut short was never acknowledged: it is cut off before the next one is written.

        Raises:
            DiskFullError: No space; the records before are untouched.
        """
        salt = os.urandom(_SALT_BYTES)
        sealed = seal(self._key_of(salt, name), content, associated=name.encode())
        record = len(sealed).to_bytes(_LENGTH_BYTES, "big") + salt + sealed
        with full_disk_named(self._path(name)):
            file = os.open(self._path(name), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                end = self._end_of(name, file)
                self._append_at(file, record, end)
                self._last[name] = end, end + len(record)
            finally:
                os.close(file)
            if self.durable and end == 0:
                sync_folder(self.folder)

    def _end_of(self, name: str, file: int) -> int:
        """Give where the last whole record ends: at the end of what was written here, or else."""
        start, end = self._last.get(name, (0, 0))
        is_last = end and os.fstat(file).st_size == end == _end_of_record(file, start)
        return end if is_last else _last_record(file)[1]

    def _append_at(self, file: int, record: bytes, end: int) -> None:
        try:
            _write_at(file, record, end)
        except OSError:
            os.ftruncate(file, end)
            raise
        if os.fstat(file).st_size != end + len(record):
            os.ftruncate(file, end + len(record))
        if self.durable:
            os.fsync(file)

    def latest(self, name: str) -> bytes | None:
        """Open the last whole record; None where there is none, or the round's key is gone.

        Raises:
            CorruptFileError: It is not what was sealed.
        """
        if not self.is_open:
            return None
        try:
            file = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            start, end = _last_record(file)
            record = os.pread(file, end - start, start)[_LENGTH_BYTES:]
        finally:
            os.close(file)
        return self._opened(name, memoryview(record)) if record else None

    def destroy(self) -> None:
        """Destroy the key, then remove what was sealed; other files of the folder stay."""
        self._destroy(lambda name: name.endswith(_SEALED))

    def forget(self) -> None:
        """Destroy the folder with all that is in it."""
        self._destroy(lambda _: True)
        self.folder.rmdir()
        if self.durable:
            sync_folder(self.folder.parent)

    def _destroy(self, goes: Callable[[str], bool]) -> None:
        self._key = None
        names = names_in(self.folder)
        if _KEY in names:
            path = self._path(_KEY)
            with path.open("r+b", buffering=0) as file:
                file.write(bytes(_KEY_BYTES))
                if self.durable:
                    os.fsync(file.fileno())
            path.unlink()
        for name in names:
            if name != _KEY and goes(name):
                self._remove(self._path(name))

    def _remove(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._can_be_spare(path):
                path.replace(self.spare)  # type: ignore[arg-type]  # there is one
            else:
                path.unlink()

    def _can_be_spare(self, path: Path) -> bool:
        if self.spare is None or path.suffix != _SEALED:
            return False
        kept_bytes = self.spare.stat().st_size if self.spare.exists() else 0
        return path.stat().st_size >= max(_SPARE_FROM_BYTES, kept_bytes)

    def _path(self, name: str) -> Path:
        # To make a path costs more than to look at its file.
        if name not in self._paths:
            self._paths[name] = self.folder / name
        return self._paths[name]

    def _key_of(self, salt: bytes, name: str) -> SecretBytes:
        return derive_key(self._round_key(), label=_LABEL, context=salt + name.encode())

    def _round_key(self) -> SecretBytes:
        identity = self.identity(_KEY)
        if identity is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._path(_KEY), (os.urandom(_KEY_BYTES),), durable=self.durable)
            identity = self.identity(_KEY)
        elif self._key is not None and self._key[0] == identity:
            return self._key[1]
        path = self._path(_KEY)
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise CorruptFileError(f"{path} is no key", hint="the round cannot go on here")
        known = SecretBytes(key)
        self._key = None if identity is None else (identity, known)
        return known


def write_whole(
    path: Path, blocks: Iterable[bytes | memoryview], *, durable: bool, over: Path | None = None
) -> None:
    """Write a file of its owner alone, whole or not at all.

    Args:
        path: Its folder exists.
        blocks: Its content, in order.
        durable: Whether it must outlive a power cut, and not the process alone.
        over: A file of the same disk that nobody needs, if it is there: what need not be durable
            is written over it.

    Raises:
        DiskFullError: No space; the old file is untouched.
    """
    if durable:
        write_atomically(path, blocks, mode=0o600)
        return
    temporary = path.with_name(f".{path.name}.tmp")
    with full_disk_named(path):
        if over is not None:
            with contextlib.suppress(FileNotFoundError):
                over.rename(temporary)
        file = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            for block in blocks:
                write_all(file, block)
            os.ftruncate(file, os.lseek(file, 0, os.SEEK_CUR))
        finally:
            os.close(file)
        temporary.replace(path)


def names_in(folder: Path) -> list[str]:
    """Give the names in a folder; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []


def _last_record(file: int) -> tuple[int, int]:
    """Give where the last whole record begins and ends; 0 and 0 where there is none."""
    size, start, end = os.fstat(file).st_size, 0, 0
    while end + _LENGTH_BYTES <= size:
        following = _end_of_record(file, end)
        if following > size:
            break
        start, end = end, following
    return start, end


def _end_of_record(file: int, start: int) -> int:
    length = int.from_bytes(os.pread(file, _LENGTH_BYTES, start), "big")
    return start + _LENGTH_BYTES + _SALT_BYTES + length


def _write_at(file: int, record: bytes, at: int) -> None:
    view = memoryview(record)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def _block_key(
    round_key: SecretBytes, salt: bytes, place: int, is_last: bool, name: str
) -> SecretBytes:
    """Derive the key that seals one block and nothing else."""
    context = salt + place.to_bytes(8, "big") + bytes((is_last,)) + name.encode()
    return derive_key(round_key, label=_BLOCK_LABEL, context=context)


def _sealed_blocks(
    round_key: SecretBytes, salt: bytes, name: str, parts: Sequence[bytes | memoryview]
) -> Iterator[bytes | memoryview]:
    """Give the salt, then joined parts sealed in blocks of one length; the last may be shorter.

    Each block lies in the memory of the one before: it is to be written before the next is taken.
    """
    num_bytes = sum(memoryview(part).nbytes for part in parts)
    num_blocks = max(1, -(-num_bytes // _BLOCK_BYTES))
    yield salt
    size = min(num_bytes, _BLOCK_BYTES)
    room = memoryview(bytearray(size + TAG_BYTES))
    for place, block in enumerate(_in_blocks(parts, memoryview(bytearray(size)))):
        key = _block_key(round_key, salt, place, place + 1 == num_blocks, name)
        yield seal_into(key, block, associated=name.encode(), room=room)


def _in_blocks(parts: Iterable[bytes | memoryview], block: memoryview) -> Iterator[memoryview]:
    """Cut joined parts into blocks, each in the memory of the one before; at least one comes."""
    filled = 0
    for part in parts:
        view = memoryview(part).cast("B")
        while view:
            if filled == len(block):
                yield block
                filled = 0
            size = min(len(view), len(block) - filled)
            block[filled : filled + size] = view[:size]
            view, filled = view[size:], filled + size
    yield block[:filled]


def _fill(places: Iterable[memoryview], blocks: Iterator[bytes]) -> bool:
    """Copy blocks to their places; say whether they are exactly as long."""
    block = memoryview(b"")
    for place in places:
        room = place.cast("B")
        while room:
            block = block or memoryview(next(blocks, b""))
            if not block:
                return False
            size = min(len(room), len(block))
            room[:size] = block[:size]
            room, block = room[size:], block[size:]
    return not block and not any(blocks)


def forget_vault(folder: Path, *, durable: bool = True) -> None:
    """Destroy a round's folder with all that is in it."""
    RoundVault(folder, durable).forget()
