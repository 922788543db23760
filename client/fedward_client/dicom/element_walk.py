"""Where the elements of a DICOM data set lie, found without recursion and without reading values.

pydicom descends into nested sequences by calling itself and believes every length it reads. This
walk comes first: depth, number of elements, lengths and size of the header are within limits, or
the file is refused by code. Where files break the rules it reads the encodings as pydicom does;
damage inside a sequence of known length costs that sequence only, as there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Literal

from fedward_client.cohorts.source import E_IMAGE_UNREADABLE, UnusableCaseError

E_HEADER_UNREADABLE = "E_HEADER_UNREADABLE"
E_HEADER_TOO_DEEP = "E_HEADER_TOO_DEEP"
E_HEADER_TOO_LARGE = "E_HEADER_TOO_LARGE"

MAX_NESTING = 64
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_ELEMENTS = 1_000_000

FIRST_PIXEL_TAG, LAST_PIXEL_TAG = 0x7FE00008, 0x7FE00010

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = frozenset({FIRST_PIXEL_TAG, 0x7FE00009, LAST_PIXEL_TAG})
# PS3.5 section 7.1.2: these have four bytes of length behind two reserved ones
_LONG = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_BINARY = frozenset({b"OB", b"OW"})
_WINDOW_BYTES = 64 * 1024


class Window:
    """Some bytes of a file at a time.

    Args:
        size: Of the whole file, in bytes.
        read: Gives `count` bytes from `position` on, fewer at the end: read(position, count).
    """

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self.size = size
        self._read = read
        self._start, self._block = 0, b""

    def bytes_at(self, position: int, count: int) -> bytes:
        """Give `count` bytes from `position` on, fewer where the file ends."""
        offset = position - self._start
        if offset < 0 or offset + count > len(self._block):
            self._start, offset = position, 0
            self._block = self._read(position, max(count, _WINDOW_BYTES))
        return self._block[offset : offset + count]


@dataclass(frozen=True)
class Encoding:
    """How a data set is written."""

    implicit: bool
    little_endian: bool


@dataclass(frozen=True)
class PixelPlace:
    """Where the element of the pixels begins and, if it was walked through, ends."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _Level:
    """What the walk is inside of; an undefined one ends with a delimiter, before `end`."""

    end: int
    undefined: bool
    kind: Literal["elements", "items", "fragments"]
    implicit: bool


class _MalformedError(Exception):
    """The bytes are no element or item, or reach beyond what holds them."""


def looks_explicit(first_bytes: bytes) -> bool:
    """Whether two capital letters stand where an element's VR would; pydicom's own rule."""
    return len(first_bytes) >= 6 and 0x40 < first_bytes[4] < 0x5B and 0x40 < first_bytes[5] < 0x5B


def length_in_meta(head: bytes) -> tuple[int, int]:
    """Give the offset and length of the value of an explicit little-endian element."""
    if head[4:6] in _LONG and len(head) >= 12:
        return 12, int.from_bytes(head[8:12], "little")
    if looks_explicit(head):
        return 8, int.from_bytes(head[6:8], "little")
    return 8, int.from_bytes(head[4:8], "little")  # implicit, seen in real meta information


def find_pixels(
    window: Window, start: int, encoding: Encoding, *, through_pixels: bool
) -> PixelPlace | None:
    """Walk the data set that begins at `start` up to its pixels.

    Args:
        window: Of the file, inflated if need be.
        start: First byte of the data set, behind the file meta information.
        encoding: Of the first element.
        through_pixels: Whether the pixels' length or fragments are walked too.

    Returns:
        Where the pixels are; None if the data set ends without any.

    Raises:
        UnusableCaseError: `E_HEADER_UNREADABLE`, `E_HEADER_TOO_DEEP`, `E_HEADER_TOO_LARGE`;
            `E_IMAGE_UNREADABLE` where the pixels are cut short.
    """
    return _Walk(window, start, encoding, through_pixels).run()


class _Walk:
    def __init__(
        self, window: Window, start: int, encoding: Encoding, through_pixels: bool
    ) -> None:
        self._window = window
        self._through_pixels = through_pixels
        self._start = start
        self._levels = [_Level(window.size, False, "elements", encoding.implicit)]
        self._pixels_begin: int | None = None
        order = "<" if encoding.little_endian else ">"
        self._short = Struct(order + "HH2sH").unpack_from
        self._plain = Struct(order + "HHL").unpack_from
        self._length = Struct(order + "L").unpack_from
        self._item_bytes = b"\xfe\xff\x00\xe0" if encoding.little_endian else b"\xff\xfe\xe0\x00"

    def run(self) -> PixelPlace | None:
        levels, position = self._levels, self._start
        for _ in range(MAX_ELEMENTS):
            while position == levels[-1].end and not levels[-1].undefined:
                if len(levels) == 1:
                    break
                levels.pop()
            if len(levels) == 1:
                if self._pixels_begin is not None:
                    return PixelPlace(self._pixels_begin, position)
                if position == levels[0].end:
                    return None
            try:
                position = self._step(position)
            except _MalformedError:
                position = self._behind_the_damage()
            if len(levels) > 2 * MAX_NESTING + 1:
                raise UnusableCaseError(E_HEADER_TOO_DEEP)
        raise UnusableCaseError(E_HEADER_TOO_LARGE)

    def _step(self, position: int) -> int:
        level = self._levels[-1]
        if level.kind == "elements":
            return self._element(position, level)
        return self._item(position, level)

    def _element(self, position: int, level: _Level) -> int:
        head = self._window.bytes_at(position, 16)
        top = len(self._levels) == 1
        if top and len(head) < 8 and not any(head):
            return level.end  # padding
        tag, vr, length, value = self._described(head, level.implicit)
        value += position
        if tag == _ITEM_END:
            return self._closed(level, value)
        if top and tag in _PIXELS:
            self._pixels_begin = position
            if not self._through_pixels:
                return value
        else:
            reach = value + length if top and length != _UNDEFINED else position
            if reach - self._start > MAX_HEADER_BYTES:
                raise UnusableCaseError(E_HEADER_TOO_LARGE)
        if length == _UNDEFINED:
            fragments = vr in _BINARY or tag in _PIXELS
            self._enter(level.end, True, "fragments" if fragments else "items", level.implicit)
            return value
        if value + length > level.end:
            raise _MalformedError
        if length and self._is_sequence(vr, head[value - position :]):
            self._enter(value + length, False, "items", level.implicit)
            return value
        return value + length

    def _described(self, head: bytes, implicit: bool) -> tuple[int, bytes | None, int, int]:
        """Give tag, VR (None where there is none), length, and offset of the value."""
        if len(head) < 8:
            raise _MalformedError
        if not implicit:
            group, element, vr, length = self._short(head)
            if vr in _LONG:
                if len(head) < 12:
                    raise _MalformedError
                return group << 16 | element, vr, self._length(head, 8)[0], 12
            # as pydicom: two other letters are a VR to come, anything else an implicit element
            if b"AA" <= vr <= b"ZZ":
                return group << 16 | element, vr, length, 8
        group, element, length = self._plain(head)
        return group << 16 | element, None, length, 8

    def _is_sequence(self, vr: bytes | None, value: bytes) -> bool:
        if vr is None or vr == b"UN":
            return value.startswith(self._item_bytes)
        return vr == b"SQ"

    def _item(self, position: int, level: _Level) -> int:
        head = self._window.bytes_at(position, 16)
        if len(head) < 8:
            raise _MalformedError
        group, element, length = self._plain(head)
        tag, value = group << 16 | element, position + 8
        if tag == _SEQUENCE_END:
            return self._closed(level, value)
        if tag != _ITEM:
            raise _MalformedError
        undefined = length == _UNDEFINED
        if not undefined and value + length > level.end:
            raise _MalformedError
        if level.kind == "fragments":
            if undefined:
                raise _MalformedError
            return int(value + length)
        implicit = level.implicit or not looks_explicit(head[8:])
        self._enter(level.end if undefined else value + length, undefined, "elements", implicit)
        return value

    def _enter(
        self,
        end: int,
        undefined: bool,
        kind: Literal["elements", "items", "fragments"],
        implicit: bool,
    ) -> None:
        self._levels.append(_Level(end, undefined, kind, implicit))

    def _closed(self, level: _Level, behind: int) -> int:
        if not level.undefined or behind > level.end:
            raise _MalformedError
        self._levels.pop()
        return behind

    def _behind_the_damage(self) -> int:
        """Leave the outermost sequence of known length; refuse the file if there is none."""
        for number, level in enumerate(self._levels[1:], start=1):
            if not level.undefined:
                del self._levels[number:]
                return level.end
        code = E_HEADER_UNREADABLE if self._pixels_begin is None else E_IMAGE_UNREADABLE
        raise UnusableCaseError(code)
