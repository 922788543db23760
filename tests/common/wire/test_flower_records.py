from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays_of

from fedward_common.errors import MalformedMessageError
from fedward_common.wire.envelope import Envelope, hash_of_array, hashed, hashes_of_arrays
from fedward_common.wire.flower_records import (
    ConfigValue,
    array_record,
    array_record_of_buffers,
    envelope_of,
    records_of,
)

ENVELOPE = Envelope(b"header", b"body", b"signature")
FIELDS: dict[str, ConfigValue] = {"header": b"h", "body": b"b", "signature": b"s"}
RAW = "fedward.raw-le"


def records_with(array: Array) -> RecordDict:
    return records_of(ENVELOPE, ArrayRecord({"weights": array}))


def raw(
    data: bytes = bytes(8), shape: Any = (2,), dtype: str = "float32", stype: str = RAW
) -> Array:
    return Array(dtype=dtype, shape=shape, stype=stype, data=data)


@given(
    weights=arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=0, min_side=0)),
    sums=arrays_of.arrays(np.int64, arrays_of.array_shapes(max_dims=1)),
)
@settings(max_examples=60, deadline=None)
def test_envelope_and_arrays_come_back_as_they_were(weights: Any, sums: Any) -> None:
    sent = {"weights": weights, "sums": sums}
    envelope, arrays = envelope_of(records_of(ENVELOPE, array_record(sent)))
    assert envelope == ENVELOPE
    assert {name: array.dtype for name, array in arrays.items()} == {
        "weights": np.dtype("float32"),
        "sums": np.dtype("int64"),
    }
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, sent[name])
    assert hashes_of_arrays(arrays) == hashes_of_arrays(sent)


def test_records_are_those_that_flower_itself_makes_of_the_same() -> None:
    values = np.arange(6, dtype=np.float32)
    arrays = ArrayRecord({"weights": raw(values.tobytes(), (6,))})
    theirs = RecordDict({"envelope": ConfigRecord(FIELDS), "arrays": arrays})
    ours = records_of(Envelope(b"h", b"b", b"s"), array_record({"weights": values}))
    assert ours == theirs
    assert ours.object_id == theirs.object_id  # the hash of what Flower would send
    assert array_record_of_buffers({"weights": values.tobytes()}).object_id == arrays.object_id


def test_arrays_are_read_without_a_copy() -> None:
    records = records_of(ENVELOPE, array_record({"weights": np.arange(6, dtype=np.float32)}))
    _, arrays = envelope_of(records)
    received = records.array_records["arrays"]["weights"].data
    assert np.shares_memory(arrays["weights"], np.frombuffer(received, dtype=np.uint8))
    assert not arrays["weights"].flags.writeable


def test_buffers_are_wrapped_without_a_copy() -> None:
    buffer = np.arange(5, dtype=np.float32).tobytes()
    record = array_record_of_buffers({"weights": buffer})
    assert record["weights"].data is buffer
    _, arrays = envelope_of(records_of(ENVELOPE, record))
    np.testing.assert_array_equal(arrays["weights"], np.arange(5, dtype=np.float32))


def test_a_big_endian_array_is_sent_in_little_endian() -> None:
    _, arrays = envelope_of(records_of(ENVELOPE, array_record({"w": np.array([1, 2], ">f4")})))
    np.testing.assert_array_equal(arrays["w"], np.array([1, 2], dtype=np.float32))


def test_an_array_that_does_not_lie_in_one_piece_is_sent_in_its_order() -> None:
    every_other = np.arange(8, dtype=np.float32)[::2]
    _, arrays = envelope_of(records_of(ENVELOPE, array_record({"w": every_other})))
    np.testing.assert_array_equal(arrays["w"], every_other)


@pytest.mark.parametrize(
    "shape",
    [
        (1,),
        (3,),
        (2, 2),
        (-2,),
        (-1, -2),
        (2, -1, -1),
        (0,),
        (2**61,),
        (2**70,),
        (2**63, 2**63),
        (1,) * 8 + (2,),
        (1,) * 5000 + (2,),
    ],
    ids=lambda shape: str(shape)[:30],
)
def test_a_shape_that_does_not_fit_the_bytes_is_refused(shape: tuple[int, ...]) -> None:
    envelope_of(records_with(raw()))
    with pytest.raises(MalformedMessageError):
        envelope_of(records_with(raw(shape=shape)))


@pytest.mark.parametrize("shape", [(0, 2**62), (2**62, 0, 2**62), (0, 2**70), (0, -1)])
def test_an_empty_array_of_giant_lengths_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MalformedMessageError):
        envelope_of(records_with(raw(b"", shape)))


@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "complex64", "int32", "object", "O", ">f4", "<f4", "bool", ""]
)
def test_only_float32_int64_and_uint8_are_taken(dtype: str) -> None:
    with pytest.raises(MalformedMessageError, match="float32, int64 or uint8"):
        envelope_of(records_with(raw(dtype=dtype)))


@pytest.mark.parametrize("stype", ["numpy.ndarray", "", "pickle", "fedward.raw-be"])
def test_only_raw_bytes_are_taken(stype: str) -> None:
    with pytest.raises(MalformedMessageError, match="raw"):
        envelope_of(records_with(raw(stype=stype)))


@pytest.mark.parametrize("length", [0, 1, 7, 9, 16])
def test_bytes_cut_short_or_too_many_are_refused(length: int) -> None:
    with pytest.raises(MalformedMessageError, match="shape"):
        envelope_of(records_with(raw(bytes(length))))


def whole() -> dict[str, Any]:
    return {"envelope": ConfigRecord(FIELDS), "arrays": ArrayRecord({"w": raw()})}


@pytest.mark.parametrize(
    "records",
    [
        {},
        {"envelope": ConfigRecord(FIELDS)},
        {"arrays": ArrayRecord({})},
        whole() | {"extra": ConfigRecord({})},
        whole() | {"metrics": MetricRecord({"loss": 1.0})},
        whole() | {"envelope": ArrayRecord({})},
        whole() | {"envelope": MetricRecord({"header": 1.0})},
        whole() | {"arrays": ConfigRecord({})},
        whole() | {"arrays": MetricRecord({"w": 1.0})},
    ],
    ids=lambda records: "+".join(f"{k}:{type(v).__name__}" for k, v in records.items()) or "none",
)
def test_records_that_are_missing_extra_or_of_another_kind_are_refused(
    records: dict[str, Any],
) -> None:
    with pytest.raises(MalformedMessageError):
        envelope_of(RecordDict(records))


@pytest.mark.parametrize("name", ["header", "body", "signature"])
@pytest.mark.parametrize("wrong", ["text", 1, 1.5, True, [b"bytes"], None], ids=repr)
def test_a_field_of_the_envelope_that_is_not_bytes_is_refused(name: str, wrong: Any) -> None:
    fields = {key: value for key, value in FIELDS.items() if key != name}
    if wrong is not None:
        fields[name] = wrong
    with pytest.raises(MalformedMessageError):
        envelope_of(RecordDict({"envelope": ConfigRecord(fields), "arrays": ArrayRecord({})}))


def test_a_field_more_in_the_envelope_is_refused() -> None:
    fields = ConfigRecord(FIELDS | {"extra": b""})
    with pytest.raises(MalformedMessageError, match="header, body and signature"):
        envelope_of(RecordDict({"envelope": fields, "arrays": ArrayRecord({})}))


def test_a_hash_is_remembered_for_the_very_bytes_it_was_made_of() -> None:
    array = np.arange(5, dtype=np.float32)
    record = array_record(hashed({"update": array}))
    (sent,) = record.values()
    _, arrays = envelope_of(records_of(ENVELOPE, record))
    assert getattr(arrays["update"], "known_sha256", "") == hash_of_array(array)
    sent.data = bytes(array.nbytes)
    _, changed = envelope_of(records_of(ENVELOPE, record))
    assert hash_of_array(changed["update"]) == hash_of_array(np.zeros(5, dtype=np.float32))
    assert not arrays["update"].flags.writeable
