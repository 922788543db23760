"""Pixels decoded in a forked child, since a decoder in C may abort on a damaged file.

Only pixels come back through the pipe. The child writes no text and no core dump, runs no exit
handler, and is gone when the call returns. Fork, because workers of a pool may have no children of
`multiprocessing`.
"""

import contextlib
import faulthandler
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

_TIME_LIMIT_SECONDS = 60.0
_MAX_HEADER_BYTES = 200
_BLOCK_BYTES = 1024 * 1024


def decoded_in_child(decode: Callable[[], NDArray[Any]], max_values: int) -> NDArray[Any]:
    """Run `decode` in a child of this process.

    Returns:
        What `decode` returned there: real numbers, `max_values` at most.

    Raises:
        ValueError: The child died, gave no such array, or took longer than 60 seconds.
    """
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        _serve(decode, sender)
    os.close(sender)
    try:
        return _received(receiver, max_values)
    finally:
        os.close(receiver)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _serve(decode: Callable[[], NDArray[Any]], sender: int) -> NoReturn:
    """Decode and send; never returns to the parent's code, whatever happens."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold patient data
        faulthandler.disable()
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        array = np.ascontiguousarray(decode())
        header = json.dumps([array.dtype.str, array.shape]).encode()
        with os.fdopen(sender, "wb", closefd=False) as pipe:
            pipe.write(header + b"\n")
            pipe.write(array.reshape(-1).view(np.uint8).data)
    finally:
        os._exit(0)


def _received(receiver: int, max_values: int) -> NDArray[Any]:
    blocks = _blocks(receiver)
    content = bytearray()
    while b"\n" not in content[:_MAX_HEADER_BYTES]:
        if len(content) > _MAX_HEADER_BYTES:
            raise ValueError("no header")
        content += next(blocks, b"") or _end_of_pipe()
    header, _, rest = bytes(content).partition(b"\n")
    name, shape = json.loads(header)
    dtype = np.dtype(str(name))
    num_values = int(np.prod(shape, dtype=object))
    if dtype.kind not in "buif" or min(shape, default=0) < 1 or num_values > max_values:
        raise ValueError("no array of numbers within the limit")
    content = bytearray(rest)
    while len(content) < num_values * dtype.itemsize:
        content += next(blocks, b"") or _end_of_pipe()
    return np.frombuffer(content, dtype=dtype).reshape(shape)


def _blocks(receiver: int) -> Iterator[bytes]:
    end = time.monotonic() + _TIME_LIMIT_SECONDS
    while True:
        poll = select.poll()  # unlike select(), it bears file numbers above 1023
        poll.register(receiver, select.POLLIN)
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise ValueError("the child took too long")
        yield os.read(receiver, _BLOCK_BYTES)


def _end_of_pipe() -> NoReturn:
    raise ValueError("the child ended early")
