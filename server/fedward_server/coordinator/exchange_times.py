"""Where the time of each exchange of a run goes, as lines of the coordinator's log.

An exchange is all messages of one kind in one round. What is neither sending nor receiving is
waiting: for sites to ask, to work and to answer.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fedward_common.event_lines import Tell

ENDED = "exchange.ended"


@dataclass
class _Exchange:
    kind: str
    round: str
    began_at: float
    last_at: float
    sent: int = 0
    answered: int = 0
    sending_seconds: float = 0.0
    receiving_seconds: float = 0.0


class ExchangeTimes:
    """Adds up the times of one run's messages, and tells each exchange once the next begins.

    Args:
        tell: Writes lines.
        run: The run's name.
        now_seconds: Gives monotonic seconds.
    """

    def __init__(self, tell: Tell, run: str, now_seconds: Callable[[], float]) -> None:
        self._tell = tell
        self._run = run
        self._now_seconds = now_seconds
        self._present: _Exchange | None = None

    def sent(self, kind: str, round_number: str, began_at: float) -> None:
        """Note that a message was handed over, since `began_at`."""
        present = self._present
        if present is None or (present.kind, present.round) != (kind, round_number):
            self.end()
            present = self._present = _Exchange(kind, round_number, began_at, began_at)
        present.last_at = self._now_seconds()
        present.sent += 1
        present.sending_seconds += present.last_at - began_at

    def received(self, began_at: float) -> None:
        """Note that an answer was taken, since `began_at`."""
        present = self._present
        if present is None:
            return
        present.last_at = self._now_seconds()
        present.answered += 1
        present.receiving_seconds += present.last_at - began_at

    def end(self) -> None:
        """Tell the exchange that is under way, as far as it came."""
        done, self._present = self._present, None
        if done is None:
            return
        self._tell(
            ENDED,
            run=self._run,
            type=done.kind,
            round=done.round,
            sent=done.sent,
            answered=done.answered,
            seconds=round(done.last_at - done.began_at, 3),
            sending_seconds=round(done.sending_seconds, 3),
            receiving_seconds=round(done.receiving_seconds, 3),
        )
