"""Flower messages as blocks of bytes, for the pipe between the Grid and a worker process.

A CBOR head and then each array's bytes as they are: no pickling, and no copy of a model to put a
frame together. Both ends are one program on one machine, so no head needs to be canonical. Flower's
metadata class is used directly here and nowhere else.
"""

from collections.abc import Callable, Iterator
from typing import Any

import cbor2
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, RecordDict

from fedward_common.errors import MalformedMessageError

_METADATA_FIELDS = (
    "run_id", "message_id", "src_node_id", "dst_node_id", "reply_to_message_id", "group_id",
    "created_at", "ttl", "message_type", "src_task_id", "dst_task_id",
)  # fmt: skip


def frame_blocks(message: Message) -> Iterator[bytes]:
    """Give a message as a head and the arrays' bytes, in order."""
    head: dict[str, Any] = {"metadata": _metadata_fields(message.metadata)}
    blocks: list[bytes] = []
    if message.has_error():
        head["error"] = {"code": message.error.code, "reason": message.error.reason or ""}
    else:
        head["records"] = [_record_head(n, r, blocks) for n, r in message.content.items()]
    head["sizes"] = [len(block) for block in blocks]
    yield cbor2.dumps(head)
    yield from blocks


def _metadata_fields(metadata: Metadata) -> dict[str, Any]:
    return {name: getattr(metadata, name) for name in _METADATA_FIELDS}


def _record_head(name: str, record: object, blocks: list[bytes]) -> dict[str, Any]:
    if isinstance(record, ConfigRecord):
        return {"name": name, "config": dict(record)}
    if not isinstance(record, ArrayRecord):
        raise MalformedMessageError(f"record {name!r} is of a kind that no message here has")
    arrays = []
    for key, array in record.items():
        arrays.append([key, array.dtype, list(array.shape), array.stype])
        blocks.append(array.data)
    return {"name": name, "arrays": arrays}


def read_frame(next_block: Callable[[], bytes]) -> Message:
    """Rebuild a message.

    Args:
        next_block: Gives the frame's blocks in order.

    Raises:
        MalformedMessageError: The head is none.
    """
    try:
        head = cbor2.loads(next_block())
    except (cbor2.CBORError, ValueError) as cause:
        raise MalformedMessageError("the head of a frame is no CBOR") from cause
    metadata = Metadata(**head["metadata"])
    if "error" in head:
        error = Error(code=head["error"]["code"], reason=head["error"]["reason"])
        return _with_metadata(metadata, error=error)
    content = RecordDict()
    for record in head["records"]:
        content[record["name"]] = _record(record, next_block)
    return _with_metadata(metadata, content=content)


def _record(head: dict[str, Any], next_block: Callable[[], bytes]) -> ConfigRecord | ArrayRecord:
    if "config" in head:
        return ConfigRecord(head["config"])
    return ArrayRecord(
        {
            key: Array(dtype=dtype, shape=tuple(shape), stype=stype, data=next_block())
            for key, dtype, shape, stype in head["arrays"]
        }
    )


def _with_metadata(
    metadata: Metadata, *, content: RecordDict | None = None, error: Error | None = None
) -> Message:
    # Flower keeps this form of the constructor for itself; the contract test pins it.
    if error is not None:
        return Message(error=error, metadata=metadata)  # type: ignore[call-overload,no-any-return]
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload,no-any-return]
