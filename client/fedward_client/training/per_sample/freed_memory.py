"""What the C library does with memory between two steps."""

import torch

_BYTES = 31 << 20  # glibc learns from blocks of 32 MiB at most


def keep_freed_memory() -> None:
    """Let the next steps reuse what a step frees, up to 64 MiB.

    glibc gives freed memory back to the kernel above a threshold, and every page of it costs a
    fault when it is needed again, a step later: up to a fifth of the time of small models. The
    threshold is twice the largest mapped block that was freed, so one block is asked for and freed,
    without being touched. Other C libraries take no notice.

    Source: mallopt(3), M_MMAP_THRESHOLD, on its dynamic adjustment.
    """
    torch.empty(_BYTES, dtype=torch.uint8)
