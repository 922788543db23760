"""Masks on a vector: keystreams of AES-256-CTR, added or subtracted in the ring of the words.

A mask is a key for one vector. Its keystream starts at counter zero: first the bytes of the lane,
then those of the words, both little-endian. The same key on another vector would show the
difference of the two, so a mask key is derived for one round, attempt and pair.

The outer loop goes over blocks and the inner one over masks: a block of the vector stays in the
processor's cache while every mask is applied to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from fedward_common.crypto.key_derivation import KEY_BYTES
from fedward_common.crypto.secret_bytes import SecretBytes

# The block, its keystream and the zeros that are encrypted fit a second-level cache together.
BLOCK_BYTES = 128 * 1024

_COUNTER = bytes(16)
_ZEROS = memoryview(bytes(BLOCK_BYTES))

Words = NDArray[np.uint32] | NDArray[np.uint64]


@dataclass(frozen=True)
class Mask:
    """One keystream: 32 bytes of key, and whether it is subtracted instead of added."""

    key: SecretBytes
    negative: bool


def apply_masks(
    words: Words,
    lane: NDArray[np.uint64],
    masks: Sequence[Mask],
    *,
    inverse: bool = False,
) -> None:
    """Add every mask to `lane` and `words`, in place, modulo 2^64 and the size of a word.

    A word of fewer bits, say 24, is masked over the whole uint32; its low bits are then masked
    uniformly in the smaller ring.

    Args:
        words: The vector, shape (num_words,), contiguous and writable.
        lane: The integer lane, shape (num_fields,), contiguous and writable.
        masks: In any order; the result does not depend on it.
        inverse: Take the masks away again.

    Raises:
        MalformedMessageError: A key has not 32 bytes. Nothing was changed then.
        ValueError: An array cannot be masked in place. Nothing was changed then.
    """
    targets = [_checked(lane, np.uint64), _checked(words, np.uint32, np.uint64)]
    streams = [(_keystream(mask.key), mask.negative != inverse) for mask in masks]
    room = np.empty(BLOCK_BYTES, dtype=np.uint8)
    for target in targets:
        block_words = BLOCK_BYTES // target.itemsize
        for start in range(0, target.size, block_words):
            _mask_block(target[start : start + block_words], streams, room)


def _mask_block(
    block: NDArray[Any], streams: Sequence[tuple[CipherContext, bool]], room: NDArray[np.uint8]
) -> None:
    zeros = _ZEROS[: block.nbytes]
    stream_bytes = room[: block.nbytes]
    stream = stream_bytes.view(block.dtype.newbyteorder("<"))
    for context, is_negative in streams:
        context.update_into(zeros, stream_bytes.data)
        (np.subtract if is_negative else np.add)(block, stream, out=block)


def _keystream(key: SecretBytes) -> CipherContext:
    raw = key.reveal_exactly(KEY_BYTES)
    return Cipher(algorithms.AES(raw), modes.CTR(_COUNTER)).encryptor()


def _checked(array: NDArray[Any], *dtypes: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    if array.dtype not in dtypes or array.ndim != 1:
        raise ValueError(f"a mask fits no array of {array.dtype} with shape {array.shape}")
    if not (array.flags.c_contiguous and array.flags.writeable):
        raise ValueError("a mask is applied in place: the array must be contiguous and writable")
    return array
