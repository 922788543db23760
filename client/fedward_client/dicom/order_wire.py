"""Orders and answers between `decode_pool` and its workers: a length, JSON, raw values. No pickle.

What a worker sends is not believed: its decoders may have been taken over by a file.
"""

import json
import socket
import time
from collections.abc import Callable, Mapping
from struct import pack, unpack
from typing import Any

READY = {"ready": True}

_MAX_JSON_BYTES = 16 * 1024 * 1024
_NUM_LENGTH_BYTES = 4


class ConnectionEndedError(Exception):
    """The other side is gone."""


def send_message(
    link: socket.socket,
    message: Mapping[str, Any],
    values: memoryview | None = None,
    *,
    deadline: float | None = None,
) -> None:
    """Send JSON, and the bytes of an array behind it.

    Raises:
        OSError: The other side is gone; `TimeoutError` beyond `deadline`.
        ValueError: The message is no JSON, or longer than 16 MiB.
    """
    content = json.dumps(message).encode("ascii")
    if len(content) > _MAX_JSON_BYTES:
        raise ValueError("the message is too long")
    _limit(link, deadline)
    link.sendall(pack("<L", len(content)) + content)
    if values is not None:
        _limit(link, deadline)
        link.sendall(values)


def receive_message(
    link: socket.socket,
    *,
    deadline: float | None = None,
    room_for: Callable[[Mapping[str, Any]], memoryview | None] = lambda _message: None,
) -> tuple[Mapping[str, Any], memoryview | None]:
    """Receive JSON, and what follows it into the memory that `room_for` gives.

    Args:
        link: Of this side.
        deadline: In `time.monotonic()` seconds; None waits for ever.
        room_for: From the JSON, where the raw values go; None where there are none.

    Raises:
        ConnectionEndedError: The other side is gone.
        OSError: `TimeoutError` beyond `deadline`.
        ValueError: No such message.
    """
    length = unpack("<L", _received(link, memoryview(bytearray(_NUM_LENGTH_BYTES)), deadline))[0]
    if length > _MAX_JSON_BYTES:
        raise ValueError("the message is too long")
    message = json.loads(bytes(_received(link, memoryview(bytearray(length)), deadline)))
    if not isinstance(message, dict):
        raise ValueError("no message")
    room = room_for(message)
    return message, None if room is None else _received(link, room, deadline)


def _received(link: socket.socket, room: memoryview, deadline: float | None) -> memoryview:
    num_received = 0
    while num_received < len(room):
        _limit(link, deadline)
        count = link.recv_into(room[num_received:])
        if count == 0:
            raise ConnectionEndedError
        num_received += count
    return room


def _limit(link: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        link.settimeout(None)
        return
    seconds_left = deadline - time.monotonic()
    if seconds_left <= 0:
        raise TimeoutError
    link.settimeout(seconds_left)
