"""A process that ends in the middle of its work, at every point where something becomes durable."""

import itertools
import os
from collections.abc import Callable, Iterator

import pytest


class SuddenEnd(BaseException):
    """Nobody catches it, as nobody catches a kill."""


def sudden_ends(monkeypatch: pytest.MonkeyPatch, work: Callable[[int], object]) -> Iterator[int]:
    """Do the work again and again, each time killed one durable step later.

    Args:
        monkeypatch: Restores `os.fsync` before each number is given.
        work: Takes the number of steps that it gets; begins in a place of its own for each.

    Yields:
        The number of steps, after a work that was killed; ends once the work comes to its end.
    """
    real = os.fsync
    for steps in itertools.count():
        left = iter(range(steps))

        def fsync(descriptor: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise SuddenEnd
            real(descriptor)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            try:
                work(steps)
            except SuddenEnd:
                pass
            else:
                return
        yield steps
