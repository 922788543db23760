"""Whether this machine's clock goes as the coordinator's does, as far as the node needs it.

A node signs the time with each question, and Flower refuses one that is 5 seconds ahead or 305
behind as it refuses a node that it does not know (401). So the daemon asks the coordinator's
listener for the time, and names the offset. Nobody signs that time: it is a hint for a person, no
clock is set by it, and no round, ledger or certificate is judged by it.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fedward_client.daemon.supervisor import NODE_NOT_KNOWN
from fedward_common.clock import Clock
from fedward_common.event_lines import Tell

SKEW = "CLOCK_SKEW"
OFF = "clock.off"
RIGHT = "clock.right"

# Within Flower's own bounds by as much as a time in whole seconds can mislead.
AHEAD_SECONDS = 4
BEHIND_SECONDS = 300
CHECK_SECONDS = 600.0
OFF_CHECK_SECONDS = 15.0

_MOST_SECONDS = 10**9


@dataclass(frozen=True)
class ClockReading:
    """The coordinator's time, and this machine's around it; all in seconds since 1970.

    Attributes:
        sent_seconds: When it was asked for.
        came_seconds: When it had come.
        told_seconds: What came: whole seconds, those that were over.
    """

    sent_seconds: float
    came_seconds: float
    told_seconds: int

    @property
    def offset_seconds(self) -> int:
        """How far this clock is ahead, below 0 behind; off by a second and half of the wait."""
        middle = (self._least + self._most) / 2
        return round(max(-_MOST_SECONDS, min(_MOST_SECONDS, middle)))

    @property
    def is_off(self) -> bool:
        """Whether the clock is too far ahead or behind, however long the answer was on its way."""
        return self._least > AHEAD_SECONDS or self._most < -BEHIND_SECONDS

    @property
    def _least(self) -> float:
        return self.sent_seconds - self.told_seconds - 1

    @property
    def _most(self) -> float:
        return self.came_seconds - self.told_seconds


@dataclass(frozen=True)
class ClockState:
    """What was found last.

    Attributes:
        code: `CLOCK_SKEW`, or empty.
        offset_seconds: How far this clock is ahead; None where nothing was found yet.
    """

    code: str = ""
    offset_seconds: int | None = None


class ClockCheck:
    """Looks at the start, when Flower refused the node, and now and then.

    Args:
        told_seconds: Asks the coordinator for its time, and gives it in seconds since 1970.
        tell: Writes lines of the log.
        clock: Counts the time between two looks.
        utc_seconds: Gives seconds since 1970, by the clock that is looked at.
    """

    def __init__(
        self,
        told_seconds: Callable[[], int],
        tell: Tell,
        clock: Clock,
        utc_seconds: Callable[[], float],
    ) -> None:
        self._told_seconds = told_seconds
        self._tell = tell
        self._clock = clock
        self._utc_seconds = utc_seconds
        self._next_look = clock.now_seconds()
        self._looked = threading.Event()
        self.state = ClockState()

    def tick(self) -> None:
        """Look if it is due; a coordinator that does not answer leaves what was found before."""
        now = self._clock.now_seconds()
        if now < self._next_look:
            return
        try:
            sent = self._utc_seconds()
            told = self._told_seconds()
            self._take(ClockReading(sent, self._utc_seconds(), told))
        except Exception:  # noqa: S110 - the thread that asks also renews the certificate
            pass  # whoever looks after the membership says that nobody answers
        finally:
            self._next_look = now + (OFF_CHECK_SECONDS if self.state.code else CHECK_SECONDS)
            self._looked.set()

    def wait_for_first(self, seconds: float) -> None:
        """Wait until somebody looked, and no longer than this."""
        self._looked.wait(seconds)

    def child_ended(self, name: str, code: str) -> None:
        """Look soon if Flower refused the node: it does not say whether the clock was why."""
        del name
        if code == NODE_NOT_KNOWN:
            self._next_look = self._clock.now_seconds()

    def _take(self, reading: ClockReading) -> None:
        before, offset = self.state, reading.offset_seconds
        self.state = ClockState(SKEW if reading.is_off else "", offset)
        if reading.is_off and not before.code:
            self._tell(OFF, code=SKEW, offset_seconds=offset)
        elif before.code and not reading.is_off:
            self._tell(RIGHT, offset_seconds=offset)
