"""The orders of one `DecodePool.map`: how many answers may wait, and how orders are broken off.

An order begins while the answers that nobody took yet are below a bound, or if its own answer is
the next to be taken; so memory holds that bound and one answer a worker at most.
"""

import threading
from typing import Protocol

WAITING_BYTES = 1024**3


class Killable(Protocol):
    """A worker that is carrying out an order."""

    def kill(self) -> None:
        """End it; whoever waits for its answer gets an error."""


class BrokenOffError(Exception):
    """Nobody wants the order's answer any more."""


class OrderBatch:
    """Numbered orders, from 0; threads share it."""

    def __init__(self, waiting_bytes: int = WAITING_BYTES) -> None:
        self._bound = waiting_bytes
        self._changed = threading.Condition()
        self._waiting_bytes = 0
        self._next_taken = 0
        self._broken_off = False
        self._workers: set[Killable] = set()

    def wait_to_begin(self, number: int) -> None:
        """Wait until an order may begin.

        Raises:
            BrokenOffError: It need not.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._may_begin(number))
            self._require_wanted()

    def give_to(self, worker: Killable) -> None:
        """Note who carries out an order now.

        Raises:
            BrokenOffError: Nobody should.
        """
        with self._changed:
            self._require_wanted()
            self._workers.add(worker)

    def take_from(self, worker: Killable) -> None:
        """Note that a worker's order is done or failed.

        Raises:
            BrokenOffError: It failed because it was broken off, or may have.
        """
        with self._changed:
            self._workers.discard(worker)
            self._require_wanted()

    def answered(self, num_bytes: int) -> None:
        """Note an answer that waits to be taken."""
        with self._changed:
            self._waiting_bytes += num_bytes

    def taken(self, num_bytes: int) -> None:
        """Note that the next answer was taken."""
        with self._changed:
            self._waiting_bytes -= num_bytes
            self._next_taken += 1
            self._changed.notify_all()

    def break_off(self) -> None:
        """Kill who is at work and let nothing begin."""
        with self._changed:
            self._broken_off = True
            for worker in self._workers:
                worker.kill()
            self._changed.notify_all()

    def _may_begin(self, number: int) -> bool:
        has_room = self._waiting_bytes < self._bound
        return self._broken_off or has_room or number == self._next_taken

    def _require_wanted(self) -> None:
        if self._broken_off:
            raise BrokenOffError
