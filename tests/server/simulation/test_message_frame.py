"""A message that crossed the pipe is the message that was sent."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fedward_common.errors import MalformedMessageError
from fedward_common.wire.flower_records import array_record
from fedward_server.simulation.in_process_grid import InTurnGrid
from fedward_server.simulation.message_frame import (
    frame_blocks,
    read_frame,
    receive_frame,
    send_frame,
)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
float_arrays = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements=st.floats(width=32),
)  # fmt: skip
int_arrays = arrays.arrays(np.int64, st.integers(0, 9))
config_values = st.one_of(
    st.binary(max_size=40), names, st.booleans(), st.integers(-(2**63), 2**63 - 1)
)


@pytest.fixture(autouse=True, scope="module")
def identity() -> None:
    InTurnGrid({})


def through_the_pipe(message: Message) -> Message:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs, ThreadPoolExecutor(1) as other_end:
        sent = other_end.submit(send_frame, ours, message)
        again = receive_frame(theirs, theirs.recv_bytes())
        sent.result()
        assert not theirs.poll()  # every block was read
    return again


@given(
    vectors=st.dictionaries(names, st.one_of(float_arrays, int_arrays), max_size=4),
    config=st.dictionaries(names, config_values, max_size=4),
    node=st.integers(0, 2**64 - 1),
    group=names,
)
def test_content_and_metadata_survive(
    vectors: dict[str, NDArray[Any]], config: dict[str, Any], node: int, group: str
) -> None:
    content = RecordDict({"envelope": ConfigRecord(config), "arrays": array_record(vectors)})
    message = Message(content, dst_node_id=node, message_type="train.round", group_id=group)
    message.metadata.__dict__["_message_id"] = "m9"
    again = through_the_pipe(message)
    assert again.metadata == message.metadata
    assert again.content == message.content
    assert not again.has_error()


@given(code=st.integers(0, 1000), reason=names)
def test_an_error_survives_with_its_code_and_reason(code: int, reason: str) -> None:
    request = Message(RecordDict(), dst_node_id=5, message_type="query.manifest")
    request.metadata.__dict__["_message_id"] = "m1"
    message = Message(Error(code, reason), reply_to=request)
    again = through_the_pipe(message)
    assert again.has_error()
    assert (again.error.code, again.error.reason) == (code, reason)
    assert again.metadata.reply_to_message_id == "m1"


def test_arrays_are_sent_as_they_are_without_a_copy() -> None:
    content = RecordDict({"arrays": array_record({"w": np.arange(1000, dtype=np.float32)})})
    message = Message(content, dst_node_id=5, message_type="train.round")
    _, block = frame_blocks(message)
    assert block is message.content.array_records["arrays"]["w"].data


def test_a_vector_larger_than_the_pipe_arrives_whole() -> None:
    content = RecordDict({"arrays": array_record({"w": np.arange(1_000_003, dtype=np.float32)})})
    message = Message(content, dst_node_id=5, message_type="train.round")
    assert through_the_pipe(message).content == message.content


def test_a_message_that_was_cut_off_is_an_end_of_file() -> None:
    content = RecordDict({"arrays": array_record({"w": np.arange(1000, dtype=np.float32)})})
    head, block = frame_blocks(Message(content, dst_node_id=5, message_type="train.round"))
    ours, theirs = multiprocessing.Pipe()
    with theirs:
        with ours:
            ours.send_bytes(head)
            os.write(ours.fileno(), block[:-1])
        with pytest.raises(EOFError):
            receive_frame(theirs, theirs.recv_bytes())


def test_a_record_of_another_kind_is_refused() -> None:
    content = RecordDict({"m": MetricRecord({"loss": 0.5})})
    message = Message(content, dst_node_id=5, message_type="train.round")
    with pytest.raises(MalformedMessageError, match="'m'"):
        list(frame_blocks(message))


@pytest.mark.parametrize("head", [b"", b"\xff", b"\xa1", b"\x9f\x01"])
def test_a_head_that_was_cut_is_refused(head: bytes) -> None:
    with pytest.raises(MalformedMessageError, match="head of a frame"):
        read_frame(head, bytes)


def test_a_message_has_all_that_flowers_own_constructors_give_one() -> None:
    content = RecordDict({"envelope": ConfigRecord({"body": b"1"}), "arrays": array_record({})})
    message = Message(content, dst_node_id=5, message_type="train.round")
    reply = Message(content, reply_to=message)
    failed = Message(Error(1, "WHY"), reply_to=message)
    for made in (message, reply, failed):
        again = through_the_pipe(made)
        assert vars(again).keys() == vars(made).keys()
        assert vars(again.metadata) == vars(made.metadata)
