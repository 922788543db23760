"""Small files that are asked for at every message, read once as long as they are the same."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def read_once(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """Give a reader that reads a path again only where its inode, size or times are others.

    What is read must not be changed by whoever gets it. A path that is not there raises as
    `Path.stat` does.
    """

    @functools.lru_cache(maxsize=512)
    def read_as_of(path: Path, *_: int) -> T:
        return read(path)

    def read_now(path: Path) -> T:
        state = path.stat()
        return read_as_of(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)

    return read_now
