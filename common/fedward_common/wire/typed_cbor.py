"""Canonical CBOR of dataclasses, written and read by their types in one pass.

`canonical_cbor` looks at every value several times: it knows nothing of what should come. Where a
dataclass says it, its keys are fixed bytes in a fixed order, and each field has one way to be
written and read. What is unusual here raises `UnusualError`; the caller then goes the general way,
which gives the same bytes and values, or says what is wrong.
"""

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

# A frozen dataclass with an attribute of this name and no type, so that it is no field of it, is
# encoded once: it remembers its bytes.
REMEMBERS_BYTES = "remembers_canonical_bytes"
_REMEMBERED = "_canonical_bytes"

T = TypeVar("T")

Write = Callable[[Any, list[bytes]], None]
Read = Callable[[bytes, int], tuple[Any, int]]

# Major types of RFC 8949 section 3.1 in their place in a head, and three simple values.
_NUMBER, _BYTES, _TEXT, _LIST, _MAP = 0x00, 0x40, 0x60, 0x80, 0xA0
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_NEXT_BYTE = 24
# No number of a message is larger: `settings` takes none.
_NUMBERS_END = 1 << 63


class UnusualError(ValueError):
    """A value or its bytes are not of the usual form; it says nothing of what is wrong."""


def encode_typed(value: object) -> bytes:
    """Give the canonical bytes of a dataclass.

    Raises:
        UnusualError: A field holds something else than its type says.
    """
    parts: list[bytes] = []
    kind: Any = type(value)
    try:
        _ways_of(kind)[0](value, parts)
    except (ValueError, TypeError) as error:
        raise UnusualError from error
    return b"".join(parts)


def decode_typed(kind: type[T], unverified: bytes) -> T:
    """Rebuild a dataclass from bytes that anybody may have made.

    Raises:
        UnusualError: They are not its canonical encoding, or a value is not of its type.
        Exception: Whatever the dataclass raises for a value that it does not take.
    """
    wanted: Any = kind
    try:
        value, end = _ways_of(wanted)[1](unverified, 0)
    except (IndexError, UnicodeDecodeError) as error:
        raise UnusualError from error
    if end != len(unverified):  # also where a length went beyond the end
        raise UnusualError
    return value  # type: ignore[no-any-return]


@functools.cache
def _ways_of(wanted: Any) -> tuple[Write, Read]:
    """Find once how values of a type are written and read."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted in _PLAIN:
        return _PLAIN[wanted]
    if dataclasses.is_dataclass(wanted):
        return _table_ways(wanted)
    if origin is Literal and all(type(a) is str for a in arguments):
        return _literal_ways(frozenset(arguments))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _list_ways(*_ways_of(arguments[0]))
    if origin in (dict, Mapping) and arguments[0] is str:
        return _map_ways(*_ways_of(arguments[1]))
    if origin in (Union, types.UnionType) and len(arguments) == 2 and arguments[1] is type(None):
        return _optional_ways(*_ways_of(arguments[0]))
    raise UnusualError


def _head(major: int, argument: int) -> bytes:
    """Give the shortest head (RFC 8949 section 4.2.1)."""
    if argument < _NEXT_BYTE:
        return bytes((major | argument,))
    if argument < 1 << 16:
        if argument < 1 << 8:
            return bytes((major | _NEXT_BYTE, argument))
        return bytes((major | _NEXT_BYTE + 1, argument >> 8, argument & 0xFF))
    size = (argument.bit_length() - 1).bit_length() - 3
    return bytes((major | _NEXT_BYTE + size,)) + argument.to_bytes(1 << size, "big")


_SMALL_HEADS = {
    major: [_head(major, argument) for argument in range(256)]
    for major in (_NUMBER, _BYTES, _TEXT, _LIST, _MAP)
}
_TEXT_HEADS, _BYTES_HEADS = _SMALL_HEADS[_TEXT], _SMALL_HEADS[_BYTES]


def _argument_at(unverified: bytes, at: int, major: int) -> tuple[int, int]:
    """Read a head of one major type; give its argument and where it ends."""
    short = unverified[at] - major
    at += 1
    if 0 <= short < _NEXT_BYTE:
        return short, at
    if not _NEXT_BYTE <= short <= _NEXT_BYTE + 3:
        raise UnusualError
    end = at + (1 << short - _NEXT_BYTE)
    argument = int.from_bytes(unverified[at:end], "big")
    if end > len(unverified) or len(_head(major, argument)) != end - at + 1:
        raise UnusualError
    return argument, end


def _write_bytes(value: Any, parts: list[bytes]) -> None:
    if type(value) is not bytes:
        raise UnusualError
    length = len(value)
    parts.append(_BYTES_HEADS[length] if length < 256 else _head(_BYTES, length))
    parts.append(value)


def _read_bytes(unverified: bytes, at: int) -> tuple[bytes, int]:
    if unverified[at] == _BYTES | _NEXT_BYTE + 1:  # most are some hundred or thousand bytes
        length, at = unverified[at + 1] << 8 | unverified[at + 2], at + 3
        if length < 1 << 8:
            raise UnusualError
    else:
        length, at = _argument_at(unverified, at, _BYTES)
    end = at + length
    return unverified[at:end], end


def _write_text(value: Any, parts: list[bytes]) -> None:
    if type(value) is not str:
        raise UnusualError
    content = value.encode()
    length = len(content)
    parts.append(_TEXT_HEADS[length] if length < 256 else _head(_TEXT, length))
    parts.append(content)


def _read_text(unverified: bytes, at: int) -> tuple[str, int]:
    length, at = _argument_at(unverified, at, _TEXT)
    end = at + length
    return unverified[at:end].decode(), end


def _write_number(value: Any, parts: list[bytes]) -> None:
    if type(value) is not int or not 0 <= value < _NUMBERS_END:
        raise UnusualError
    parts.append(_head(_NUMBER, value))


def _read_number(unverified: bytes, at: int) -> tuple[int, int]:
    value, end = _argument_at(unverified, at, _NUMBER)
    if value >= _NUMBERS_END:
        raise UnusualError
    return value, end


def _write_truth(value: Any, parts: list[bytes]) -> None:
    if type(value) is not bool:
        raise UnusualError
    parts.append(b"\xf5" if value else b"\xf4")


def _read_truth(unverified: bytes, at: int) -> tuple[bool, int]:
    first = unverified[at]
    if first not in (_FALSE, _TRUE):
        raise UnusualError
    return first == _TRUE, at + 1


_PLAIN: dict[Any, tuple[Write, Read]] = {
    bytes: (_write_bytes, _read_bytes),
    str: (_write_text, _read_text),
    int: (_write_number, _read_number),
    bool: (_write_truth, _read_truth),
}


def _literal_ways(allowed: frozenset[str]) -> tuple[Write, Read]:
    def write(value: Any, parts: list[bytes]) -> None:
        if value not in allowed:
            raise UnusualError
        _write_text(value, parts)

    def read(unverified: bytes, at: int) -> tuple[str, int]:
        value, end = _read_text(unverified, at)
        if value not in allowed:
            raise UnusualError
        return value, end

    return write, read


def _optional_ways(write_item: Write, read_item: Read) -> tuple[Write, Read]:
    def write(value: Any, parts: list[bytes]) -> None:
        if value is None:
            parts.append(b"\xf6")
        else:
            write_item(value, parts)

    def read(unverified: bytes, at: int) -> tuple[Any, int]:
        return (None, at + 1) if unverified[at] == _NULL else read_item(unverified, at)

    return write, read


def _list_ways(write_item: Write, read_item: Read) -> tuple[Write, Read]:
    def write(value: Any, parts: list[bytes]) -> None:
        if type(value) is not tuple:
            raise UnusualError
        parts.append(_head(_LIST, len(value)))
        for item in value:
            write_item(item, parts)

    def read(unverified: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        count, at = _argument_at(unverified, at, _LIST)
        items = []
        for _ in range(count):
            item, at = read_item(unverified, at)
            items.append(item)
        return tuple(items), at

    return write, read


def _map_ways(write_item: Write, read_item: Read) -> tuple[Write, Read]:
    def write(value: Any, parts: list[bytes]) -> None:
        if type(value) is not dict:
            raise UnusualError
        parts.append(_head(_MAP, len(value)))
        for key, name in sorted((_key_bytes(name), name) for name in value):
            parts.append(key)
            write_item(value[name], parts)

    def read(unverified: bytes, at: int) -> tuple[dict[str, Any], int]:
        count, at = _argument_at(unverified, at, _MAP)
        items: dict[str, Any] = {}
        last = b""
        for _ in range(count):
            name, end = _read_text(unverified, at)
            key = unverified[at:end]
            if key <= last:  # not in order, or twice
                raise UnusualError
            last = key
            items[name], at = read_item(unverified, end)
        return items, at

    return write, read


def _table_ways(kind: Any) -> tuple[Write, Read]:
    """Give the ways of a dataclass: a map with all its fields, in canonical order."""
    hints = typing.get_type_hints(kind)
    names = sorted((f.name for f in dataclasses.fields(kind)), key=_text_bytes)
    rows = [(name, _text_bytes(name), *_ways_of(hints[name])) for name in names]
    begin = _head(_MAP, len(rows))
    keys_and_writes = [(key, write_field) for _, key, write_field, _ in rows]
    fields_of = operator.attrgetter(*names) if len(names) > 1 else None

    def write(value: Any, parts: list[bytes]) -> None:
        if type(value) is not kind:
            raise UnusualError
        parts.append(begin)
        fields = fields_of(value) if fields_of else [getattr(value, name) for name in names]
        for (key, write_field), item in zip(keys_and_writes, fields, strict=True):
            parts.append(key)
            write_field(item, parts)

    def read(unverified: bytes, at: int) -> tuple[Any, int]:
        if not unverified.startswith(begin, at):
            raise UnusualError
        at += len(begin)
        values = {}
        for name, key, _, read_field in rows:
            if not unverified.startswith(key, at):
                raise UnusualError
            values[name], at = read_field(unverified, at + len(key))
        return kind(**values), at

    return (_written_once(kind, write) if hasattr(kind, REMEMBERS_BYTES) else write), read


def _written_once(kind: Any, write: Write) -> Write:
    """Give the way of writing a dataclass whose bytes are remembered beside its fields."""

    def write_once(value: Any, parts: list[bytes]) -> None:
        if type(value) is not kind:
            raise UnusualError
        known = value.__dict__.get(_REMEMBERED)
        if known is None:
            own: list[bytes] = []
            write(value, own)
            known = value.__dict__[_REMEMBERED] = b"".join(own)
        parts.append(known)

    return write_once


def _text_bytes(text: str) -> bytes:
    parts: list[bytes] = []
    _write_text(text, parts)
    return b"".join(parts)


# Names of sites and steps, the same ones over and over.
_key_bytes = functools.lru_cache(maxsize=1024)(_text_bytes)
