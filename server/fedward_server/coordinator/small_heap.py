"""Lets the C library give freed memory back, which a coordinator of many threads else never does.

Pieces of five megabytes come and go in a dozen threads. The library gives each thread a heap of its
own and, from the first piece that was freed on, keeps what has such a size in those heaps: several
models of memory that nobody uses.

Requests and answers of the HTTP libraries hold themselves in cycles, each with its piece. Python
counts objects, not bytes, before it looks for cycles: two models of memory came together until it
did. So it is made to look after every few pieces, and not at what was there from the start.
"""

import contextlib
import ctypes
import gc

from fedward_server.coordinator.listener_gates import AsgiApp, Event, Receive, Scope, Send

# malloc.h of glibc; other libraries have no such function, or refuse it, and go on as they are.
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_MAPPED_FROM_BYTES = 1 << 20
_MOST_HEAPS = 2

_PIECE_BYTES = 1 << 20
_LOOK_AFTER_BYTES = 16 << 20


def keep_heap_small() -> None:
    """Map large pieces alone, so that they are given back, and share heaps between threads."""
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
        set_option(_M_ARENA_MAX, _MOST_HEAPS)


def keep_what_is_there() -> None:
    """Let no later look for cycles come past what there is now, which makes it short."""
    gc.collect()
    gc.freeze()


class Tidied:
    """An application that lets go of requests and answers that are over, after every few pieces."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._bytes_of_pieces = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count the bytes of the large ones."""
        num_bytes = 0

        async def received() -> Event:
            nonlocal num_bytes
            event = await receive()
            num_bytes += len(event.get("body", b""))
            return event

        async def sent(event: Event) -> None:
            nonlocal num_bytes
            num_bytes += len(event.get("body", b""))
            await send(event)

        await self._app(scope, received, sent)
        if num_bytes < _PIECE_BYTES:
            return
        self._bytes_of_pieces += num_bytes
        if self._bytes_of_pieces >= _LOOK_AFTER_BYTES:
            self._bytes_of_pieces = 0
            gc.collect()
