"""Time as an argument, so that a test can replace it."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the round loop may ask of time."""

    def now_seconds(self) -> float:
        """Give monotonic seconds; only differences mean anything."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own monotonic clock."""

    def now_seconds(self) -> float:
        """Give monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for real."""
        time.sleep(seconds)
