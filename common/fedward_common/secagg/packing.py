"""Ring elements as bytes on the wire, and back: little-endian, the low bytes of each word.

Rules: no Python loop over elements; blocks, so that extra memory is one block. Bytes of a peer have
exactly the length that the codec gives, or are refused.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedward_common.crypto.mask_stream import Words
from fedward_common.errors import AggregationRefusedError, MalformedMessageError

_WORD_BYTES = {3: 4, 4: 4, 8: 8}
_BLOCK_WORDS = 1 << 15  # 128 KiB of words and 96 KiB of bytes fit a core's cache


def pack(words: Words, packed_bytes: int) -> NDArray[np.uint8]:
    """Give the low `packed_bytes` bytes of each word, one word after the other.

    Args:
        words: Contiguous; uint32 for 3 and 4 bytes, uint64 for 8.
        packed_bytes: 3, 4 or 8.

    Returns:
        Shape (packed_bytes * length,). With 4 and 8 a view of `words`; with 3 a copy.
    """
    _require_words(words, packed_bytes)
    raw = words.view(np.uint8)
    if packed_bytes != 3:
        return raw
    packed = np.empty(3 * words.size, dtype=np.uint8)
    _drop_fourth_bytes(raw, packed)
    return packed


def pack_in_place(words: Words, packed_bytes: int) -> NDArray[np.uint8]:
    """Do what `pack` does, within the memory of `words`, which with 3 bytes hold no words after."""
    _require_words(words, packed_bytes)
    raw = words.view(np.uint8)
    if packed_bytes == 3:
        # A block is written at or before where it was read: never over one that is still to come.
        _drop_fourth_bytes(raw, raw)
    return raw[: packed_bytes * words.size]


def unpack(packed: NDArray[np.uint8], packed_bytes: int, length: int) -> Words:
    """Turn bytes of a peer into words.

    Returns:
        Shape (length,), uint32 or uint64. With 4 and 8 bytes a view of `packed`, which may forbid
        writing; with 3 a new array, whose fourth bytes are zero.

    Raises:
        MalformedMessageError: Not `packed_bytes * length` bytes in one piece.
    """
    _require_packed(packed, packed_bytes, length)
    if packed_bytes != 3:
        return packed.view(np.uint64) if packed_bytes == 8 else packed.view(np.uint32)
    words = np.zeros(length, dtype=np.uint32)
    raw = words.view(np.uint8)
    for start, stop in _blocks(length):
        _spread(packed[3 * start : 3 * stop], raw[4 * start : 4 * stop])
    return words


def add_packed(total: Words, packed: NDArray[np.uint8], packed_bytes: int) -> None:
    """Add the words of a peer to `total` in place, modulo the size of the ring.

    Args:
        total: uint32 for 3 and 4 bytes, uint64 for 8. With 3 bytes its fourth bytes stay zero.
        packed: The peer's, of the length of `total`. No unpacked copy of it is made.
        packed_bytes: 3, 4 or 8.

    Raises:
        MalformedMessageError: Not `packed_bytes` bytes for each word of `total`, in one piece.
            `total` is as it was.
    """
    _require_words(total, packed_bytes)
    _require_packed(packed, packed_bytes, total.size)
    if packed_bytes != 3:
        total += packed.view(total.dtype)
        return
    block = np.zeros(min(_BLOCK_WORDS, total.size), dtype=np.uint32)
    for start, stop in _blocks(total.size):
        words = block[: stop - start]
        _spread(packed[3 * start : 3 * stop], words.view(np.uint8))
        part = total[start:stop]
        part += words
        part &= np.uint32(0xFFFFFF)


def _drop_fourth_bytes(raw: NDArray[np.uint8], packed: NDArray[np.uint8]) -> None:
    """Write three bytes of each word to `packed`, which may begin where `raw` begins."""
    for start, stop in _blocks(raw.size // 4):
        source = raw[4 * start : 4 * stop]
        if packed is raw:
            source = source.copy()
        target = packed[3 * start : 3 * stop]
        for byte in range(3):
            target[byte::3] = source[byte::4]


def _spread(packed: NDArray[np.uint8], raw: NDArray[np.uint8]) -> None:
    for byte in range(3):
        raw[byte::4] = packed[byte::3]


def _blocks(num_words: int) -> Iterator[tuple[int, int]]:
    for start in range(0, num_words, _BLOCK_WORDS):
        yield start, min(start + _BLOCK_WORDS, num_words)


def _require_words(words: Words, packed_bytes: int) -> None:
    """Our own arrays; a mistake here is one of the caller."""
    fits = packed_bytes in _WORD_BYTES and words.dtype == f"<u{_WORD_BYTES[packed_bytes]}"
    if not fits or words.ndim != 1 or not words.flags.c_contiguous:
        raise AggregationRefusedError(
            f"words of {words.dtype}, shape {words.shape}, for {packed_bytes} bytes each: one "
            "contiguous row of uint32 (3 or 4 bytes) or uint64 (8) is needed",
            hint="give the array of the codec itself, not a strided view of it",
        )


def _require_packed(packed: NDArray[np.uint8], packed_bytes: int, length: int) -> None:
    needed = packed_bytes * length
    fits = packed_bytes in _WORD_BYTES and packed.dtype == np.uint8 and packed.shape == (needed,)
    if not fits or not packed.flags.c_contiguous:
        raise MalformedMessageError(
            f"packed words are {packed.dtype} of shape {packed.shape}: uint8 of shape ({needed},) "
            f"is needed, {length} words of {packed_bytes} bytes"
        )
