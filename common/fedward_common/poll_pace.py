"""How often somebody asks who cannot be told: soon after something came, later while nothing does.

A wait is a share of the time that passed without anything. So an answer is noticed at most by that
share later than it was there, and who has nothing to do asks seldom.
"""

from collections.abc import Callable

_SHARE = 0.1


class PollPace:
    """The waits of one asker.

    Args:
        least_seconds: No wait is shorter.
        most_seconds: No wait is longer.
        now_seconds: Gives monotonic seconds.
    """

    def __init__(
        self, least_seconds: float, most_seconds: float, now_seconds: Callable[[], float]
    ) -> None:
        self._least = min(least_seconds, most_seconds)
        self._most = most_seconds
        self._now_seconds = now_seconds
        self._came_at = now_seconds()

    def came(self) -> None:
        """Begin anew: something came, or is about to."""
        self._came_at = self._now_seconds()

    def wait_seconds(self) -> float:
        """Give the time until the next question."""
        empty = self._now_seconds() - self._came_at
        return max(self._least, min(self._most, _SHARE * empty))
