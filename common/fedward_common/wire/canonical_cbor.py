"""One encoding for each value, and no other is accepted.

Deterministic CBOR (RFC 8949 section 4.2) of plain values: text keys, integers of 64 bits, floats,
text, bytes, booleans, null, lists. cbor2 alone takes duplicate keys, unsorted maps and trailing
bytes, so what was decoded is encoded again and must give the same bytes. Tags, indefinite lengths
and deep nesting never get to cbor2, which would recurse or build dates and regular expressions.
"""

import math
from typing import Any

import cbor2

from fedward_common.errors import MalformedMessageError

Plain = dict[str, Any] | list[Any] | int | float | str | bytes | bool | None

MAX_DEPTH = 12
MAX_MESSAGE_BYTES = 1 << 20

# Major types, RFC 8949 section 3.1.
_BYTES, _TEXT, _LIST, _MAP, _TAG = 2, 3, 4, 5, 6

_ALWAYS_PLAIN = frozenset({bool, str, bytes, type(None)})


def encode_canonically(value: Plain) -> bytes:
    """Encode a plain value.

    Raises:
        MalformedMessageError: It holds something that is not plain.
    """
    _check_plain(value, MAX_DEPTH)
    try:
        return cbor2.dumps(value, canonical=True)
    except UnicodeEncodeError as error:
        raise MalformedMessageError("a text has no UTF-8 form") from error


def decode_canonically(unverified: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Any:
    """Decode bytes of a peer.

    Raises:
        MalformedMessageError: Too long, too deep, not plain, or not the canonical encoding.
    """
    if len(unverified) > max_bytes:
        raise MalformedMessageError(f"{len(unverified)} bytes came, at most {max_bytes} are taken")
    _check_structure(unverified)
    try:
        value = cbor2.loads(unverified)
        _check_plain(value, MAX_DEPTH)
        canonical = cbor2.dumps(value, canonical=True)
    except MalformedMessageError:
        raise
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise MalformedMessageError(f"not CBOR: {type(error).__name__}") from error
    if canonical != unverified:
        raise MalformedMessageError("the encoding is not canonical")
    return value


def _check_structure(unverified: bytes) -> None:
    """Walk the heads without recursion: their lengths fit, and nothing is tagged or too deep."""
    position = 0
    left_in = [1]
    while left_in:
        if left_in[-1] == 0:
            left_in.pop()
            continue
        left_in[-1] -= 1
        major, argument, position = _head_at(unverified, position)
        if major in (_BYTES, _TEXT):
            position += argument
        elif major in (_LIST, _MAP):
            if len(left_in) > MAX_DEPTH:
                raise MalformedMessageError("nested too deep")
            left_in.append(argument if major == _LIST else 2 * argument)
        elif major == _TAG:
            raise MalformedMessageError("a tag is not a plain value")
    if position != len(unverified):
        raise MalformedMessageError("the bytes end too early or too late")


def _head_at(unverified: bytes, position: int) -> tuple[int, int, int]:
    """Give the major type, the argument and where the head ends (RFC 8949 section 3)."""
    if position >= len(unverified):
        raise MalformedMessageError("the bytes end too early or too late")
    major, short = divmod(unverified[position], 32)
    position += 1
    if short < 24:
        return major, short, position
    if short > 27:
        raise MalformedMessageError("a length is indefinite or reserved")
    end = position + (1 << (short - 24))
    return major, int.from_bytes(unverified[position:end], "big"), end


def _check_plain(value: Any, depth: int) -> None:
    """Look at exact types, most frequent first: every message passes here three times."""
    kind = type(value)
    if kind in _ALWAYS_PLAIN:
        return
    if depth == 0:
        raise MalformedMessageError("nested too deep")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise MalformedMessageError("a key is not text")
            _check_plain(item, depth - 1)
    elif kind is list or kind is tuple:
        for item in value:
            _check_plain(item, depth - 1)
    else:
        _check_number(kind, value)


def _check_number(kind: type, value: Any) -> None:
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise MalformedMessageError("an integer needs more than 64 bits")
    elif kind is not float:
        raise MalformedMessageError(f"{kind.__name__} is not a plain value")
    elif not math.isfinite(value):
        raise MalformedMessageError("a number is not finite")
