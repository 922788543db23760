"""A node's reply as a message, whatever bytes the node sent.

Flower puts a reply together before anybody sees who signed it, and what cannot be put together
ends the run. Here it becomes an error of that node alone.
"""

from flwr.app import Message, Metadata
from flwr.app.error import Error
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.inflatable.inflatable_object import InflatableObject
from flwr.superlink.grid import http_grid

from fedward_common.array_assembly import inflate_in_place
from fedward_common.errors import MalformedMessageError

# Two vectors of 8 bytes a parameter are the most that a strategy or mechanism sends.
_BYTES_OF_PARAMETER = 16
# Of sums, and what sealing adds.
_MORE_BYTES = 64 << 20


def most_bytes_of_arrays(num_parameters: int) -> int:
    """Give what the arrays of a site's answer may come to, in bytes."""
    return _BYTES_OF_PARAMETER * num_parameters + _MORE_BYTES


def message_or_error(
    object_id: str,
    object_contents: dict[str, bytes],
    *,
    keep_object_contents: bool = False,
    objects: dict[str, InflatableObject] | None = None,
) -> InflatableObject:
    """Put a reply together in the place of Flower's `inflate_object_from_contents`.

    Where that cannot be done the reply is an error with the code of a malformed message.
    """
    try:
        message = inflate_in_place(
            object_id,
            object_contents,
            keep_object_contents=keep_object_contents,
            objects=objects,
        )
        if isinstance(message, Message):
            return message
    except Exception:  # noqa: S110 - whatever a parser raises of bytes that anybody may have sent
        pass
    return make_message(
        metadata=Metadata(
            run_id=0,
            message_id="",
            src_node_id=0,
            dst_node_id=0,
            reply_to_message_id="",
            group_id="",
            created_at=0.0,
            ttl=0,
            message_type=SYSTEM_MESSAGE_TYPE,
        ),
        error=Error(ErrorCode.UNKNOWN, MalformedMessageError.code),
    )


def bear_broken_replies() -> None:
    """Have Flower's Grid put replies together by `message_or_error`."""
    vars(http_grid)["inflate_object_from_contents"] = message_or_error
