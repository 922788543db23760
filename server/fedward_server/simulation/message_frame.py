"""Flower messages as blocks of bytes, for the pipe between the Grid and a worker process.

A CBOR head and then each array's bytes as they are: no pickling, and no copy of a model to put a
frame together or to take it apart, for the head says how long each array is, and its bytes go
straight from the pipe to where they stay. Both ends are one program on one machine, so no head
needs to be canonical, and what one end took out of a message the other puts back as it was:
Flower's constructors would ask after each type again, a noticeable part of a round with short
training. Flower's metadata class is used directly here and nowhere else.
"""

import io
import operator
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import cbor2
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, RecordDict

from fedward_common.atomic_files import write_all
from fedward_common.errors import MalformedMessageError
from fedward_common.wire.flower_records import filled

_METADATA_FIELDS = (
    "_run_id", "_message_id", "_src_node_id", "_dst_node_id", "_reply_to_message_id", "_group_id",
    "_created_at", "_ttl", "_message_type", "_src_task_id", "_dst_task_id",
)  # fmt: skip
_metadata_values = operator.itemgetter(*_METADATA_FIELDS)
# Flower sets it on every message it makes, to nothing.
_DELIVERED_AT = "_delivered_at"


def send_frame(connection: Connection, message: Message) -> None:
    """Write a message to a pipe.

    Raises:
        OSError: The other end is gone.
    """
    blocks = frame_blocks(message)
    connection.send_bytes(next(blocks))
    for block in blocks:
        write_all(connection.fileno(), block)


def receive_frame(connection: Connection, head: bytes) -> Message:
    """Read the rest of a message from a pipe whose next bytes are those behind the head.

    Raises:
        MalformedMessageError: The head is none.
        OSError: The other end is gone.
        EOFError: It went in the middle of the message.
    """
    return read_frame(head, lambda num_bytes: _block_of(connection.fileno(), num_bytes))


def _block_of(descriptor: int, num_bytes: int) -> bytes:
    # `getvalue` hands out this very object, so a vector is copied once, out of the pipe.
    box = io.BytesIO(bytes(num_bytes))
    with box.getbuffer() as room:
        place = 0
        while place < num_bytes:
            came = os.readv(descriptor, [room[place:]])
            if not came:
                raise EOFError
            place += came
    return box.getvalue()


def frame_blocks(message: Message) -> Iterator[bytes]:
    """Give a message as a head and the arrays' bytes, in order."""
    head: list[Any] = [_metadata_values(message.metadata.__dict__)]
    blocks: list[bytes] = []
    if message.has_error():
        head.append({"code": message.error.code, "reason": message.error.reason or ""})
    else:
        head.append([_record_head(n, r, blocks) for n, r in message.content.items()])
    yield cbor2.dumps(head)
    yield from blocks


def _record_head(name: str, record: object, blocks: list[bytes]) -> list[Any]:
    if isinstance(record, ConfigRecord):
        return [name, dict(record)]
    if not isinstance(record, ArrayRecord):
        raise MalformedMessageError(f"record {name!r} is of a kind that no message here has")
    arrays = []
    for key, array in record.items():
        arrays.append([key, array.dtype, list(array.shape), array.stype, len(array.data)])
        blocks.append(array.data)
    return [name, arrays]


def read_frame(head: bytes, block_of: Callable[[int], bytes]) -> Message:
    """Rebuild a message.

    Args:
        head: The frame's first block.
        block_of: Gives the blocks after it in order, each of so many bytes.

    Raises:
        MalformedMessageError: The head is none.
    """
    try:
        values, content = cbor2.loads(head)
    except (cbor2.CBORError, ValueError, TypeError) as cause:
        raise MalformedMessageError("the head of a frame is no CBOR") from cause
    records, error = None, None
    if isinstance(content, dict):
        error = Error(code=content["code"], reason=content["reason"])
    else:
        records = filled(RecordDict(), {name: _record(r, block_of) for name, r in content})
    metadata = Metadata.__new__(Metadata)
    metadata.__dict__.update(zip(_METADATA_FIELDS, values, strict=True))
    metadata.__dict__[_DELIVERED_AT] = ""
    message = Message.__new__(Message)
    message.__dict__.update(_metadata=metadata, _content=records, _error=error)
    return message


def _record(
    content: dict[str, Any] | list[Any], block_of: Callable[[int], bytes]
) -> ConfigRecord | ArrayRecord:
    if isinstance(content, dict):
        return filled(ConfigRecord(), content)
    arrays = {
        key: Array(dtype=dtype, shape=tuple(shape), stype=stype, data=block_of(num_bytes))
        for key, dtype, shape, stype, num_bytes in content
    }
    return filled(ArrayRecord(), arrays)
