"""What one process adds to a run's journal, and what the run has come to with it."""

from typing import Any

from fedward_common.clock import Clock
from fedward_server.coordinator.run_journal import JournalHead, RunJournal, apply_entry, replay


class RunRecord:
    """The journal of a run that goes on, and its history, which always agree.

    Args:
        journal: What was done; every step is appended before it counts.
        clock: Counts the run's seconds.

    Attributes:
        history: What the entries come to; changed by `add` alone.
    """

    def __init__(self, journal: RunJournal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._started = clock.now_seconds()
        self.history = replay(journal.entries())
        self._seconds_before = self.history.seconds

    def add(self, kind: str, **fields: Any) -> None:
        """Append an entry; when this returns it is durable, and the history has it."""
        self._journal.append(kind, **fields)
        apply_entry(self.history, {"kind": kind, **fields})

    def head(self) -> JournalHead:
        """Give the end of the journal."""
        return self._journal.head()

    def seconds(self) -> float:
        """Give the seconds that the run took so far, those of earlier processes included."""
        return self._seconds_before + self._clock.now_seconds() - self._started
