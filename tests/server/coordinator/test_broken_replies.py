"""Bytes of a node that Flower cannot put together end no run, and grow to nothing large."""

import hashlib
import re
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict
from flwr.app.message import array as flowers_array
from flwr.app.message import make_message
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.superlink.grid import HttpGrid, http_grid
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.array_assembly import arrays_bounded
from fedward_common.flower_runtime import hold_less
from fedward_server.coordinator.broken_replies import (
    bear_broken_replies,
    message_or_error,
    most_bytes_of_arrays,
)

PART_BYTES = 8


@pytest.fixture(autouse=True)
def flower_as_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small parts, and Flower's modules as they are again afterwards."""
    monkeypatch.setattr(flowers_array, "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", PART_BYTES)
    for module in (inflatable_utils, http_grid):
        inside = vars(module)
        for name in ("inflate_object_from_contents", "push_object_contents_from_iterable"):
            if name in inside:
                monkeypatch.setitem(inside, name, inside[name])
    hold_less()
    bear_broken_replies()


def parts_of(message: Message) -> dict[str, bytes]:
    return {name: part.deflate() for name, part in get_all_nested_objects(message).items()}


def a_message(arrays: dict[str, Array] | None = None) -> Message:
    data = bytes(range(20))
    record = ArrayRecord(arrays or {"update": Array("uint8", (len(data),), "raw", data)})
    metadata = Metadata(
        run_id=1, message_id="", src_node_id=1, dst_node_id=1, reply_to_message_id="a",
        group_id="1", created_at=1.0, ttl=1.0, message_type="train.round",
    )  # fmt: skip
    return make_message(metadata=metadata, content=RecordDict({"arrays": record}))


def is_an_error(came: Any) -> bool:
    return (
        isinstance(came, Message) and came.has_error() and came.error.reason == "MALFORMED_MESSAGE"
    )


def test_a_whole_message_comes_as_it_was_sent() -> None:
    message = a_message()
    came = message_or_error(message.object_id, parts_of(message))
    assert isinstance(came, Message)
    assert came.content.array_records["arrays"]["update"].data == bytes(range(20))


def test_flowers_grid_puts_replies_together_by_it() -> None:
    assert vars(http_grid)["inflate_object_from_contents"] is message_or_error
    names = HttpGrid.pull_messages.__code__.co_names
    assert "inflate_object_from_contents" in names


@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), whole=st.booleans())
def test_a_message_with_a_changed_or_missing_part_is_a_message_or_an_error(
    place: int, byte: int, whole: bool
) -> None:
    message = a_message()
    parts = parts_of(message)
    name = sorted(parts)[place % len(parts)]
    content = bytearray(parts[name])
    content[place % len(content)] = byte
    parts[name] = bytes(content)
    if not whole:
        del parts[name]
    assert isinstance(message_or_error(message.object_id, parts), Message)


@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"Message  4\0", b"Array  9\0", b"RecordDict x 3\0"]),
)
def test_other_bytes_are_an_error(body: bytes, head: bytes) -> None:
    content = head + body
    name = hashlib.sha256(content).hexdigest()
    assert is_an_error(message_or_error(name, {name: content}))


def test_what_is_no_message_is_an_error() -> None:
    record = a_message().content
    parts = {name: part.deflate() for name, part in get_all_nested_objects(record).items()}
    assert is_an_error(message_or_error(record.object_id, parts))


def test_an_array_that_names_a_part_again_and_again_is_not_made() -> None:
    message = a_message()
    parts = parts_of(message)
    (array,) = [name for name, content in parts.items() if content.startswith(b"Array ")]
    places = b"[" + b", ".join([b"0", b"1"] * 500 + [b"2"]) + b"]"
    parts[array] = re.sub(rb"\[0, 1, 2\]", places, parts[array])
    with arrays_bounded(1000 * PART_BYTES - 1):
        assert is_an_error(message_or_error(message.object_id, dict(parts)))
    assert not is_an_error(message_or_error(message.object_id, dict(parts)))


def test_many_arrays_of_the_same_parts_are_not_made() -> None:
    data = bytes(range(20))
    arrays = {str(n): Array("uint8", (len(data), n), "raw", data) for n in range(9)}
    message = a_message(arrays)
    assert len(parts_of(message)) < 20  # the parts are sent once
    with arrays_bounded(1 << 20):
        assert is_an_error(message_or_error(message.object_id, parts_of(message)))
    message = a_message({name: arrays[name] for name in ("0", "1", "2")})
    with arrays_bounded(2 * len(data)):
        assert is_an_error(message_or_error(message.object_id, parts_of(message)))
    with arrays_bounded(3 * len(data)):
        assert not is_an_error(message_or_error(message.object_id, parts_of(message)))


def test_the_bound_leaves_room_for_two_vectors_of_the_ring_and_for_sums() -> None:
    assert most_bytes_of_arrays(0) == 64 << 20
    assert most_bytes_of_arrays(10**6) == 16 * 10**6 + (64 << 20)
