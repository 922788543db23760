"""Arrays of a message are put together as Flower does it, in the memory of one."""

import tracemalloc

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.app.message import array as flowers_array
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.array_assembly import inflate_in_place
from fedward_common.flower_runtime import hold_less

PART_BYTES = 4
# Few values, so that parts are often equal, within an array and between two.
contents = st.lists(st.binary(max_size=14).map(lambda b: bytes(x % 2 for x in b)), max_size=4)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, and Flower's module as it is again afterwards."""
    monkeypatch.setattr(flowers_array, "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", PART_BYTES)
    inside = vars(inflatable_utils)
    for name in ("inflate_object_from_contents", "push_object_contents_from_iterable"):
        monkeypatch.setitem(inside, name, inside[name])
    hold_less()


def array_of(data: bytes) -> Array:
    return Array("uint8", (len(data),), "raw", data)


def sent(record: RecordDict) -> tuple[str, dict[str, bytes]]:
    parts = {name: part.deflate() for name, part in get_all_nested_objects(record).items()}
    return record.object_id, parts


@settings(max_examples=200)
@given(contents)
def test_what_was_sent_comes_out_whatever_parts_are_equal(arrays: list[bytes]) -> None:
    names = {f"a{place}": array_of(data) for place, data in enumerate(arrays)}
    record = RecordDict({"arrays": ArrayRecord(names), "of": ConfigRecord({"x": b"1"})})
    object_id, parts = sent(record)
    came = inflate_in_place(object_id, parts)
    assert isinstance(came, RecordDict)
    assert came["of"] == record["of"]
    assert [bytes(array.data) for array in came.array_records["arrays"].values()] == arrays
    assert came.object_id == record.object_id
    assert parts == {}  # nothing is left of what was used


def test_parts_that_must_stay_do_stay() -> None:
    object_id, parts = sent(RecordDict({"arrays": ArrayRecord({"a": array_of(b"0123456789")})}))
    before = dict(parts)
    inflate_in_place(object_id, parts, keep_object_contents=True)
    assert parts == before


def test_an_array_that_was_made_already_is_not_made_again() -> None:
    array = array_of(b"0123456789")
    assert inflate_in_place(array.object_id, {}, objects={array.object_id: array}) is array


def test_an_array_of_other_parts_than_it_names_is_refused() -> None:
    array = array_of(b"0123456789")
    _, parts = sent(RecordDict({"arrays": ArrayRecord({"a": array})}))
    parts[array.object_id] = parts[array.object_id].replace(b"[0, 1, 2]", b"[0, 1, 1]")
    with pytest.raises(ValueError, match="parts that it names"):
        inflate_in_place(array.object_id, parts)


def test_a_part_of_another_kind_is_refused() -> None:
    array = array_of(b"0123")
    _, parts = sent(RecordDict({"arrays": ArrayRecord({"a": array})}))
    (part,) = array.children
    parts[part] = parts[part].replace(b"ArrayChunk", b"MetricRecord")
    with pytest.raises(ValueError, match="of another kind"):
        inflate_in_place(array.object_id, parts)


def test_beside_the_parts_that_came_a_part_or_two_is_all_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flowers_array, "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", 1 << 18)
    size = 8 << 20
    array = array_of(bytes(place % 251 for place in range(size)))
    object_id, parts = sent(RecordDict({"arrays": ArrayRecord({"a": array})}))
    del array
    tracemalloc.start()
    try:
        parts = {name: bytes(bytearray(part)) for name, part in parts.items()}
        tracemalloc.reset_peak()
        inflate_in_place(object_id, parts)
        # The array itself is counted whole, though the system gives its pages one by one.
        assert tracemalloc.get_traced_memory()[1] < 2.1 * size
    finally:
        tracemalloc.stop()
