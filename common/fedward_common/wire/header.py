"""The header of an envelope, and its one encoding.

A header is canonical CBOR like every other value of the wire, but each message has one. So the
usual ones are written and read here field by field, as a map whose keys are known. What is unusual
goes the general way of `canonical_cbor`, which gives the same bytes and the same header, and says
what is wrong with the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass
from fedward_common.wire.protocol_versions import require_spoken

MAX_HEADER_BYTES = 8192


@dataclass(frozen=True)
class Header:
    """What the signature covers; `manifest_sha256` is empty only in `manifest.query` itself."""

    protocol: int
    consortium: str
    run: str
    round: int
    attempt: int
    manifest_sha256: str
    sender: str
    recipient: str
    kind: str
    in_reply_to: str
    body_sha256: str
    arrays_sha256: dict[str, str]


def encode_header(header: Header) -> bytes:
    """Give a header's canonical bytes.

    Raises:
        MalformedMessageError: A field holds something that is not plain.
    """
    values = vars(header)
    try:
        return b"".join([key + write(values[name]) for name, key, write, _ in _LAYOUT])
    except (ValueError, IndexError):
        return encode_canonically(dict(values))


def decode_header(unverified: bytes, *, any_protocol: bool = False) -> Header:
    """Read a header that anybody may have sent.

    Args:
        unverified: Its bytes.
        any_protocol: Read it whatever its version says; whoever asks for that checks it then.

    Raises:
        MalformedMessageError: It is no canonical header of a version that is spoken here.
    """
    try:
        header = _usual_header(unverified)
    except (ValueError, IndexError):
        plain = decode_canonically(unverified, max_bytes=MAX_HEADER_BYTES)
        header = plain_dataclass(Header, plain)
    if not any_protocol:
        require_spoken(header.protocol)
    return header


def _usual_header(unverified: bytes) -> Header:
    """Read a header in its canonical bytes; `ValueError` or `IndexError` says "unusual"."""
    if len(unverified) > MAX_HEADER_BYTES:
        raise ValueError
    values: dict[str, Any] = {}
    at = 0
    for name, key, _, read in _LAYOUT:
        begin = at + len(key)
        if unverified[at:begin] != key:
            raise ValueError
        values[name], at = read(unverified, begin)
    if at != len(unverified):
        raise ValueError
    return Header(**values)


# Major types, and short lengths that say "in the next byte", "in the next two": RFC 8949 section 3.
_TEXT, _MAP = 0x60, 0xA0
_NEXT_BYTE, _NEXT_TWO_BYTES = 24, 25


def _heads(major: int) -> tuple[bytes, ...]:
    """Give the shortest head of each argument up to 255."""
    short = [bytes((major | argument,)) for argument in range(_NEXT_BYTE)]
    return (*short, *(bytes((major | _NEXT_BYTE, a)) for a in range(_NEXT_BYTE, 256)))


_NUMBER_HEADS, _TEXT_HEADS, _MAP_HEADS = _heads(0), _heads(_TEXT), _heads(_MAP)


def _written_number(value: int) -> bytes:
    if type(value) is not int or not 0 <= value < 1 << 16:
        raise ValueError
    if value < 256:
        return _NUMBER_HEADS[value]
    return bytes((_NEXT_TWO_BYTES,)) + value.to_bytes(2, "big")


def _written_text(value: str) -> bytes:
    if type(value) is not str:
        raise ValueError
    content = value.encode()
    return _TEXT_HEADS[len(content)] + content


def _written_texts(value: dict[str, str]) -> bytes:
    if type(value) is not dict:
        raise ValueError
    pairs = sorted((_written_text(key), _written_text(item)) for key, item in value.items())
    return _MAP_HEADS[len(pairs)] + b"".join([key + item for key, item in pairs])


def _read_number(unverified: bytes, at: int) -> tuple[int, int]:
    first = unverified[at]
    if first < _NEXT_BYTE:
        return first, at + 1
    if first not in (_NEXT_BYTE, _NEXT_TWO_BYTES):
        raise ValueError
    end = at + (2 if first == _NEXT_BYTE else 3)
    value = int.from_bytes(unverified[at + 1 : end], "big")
    if value < (_NEXT_BYTE if first == _NEXT_BYTE else 256):  # not its shortest form
        raise ValueError
    return value, end


def _read_text(unverified: bytes, at: int) -> tuple[str, int]:
    length = unverified[at] - _TEXT
    at += 1
    if length == _NEXT_BYTE:
        length = unverified[at]
        at += 1
        if length < _NEXT_BYTE:  # not its shortest form
            raise ValueError
    elif not 0 <= length < _NEXT_BYTE:
        raise ValueError
    end = at + length
    return unverified[at:end].decode(), end


def _read_texts(unverified: bytes, at: int) -> tuple[dict[str, str], int]:
    count = unverified[at] - _MAP
    if not 0 <= count < _NEXT_BYTE:
        raise ValueError
    at += 1
    texts: dict[str, str] = {}
    last = b""
    for _ in range(count):
        key, end = _read_text(unverified, at)
        encoded = unverified[at:end]
        if encoded <= last:  # not in order, or twice
            raise ValueError
        last = encoded
        texts[key], at = _read_text(unverified, end)
    return texts, at


_Write = Callable[[Any], bytes]
_Read = Callable[[bytes, int], tuple[Any, int]]
_WAYS: dict[Any, tuple[_Write, _Read]] = {
    int: (_written_number, _read_number),
    str: (_written_text, _read_text),
    dict[str, str]: (_written_texts, _read_texts),
}


def _layout() -> tuple[tuple[str, bytes, _Write, _Read], ...]:
    """Give each field with its key's bytes, in canonical order: that of these bytes.

    The first one's also begin the map. Source: RFC 8949 section 4.2.1.
    """
    keys = sorted((_written_text(field.name), field) for field in fields(Header))
    starts = [_MAP_HEADS[len(keys)], *[b""] * (len(keys) - 1)]
    return tuple(
        (field.name, start + key, *_WAYS[field.type])
        for start, (key, field) in zip(starts, keys, strict=True)
    )


_LAYOUT = _layout()
