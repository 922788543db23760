"""Keeps a site's child processes going: whoever ended is started again, later each time.

Decisions are `Supervisor.tick`, from a clock and a source of randomness that are handed in; the
processes themselves are behind `Child`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fedward_common.clock import Clock
from fedward_common.event_lines import Tell

ENDED = "child.ended"
STARTED = "child.started"
NODE_NOT_KNOWN = "NODE_NOT_KNOWN"


class Child(Protocol):
    """A running process."""

    def poll(self) -> int | None:
        """Give the exit status, or None while it runs."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `TimeoutError` or `subprocess.TimeoutExpired`."""
        ...


@dataclass(frozen=True)
class Backoff:
    """How long to wait before the next start.

    Args:
        first_seconds: After the first end.
        factor: By which each wait is longer than the one before.
        cap_seconds: No wait is longer.
        steady_seconds: Whoever ran so long begins anew with the first wait.
    """

    first_seconds: float = 1.0
    factor: float = 2.0
    cap_seconds: float = 30.0
    steady_seconds: float = 120.0

    def wait_seconds(self, num_ends: int, draw: float) -> float:
        """Give the wait after so many ends in a row.

        Args:
            num_ends: 1 or more.
            draw: From [0, 1); spreads the starts of many sites over half of the wait.
        """
        # Beyond 2^64 every wait is the cap; a power that overflows is never taken.
        wanted = self.first_seconds * self.factor ** min(num_ends - 1, 64)
        return min(wanted, self.cap_seconds) * (0.5 + 0.5 * draw)


@dataclass
class _Kept:
    start: Callable[[], Child]
    child: Child | None = None
    started_at: float = 0.0
    num_ends: int = 0
    next_start: float = 0.0


class Supervisor:
    """Several children.

    Args:
        starts: How each child is started, by name.
        clock: Counts the waits.
        draw: Gives numbers from [0, 1).
        tell: Writes lines of the log.
        backoff: How long to wait.
        ended: Hears of each end, by the child's name and the code.
    """

    def __init__(
        self,
        starts: Mapping[str, Callable[[], Child]],
        clock: Clock,
        draw: Callable[[], float],
        tell: Tell,
        backoff: Backoff | None = None,
        ended: Callable[[str, str], None] = lambda _name, _code: None,
    ) -> None:
        self._kept = {name: _Kept(start) for name, start in starts.items()}
        self._clock = clock
        self._draw = draw
        self._tell = tell
        self._backoff = backoff or Backoff()
        self._ended = ended

    def tick(self) -> None:
        """Look after every child once: note who ended, start whose wait is over."""
        now = self._clock.now_seconds()
        for name, kept in self._kept.items():
            if kept.child is not None:
                status = kept.child.poll()
                if status is None:
                    continue
                self._note_end(name, kept, status, now)
            if now >= kept.next_start:
                kept.child, kept.started_at = kept.start(), now
                self._tell(STARTED, child=name)

    def running(self) -> dict[str, bool]:
        """Say of each child whether it runs; any thread may ask."""
        children = {name: kept.child for name, kept in self._kept.items()}
        return {name: c is not None and c.poll() is None for name, c in children.items()}

    def _note_end(self, name: str, kept: _Kept, status: int, now: float) -> None:
        if now - kept.started_at >= self._backoff.steady_seconds:
            kept.num_ends = 0
        kept.num_ends += 1
        wait = self._backoff.wait_seconds(kept.num_ends, self._draw())
        kept.child, kept.next_start = None, now + wait
        code = code_of_end(name, status)
        self._tell(ENDED, child=name, code=code, again_in=round(wait, 1))
        self._ended(name, code)

    def end(self, grace_seconds: float) -> None:
        """End every child: asked first, killed after so many seconds together."""
        running = [kept.child for kept in self._kept.values() if kept.child is not None]
        for child in running:
            child.terminate()
        ends = self._clock.now_seconds() + grace_seconds
        for child in running:
            try:
                child.wait(max(0.0, ends - self._clock.now_seconds()))
            except Exception:  # each kind of process has its own; it did not end in time
                child.kill()
                child.wait()


def code_of_end(name: str, status: int) -> str:
    """Give the code for how a child ended."""
    if status < 0:
        return f"SIGNAL_{-status}"
    # Flower ends its node without a fault where the coordinator does not know the node's key (401),
    # or the clocks of the two differ too much.
    if name == "node" and status == 0:
        return NODE_NOT_KNOWN
    return f"STATUS_{status}"
