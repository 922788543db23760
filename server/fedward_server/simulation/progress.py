"""Progress of several runs at once: bars on a terminal, a line an evaluation elsewhere.

After its first rounds each run says how long the rest will take: a run of the joint mechanism takes
one step a round, so it may have a thousand of them.
"""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fedward_server.coordinator.observer import RunObserver
from fedward_server.reports.figure_text import counted, duration_text

# The first round of a process loads what the others have at hand, and is not counted.
_TIMED_ROUNDS = 2


class SimulationProgress:
    """Shows every run of a simulation on one console.

    Args:
        console: Where to; its own stream, so that `--json` stays clean.
        num_rounds: Rounds of each run.
        metric: The figure shown beside a bar.
        one_step_a_round: Whether a round is one step, as with the joint mechanism.
        clock: Seconds from any start.
    """

    def __init__(
        self,
        console: Console,
        num_rounds: int,
        metric: str,
        *,
        one_step_a_round: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        self.num_rounds = num_rounds
        self.one_step_a_round = one_step_a_round
        self.clock = clock
        self._metric = metric
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("rounds"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[figure]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "SimulationProgress":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def observer_of(self, label: str) -> RunObserver:
        """Add a bar and give the observer that moves it."""
        task = self._progress.add_task(label, total=self.num_rounds, figure="preparing")
        return _BarObserver(self, self._progress, task, label, self._metric)


class _BarObserver:
    def __init__(
        self,
        owner: SimulationProgress,
        progress: Progress,
        task: TaskID,
        label: str,
        metric: str,
    ) -> None:
        self._owner = owner
        self._progress = progress
        self._task = task
        self._label = label
        self._metric = metric
        self._told: set[tuple[str, str]] = set()
        self._num_committed = 0
        self._timed_since = 0.0

    def accepted(self, sites: Mapping[str, Any], failures: list[dict[str, Any]]) -> None:
        self._progress.update(self._task, figure=f"{len(sites)} sites")
        self._tell(failures)

    def round_begins(self, number: int, attempt: int) -> None:
        self._progress.update(self._task, completed=number - 1)

    def round_committed(
        self, number: int, participants: list[str], failures: list[dict[str, Any]]
    ) -> None:
        self._progress.update(self._task, completed=number)
        self._tell(failures)
        self._project(number)

    def evaluated(self, round_number: int, figures: Mapping[str, Any], *, best: bool) -> None:
        value = figures[self._metric]["value"]
        shown = "undefined" if value is None else f"{value:.3f}"
        text = f"validation {self._metric} {shown}{' (best)' if best else ''}"
        self._progress.update(self._task, figure=text)
        if not self._owner.console.is_terminal:
            self._print(f"{self._label}: round {round_number}, {text}")

    def note(self, text: str) -> None:
        self._print(f"{self._label}: {text}")

    def _tell(self, failures: list[dict[str, Any]]) -> None:
        # Once a site and code: a site that fails every round would fill the screen.
        for failure in failures:
            key = (failure["site"], failure["code"])
            if key not in self._told:
                self._told.add(key)
                number = failure["round"]
                where = f"left out of round {number}" if number else "not accepted"
                who = failure["site"] or "the sum of all sites"
                self._print(f"{self._label}: {who} is {where}: {failure['code']}")

    def _project(self, number: int) -> None:
        """Say once what the rounds after `number` will take, by the first ones of this process."""
        self._num_committed += 1
        now, left = self._owner.clock(), self._owner.num_rounds - number
        if self._num_committed == 1:
            self._timed_since = now
        if self._num_committed != 1 + _TIMED_ROUNDS or left < 1:
            return
        seconds = (now - self._timed_since) / _TIMED_ROUNDS
        step = ", which is one step" if self._owner.one_step_a_round else ""
        a_round = duration_text(seconds) if seconds >= 0.05 else "under 0.1 s"
        self._print(
            f"{self._label}: {a_round} a round{step}; about "
            f"{duration_text(seconds * left)} for the {counted(left, 'round')} left"
        )

    def _print(self, text: str) -> None:
        self._owner.console.print(text, markup=False, highlight=False, soft_wrap=True)
