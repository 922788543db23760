"""Small files and folders that are asked for at every message, read once as long as they are so."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# More than a tick of any file system's clock, and of the difference between it and ours.
_TICK_NS = 1_000_000_000


def read_once(
    read: Callable[[Path], T], *, now_ns: Callable[[], int] = time.time_ns
) -> Callable[[Path], T]:
    """Give a reader that reads a path again only where its inode, size or times are others.

    What changed within the last second is read again each time: of two changes within one tick of
    the file system's clock the second would look like none.

    Args:
        read: Reads a file, or what the names in a folder lead to. What it gives must not be changed
            by whoever gets it.
        now_ns: Nanoseconds since 1970.

    Returns:
        The reader. A path that is not there raises as `Path.stat` does.
    """

    @functools.lru_cache(maxsize=512)
    def read_as_of(path: Path, *_: int) -> T:
        return read(path)

    def read_now(path: Path) -> T:
        state = path.stat()
        # Nobody can set this time back, as `os.utime` does with the other.
        if now_ns() - state.st_ctime_ns <= _TICK_NS:
            return read(path)
        return read_as_of(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)

    return read_now
