"""One lock for all that must not happen twice at a time: `flock` on a file of its own.

The system frees it when its holder ends, however that ends, so nothing is left to clean up.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fedward_common.errors import LockedError


@contextlib.contextmanager
def held_lock(path: Path, *, if_held: LockedError | None = None) -> Iterator[None]:
    """Hold a lock for as long as the block lasts.

    Args:
        path: The lock's file, which is made for its owner alone and stays; its folder exists.
        if_held: Raised at once where somebody else holds the lock; None waits.

    Raises:
        LockedError: `if_held`.
        OSError: The file can be neither opened nor made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if if_held else 0))
        except BlockingIOError as error:
            raise if_held or error from None
        yield
    finally:
        os.close(descriptor)
