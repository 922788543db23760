"""Flower messages as blocks of bytes, for the pipe between the Grid and a worker process.

A CBOR head and then each array's bytes as they are: no pickling, and no copy of a model to put a
frame together. Both ends are one program on one machine, so no head needs to be canonical, and what
one end took out of a message the other puts back as it was: Flower's constructors would ask after
each type again, which of a round with short training is a noticeable part. Flower's metadata class
is used directly here and nowhere else.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any

import cbor2
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, RecordDict

from fedward_common.errors import MalformedMessageError
from fedward_common.wire.flower_records import filled

_METADATA_FIELDS = (
    "_run_id", "_message_id", "_src_node_id", "_dst_node_id", "_reply_to_message_id", "_group_id",
    "_created_at", "_ttl", "_message_type", "_src_task_id", "_dst_task_id",
)  # fmt: skip
_metadata_values = operator.itemgetter(*_METADATA_FIELDS)
# Flower sets it on every message it makes, to nothing.
_DELIVERED_AT = "_delivered_at"


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
        arrays.append([key, array.dtype, list(array.shape), array.stype])
        blocks.append(array.data)
    return [name, arrays]


def read_frame(next_block: Callable[[], bytes]) -> Message:
    """Rebuild a message.

    Args:
        next_block: Gives the frame's blocks in order.

    Raises:
        MalformedMessageError: The head is none.
    """
    try:
        values, content = cbor2.loads(next_block())
    except (cbor2.CBORError, ValueError, TypeError) as cause:
        raise MalformedMessageError("the head of a frame is no CBOR") from cause
    records, error = None, None
    if isinstance(content, dict):
        error = Error(code=content["code"], reason=content["reason"])
    else:
        records = filled(RecordDict(), {name: _record(r, next_block) for name, r in content})
    metadata = Metadata.__new__(Metadata)
    metadata.__dict__.update(zip(_METADATA_FIELDS, values, strict=True))
    metadata.__dict__[_DELIVERED_AT] = ""
    message = Message.__new__(Message)
    message.__dict__.update(_metadata=metadata, _content=records, _error=error)
    return message


def _record(
    content: dict[str, Any] | list[Any], next_block: Callable[[], bytes]
) -> ConfigRecord | ArrayRecord:
    if isinstance(content, dict):
        return filled(ConfigRecord(), content)
    arrays = {
        key: Array(dtype=dtype, shape=tuple(shape), stype=stype, data=next_block())
        for key, dtype, shape, stype in content
    }
    return filled(ArrayRecord(), arrays)
