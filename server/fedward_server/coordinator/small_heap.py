"""Lets the C library give freed memory back, which a coordinator of many threads else never does.

Pieces of five megabytes come and go in a dozen threads. The library gives each thread a heap of its
own and, from the first piece that was freed on, keeps what has such a size in those heaps: several
models of memory that nobody uses.
"""

import contextlib
import ctypes

# malloc.h of glibc; other libraries have no such function, or refuse it, and go on as they are.
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_MAPPED_FROM_BYTES = 1 << 20
_MOST_HEAPS = 2


def keep_heap_small() -> None:
    """Map large pieces alone, so that they are given back, and share heaps between threads."""
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
        set_option(_M_ARENA_MAX, _MOST_HEAPS)
