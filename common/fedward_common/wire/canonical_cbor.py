"""One encoding for each value, and no other is accepted.

Deterministic CBOR (RFC 8949 section 4.2) of plain values: text keys, integers of 64 bits, floats,
text, bytes, booleans, null, lists. cbor2 alone takes duplicate keys, unsorted maps and trailing
bytes, so what was decoded is encoded again and must give the same bytes.
"""

import math
import re
from typing import Any

import cbor2

from fedward_common.errors import MalformedMessageError

Plain = dict[str, Any] | list[Any] | int | float | str | bytes | bool | None

MAX_DEPTH = 12
_CONTAINER_HEADS = re.compile(rb"[\x80-\xdf]{%d}" % (4 * MAX_DEPTH + 1))
MAX_MESSAGE_BYTES = 1 << 20


def encode_canonically(value: Plain) -> bytes:
    """Encode a plain value.

    Raises:
        MalformedMessageError: It holds something that is not plain.
    """
    _check_plain(value, MAX_DEPTH)
    return cbor2.dumps(value, canonical=True)


def decode_canonically(unverified: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Any:
    """Decode bytes of a peer.

    Raises:
        MalformedMessageError: Too long, too deep, not plain, or not the canonical encoding.
    """
    if len(unverified) > max_bytes:
        raise MalformedMessageError(f"{len(unverified)} bytes came, at most {max_bytes} are taken")
    _refuse_deep_nesting(unverified)
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


def _refuse_deep_nesting(unverified: bytes) -> None:
    # Containers nest one byte at a time; a run of container heads longer than any real message's
    # depth is refused before a recursive decoder sees it.
    if _CONTAINER_HEADS.search(unverified[:4096]):
        raise MalformedMessageError("nested too deep")


def _check_plain(value: Any, depth: int) -> None:
    if depth == 0:
        raise MalformedMessageError("nested too deep")
    if isinstance(value, list | tuple):
        for item in value:
            _check_plain(item, depth - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise MalformedMessageError("a key is not text")
            _check_plain(item, depth - 1)
    else:
        _check_scalar(value)


def _check_scalar(value: Any) -> None:
    if isinstance(value, bool | str | bytes | None):
        return
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise MalformedMessageError("an integer needs more than 64 bits")
    elif not isinstance(value, float):
        raise MalformedMessageError(f"{type(value).__name__} is not a plain value")
    elif not math.isfinite(value):
        raise MalformedMessageError("a number is not finite")
