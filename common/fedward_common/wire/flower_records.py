"""Envelopes and arrays as Flower records, and back; the only Flower import of this package.

The envelope is a ConfigRecord of three byte strings; arrays go in an ArrayRecord as raw
little-endian bytes (Flower sends these in chunks), never in numpy's own file format, and are read
back without a copy.
"""

import math
import sys
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedward_common.errors import MalformedMessageError
from fedward_common.wire.envelope import (
    ALLOWED_DTYPES,
    Arrays,
    Envelope,
    HashedArray,
    WireArray,
    little_endian,
    name_of_dtype,
    remember_hash,
)

ConfigValue = (
    int
    | float
    | str
    | bytes
    | bool
    | list[int]
    | list[float]
    | list[str]
    | list[bytes]
    | list[bool]
)

R = TypeVar("R", ArrayRecord, ConfigRecord, RecordDict)

_ENVELOPE = "envelope"
_ARRAYS = "arrays"
_RAW = "fedward.raw-le"
_KNOWN = "_fedward_known_sha256"

if sys.byteorder != "little":
    raise ImportError("Fedward sends little-endian arrays and was only tried on such machines")


def array_record(arrays: Arrays) -> ArrayRecord:
    """Copy each array's bytes once; a coordinator shares the record among all sites."""
    raw = {
        name: _raw_array(little_endian(array).tobytes(), name_of_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    }
    known = {n: a.known_sha256 for n, a in arrays.items() if isinstance(a, HashedArray)}
    return _remembering(filled(ArrayRecord(), raw), known)


def array_record_of_buffers(
    buffers: Mapping[str, bytes], known_sha256: Mapping[str, str] | None = None
) -> ArrayRecord:
    """Wrap buffers of float32 without a copy; whoever knows their hashes hands them in."""
    raw = {n: _raw_array(data, "float32", (len(data) // 4,)) for n, data in buffers.items()}
    return _remembering(filled(ArrayRecord(), raw), known_sha256 or {})


def _raw_array(data: bytes, dtype: str, shape: tuple[int, ...]) -> Array:
    return Array(dtype=dtype, shape=shape, stype=_RAW, data=data)


def _remembering(record: ArrayRecord, known_sha256: Mapping[str, str]) -> ArrayRecord:
    """Keep the hash of these very bytes beside them; no link carries it."""
    record.__dict__[_KNOWN] = {n: (record[n].data, digest) for n, digest in known_sha256.items()}
    return record


def records_of(envelope: Envelope, arrays: ArrayRecord) -> RecordDict:
    """Give the content of a Flower message."""
    fields: dict[str, ConfigValue] = {
        "header": envelope.header_bytes,
        "body": envelope.body,
        "signature": envelope.signature,
    }
    record = filled(ConfigRecord(), fields)
    return filled(RecordDict(), {_ENVELOPE: record, _ARRAYS: arrays})


def filled(record: R, content: Mapping[str, object]) -> R:
    """Give an empty record its content, whose types are known where it is called.

    Flower's own way asks after the type of each key and value, at length; of a round with short
    training that is a noticeable part.
    """
    record.__dict__["_data"].update(content)
    return record


def envelope_of(unverified: RecordDict) -> tuple[Envelope, Arrays]:
    """Take a Flower message's content apart.

    Raises:
        MalformedMessageError: Records are missing, extra or of another form.
    """
    if unverified.keys() != {_ENVELOPE, _ARRAYS}:
        raise MalformedMessageError("the records of a message are 'envelope' and 'arrays'")
    fields, arrays = unverified[_ENVELOPE], unverified[_ARRAYS]
    if not isinstance(fields, ConfigRecord) or not isinstance(arrays, ArrayRecord):
        raise MalformedMessageError("a record is of another kind")
    if fields.keys() != {"header", "body", "signature"}:
        raise MalformedMessageError("an envelope has header, body and signature")
    header, body, signature = fields["header"], fields["body"], fields["signature"]
    if not (isinstance(header, bytes) and isinstance(body, bytes) and isinstance(signature, bytes)):
        raise MalformedMessageError("an envelope's fields are bytes")
    return Envelope(header, body, signature), {n: _with_known_hash(arrays, n) for n in arrays}


def _array_of(unverified: Array) -> WireArray:
    if unverified.stype != _RAW or unverified.dtype not in ALLOWED_DTYPES:
        raise MalformedMessageError("an array is not of raw float32, int64 or uint8")
    dtype = np.dtype(unverified.dtype)
    shape = tuple(unverified.shape)
    if len(shape) > 8 or any(length < 0 for length in shape):
        raise MalformedMessageError("an array has a negative length, or too many dimensions")
    if math.prod(shape) * dtype.itemsize != len(unverified.data):
        raise MalformedMessageError("an array's shape does not fit its bytes")
    try:
        return np.frombuffer(unverified.data, dtype=dtype).reshape(shape)
    # An empty array whose other lengths are more than numpy counts.
    except (ValueError, OverflowError) as error:
        raise MalformedMessageError("an array's shape is too large") from error


def _with_known_hash(record: ArrayRecord, name: str) -> WireArray:
    array = _array_of(record[name])
    data, digest = record.__dict__.get(_KNOWN, {}).get(name, (None, ""))
    return remember_hash(array, digest) if data is record[name].data else array
