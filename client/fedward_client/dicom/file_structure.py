"""What lies where in one open DICOM file: preamble, file meta information, data set, pixels.

A preamble may be missing; everything else must be as DICOM says, since pydicom with `force` "reads"
any file at all. A deflated data set is inflated within a limit.
"""

import io
import os
import zlib
from collections.abc import Callable
from struct import unpack
from typing import Any

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.element_walk import (
    E_HEADER_TOO_LARGE,
    E_HEADER_UNREADABLE,
    Encoding,
    PixelPlace,
    Window,
    find_pixels,
    length_in_meta,
    looks_explicit,
)

E_INFLATED_TOO_LARGE = "E_INFLATED_TOO_LARGE"
E_NOT_DICOM = "E_NOT_DICOM"

MAX_INFLATED_BYTES = 256 * 1024 * 1024

_BLOCK_BYTES = 1024 * 1024
_MAX_META_BYTES = 1024 * 1024
_TRANSFER_SYNTAX = 0x00020010
_BIG_ENDIAN = b"1.2.840.10008.1.2.2"
_DEFLATED = b"1.2.840.10008.1.2.1.99"


class FileStructure:
    """The structure of one open file, found on construction.

    Raises:
        UnusableCaseError: `E_NOT_DICOM`, `E_HEADER_UNREADABLE`, `E_HEADER_TOO_LARGE`,
            `E_INFLATED_TOO_LARGE`.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size = descriptor, size
        self._window = Window(size, self._read)
        syntax, self._start = _walk_meta(self._window, _begin_of_meta(self._window))
        self.deflated = syntax == _DEFLATED
        if self.deflated:
            content = self._inflated()
            self._window, self._start = Window(len(content), _reader_of(content)), 0
        first_bytes = self._window.bytes_at(self._start, 6)
        self._encoding = Encoding(
            # as pydicom: what stands there counts, not what the transfer syntax says
            implicit=not looks_explicit(first_bytes),
            little_endian=syntax != _BIG_ENDIAN and (bool(syntax) or not _high_group(first_bytes)),
        )

    def find_pixels(self, *, through_pixels: bool) -> PixelPlace | None:
        """Walk the data set; see `element_walk.find_pixels`."""
        return find_pixels(self._window, self._start, self._encoding, through_pixels=through_pixels)

    def head(self, pixels: PixelPlace | None) -> io.BytesIO:
        """Give the file up to its pixels; all of a deflated one."""
        if self.deflated:
            return io.BytesIO(self._read(0, self._size))
        return io.BytesIO(self._window.bytes_at(0, pixels.begin if pixels else self._size))

    def through(self, pixels: PixelPlace | None) -> io.BufferedReader:
        """Give the file up to the end of its pixels, read as it is asked for; see `head`."""
        end = self._size if pixels is None or self.deflated else pixels.end
        return io.BufferedReader(_FileBegin(self._descriptor, end), _BLOCK_BYTES)

    def _read(self, position: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, position)

    def _inflated(self) -> bytes:
        """Inflate from where pydicom will: all behind the meta information (PS3.5 section A.5)."""
        if self._size > MAX_INFLATED_BYTES:
            raise UnusableCaseError(E_INFLATED_TOO_LARGE)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # no zlib header
        content, position, packed = bytearray(), self._start, b""
        while not inflater.eof:
            if not packed:
                packed = self._read(position, _BLOCK_BYTES)
                position += len(packed)
                if not packed:
                    raise UnusableCaseError(E_HEADER_UNREADABLE)
            content += inflater.decompress(packed, _BLOCK_BYTES)
            packed = inflater.unconsumed_tail
            if len(content) > MAX_INFLATED_BYTES:
                raise UnusableCaseError(E_INFLATED_TOO_LARGE)
        return bytes(content)


class _FileBegin(io.RawIOBase):
    """The first bytes of an open file, as if nothing followed."""

    name = ""  # pydicom wants one

    def __init__(self, descriptor: int, end: int) -> None:
        super().__init__()
        self._descriptor, self._end = descriptor, end
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, room: Any) -> int:
        count = max(min(len(room), self._end - self._position), 0)
        num_read = os.preadv(self._descriptor, [memoryview(room)[:count]], self._position)
        self._position += num_read
        return num_read


def _reader_of(content: bytes) -> Callable[[int, int], bytes]:
    return lambda position, count: content[position : position + count]


def _begin_of_meta(window: Window) -> int:
    first_bytes = window.bytes_at(0, 132)
    if first_bytes[128:] == b"DICM":
        return 132
    if first_bytes[:2] in (b"\x02\x00", b"\x08\x00"):  # group 0002 or 0008: only the preamble lacks
        return 0
    raise UnusableCaseError(E_NOT_DICOM)


def _walk_meta(window: Window, begin: int) -> tuple[bytes, int]:
    """Give the transfer syntax, empty where it is not named, and where the data set begins.

    Believes no group length, as pydicom; steps over command elements (group 0000) too.
    """
    syntax, position = b"", begin
    while len(head := window.bytes_at(position, 12)) >= 8:
        group, element = unpack("<HH", head[:4])
        if group not in (0, 2):
            break
        offset, length = length_in_meta(head) if group == 2 else (8, unpack("<L", head[4:8])[0])
        end = position + offset + length
        if end - begin > _MAX_META_BYTES:
            raise UnusableCaseError(E_HEADER_TOO_LARGE)
        if end > window.size:
            raise UnusableCaseError(E_HEADER_UNREADABLE)
        if group << 16 | element == _TRANSFER_SYNTAX:
            syntax = window.bytes_at(position + offset, length).strip(b"\0 ")
        position = end
    return syntax, position


def _high_group(first_bytes: bytes) -> bool:
    """Without a transfer syntax, pydicom takes a first group above 0x0400 for big-endian."""
    return len(first_bytes) >= 6 and looks_explicit(first_bytes) and first_bytes[1] >= 4
