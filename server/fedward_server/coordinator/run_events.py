"""A run's progress as lines of the coordinator's log."""

from collections.abc import Mapping
from typing import Any

from fedward_common.event_lines import Tell


class RunEvents:
    """Tells what happens in one run; figures stay in its journal.

    Args:
        tell: Writes lines.
        run: The run's name.
    """

    def __init__(self, tell: Tell, run: str) -> None:
        self._tell = tell
        self._run = run

    def accepted(self, sites: Mapping[str, Any], failures: list[dict[str, Any]]) -> None:
        """Tell who takes part."""
        self._tell("run.accepted", run=self._run, sites=sorted(sites), failures=_codes_of(failures))

    def round_begins(self, number: int, attempt: int) -> None:
        """Tell that a round is sent out."""
        self._tell("round.begins", run=self._run, round=number, attempt=attempt)

    def round_committed(
        self, number: int, participants: list[str], failures: list[dict[str, Any]]
    ) -> None:
        """Tell that new weights are on disk."""
        self._tell(
            "round.committed",
            run=self._run,
            round=number,
            sites=participants,
            failures=_codes_of(failures),
        )

    def evaluated(self, round_number: int, figures: Mapping[str, Any], *, best: bool) -> None:
        """Tell that a round was evaluated."""
        self._tell("round.evaluated", run=self._run, round=round_number, best=best)

    def note(self, text: str) -> None:
        """Tell what a person should know."""
        self._tell("run.note", run=self._run, text=text)


def _codes_of(failures: list[dict[str, Any]]) -> list[str]:
    return [f"{failure['site']}: {failure['code']}" for failure in failures]
