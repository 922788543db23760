"""Vectors of an answer sealed to the coordinator's key, where nothing masks them.

Whatever lies between site and coordinator, a database among it, then holds one array of bytes that
only the coordinator opens. It is bound to the request it answers and to the site: put beside
another answer it does not open.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from fedward_common.crypto.entropy import Entropy
from fedward_common.crypto.key_agreement import HybridPrivateKey, HybridPublicKey, Kem
from fedward_common.crypto.sealing import open_box, seal_to
from fedward_common.errors import MalformedMessageError
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.envelope import (
    ALLOWED_DTYPES,
    Arrays,
    WireArray,
    little_endian,
    name_of_dtype,
)
from fedward_common.wire.messages import plain_dataclass

SEALED = "sealed"

_LENGTH_BYTES = 4


@dataclass(frozen=True)
class SealedFor:
    """What a sealed answer is bound to: the header of its request, by hash, and its sender."""

    request_sha256: str
    site: str

    def associated(self) -> bytes:
        """Give what is authenticated and not sent."""
        return encode_canonically(dataclasses.asdict(self))


@dataclass(frozen=True)
class _Array:
    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Contents:
    arrays: tuple[_Array, ...]


def seal_arrays(
    arrays: Arrays,
    public: HybridPublicKey,
    bound_to: SealedFor,
    *,
    entropy: Entropy,
    kem: Kem,
) -> dict[str, WireArray]:
    """Give the one array that is sent instead of these."""
    contents = [
        {"name": name, "dtype": name_of_dtype(array.dtype), "shape": list(array.shape)}
        for name, array in sorted(arrays.items())
    ]
    head = encode_canonically({"arrays": contents})
    parts = [little_endian(array).data for _, array in sorted(arrays.items())]
    plaintext = b"".join((len(head).to_bytes(_LENGTH_BYTES, "big"), head, *parts))
    box = seal_to(public, plaintext, associated=bound_to.associated(), entropy=entropy, kem=kem)
    return {SEALED: np.frombuffer(box, dtype=np.uint8)}


def open_arrays(
    unverified: Arrays, private: HybridPrivateKey, bound_to: SealedFor
) -> dict[str, WireArray]:
    """Give what `seal_arrays` was given, as views of one buffer.

    Raises:
        UnverifiedMessageError: It was sealed to another key, for another request or by another
            site.
        MalformedMessageError: It is no sealed answer.
    """
    box = unverified.get(SEALED)
    if box is None or len(unverified) != 1 or box.dtype != np.uint8 or box.ndim != 1:
        raise MalformedMessageError("a sealed answer is one array of bytes")
    plaintext = open_box(private, np.ascontiguousarray(box).data, associated=bound_to.associated())
    head_bytes = int.from_bytes(plaintext[:_LENGTH_BYTES], "big")
    start = _LENGTH_BYTES + head_bytes
    value = decode_canonically(plaintext[_LENGTH_BYTES:start])
    arrays: dict[str, WireArray] = {}
    for one in plain_dataclass(_Contents, value).arrays:
        arrays[one.name], start = _array_at(plaintext, start, one)
    if start != len(plaintext):
        raise MalformedMessageError("a sealed answer is longer than its arrays")
    return arrays


def _array_at(plaintext: bytes, start: int, described: _Array) -> tuple[WireArray, int]:
    if described.dtype not in ALLOWED_DTYPES or any(n < 0 for n in described.shape):
        raise MalformedMessageError("a sealed array is not of raw float32, int64 or uint8")
    dtype = np.dtype(described.dtype)
    count = int(np.prod(described.shape, dtype=object))
    stop = start + count * dtype.itemsize
    if stop > len(plaintext):
        raise MalformedMessageError("a sealed answer is shorter than its arrays")
    content = np.frombuffer(plaintext, dtype, count, start)
    return content.reshape(described.shape), stop
