import io
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from fedward_server.simulation.progress import SimulationProgress


@dataclass
class Shown:
    """A run that takes a few seconds a round, and what a person reads of it."""

    num_rounds: int
    one_step_a_round: bool = False
    is_terminal: bool = False
    now: float = 100.0
    text: io.StringIO = field(default_factory=io.StringIO)

    def lines(self, seconds: list[float], first: int = 1) -> list[str]:
        """Commit a round after each of these times; give the lines about the time left."""
        console = Console(file=self.text, width=200, force_terminal=self.is_terminal)
        progress = SimulationProgress(
            console, self.num_rounds, "auc",
            one_step_a_round=self.one_step_a_round, clock=lambda: self.now,
        )  # fmt: skip
        with progress:
            observer = progress.observer_of("federated")
            observer.accepted({"a": 1}, [])
            for number, one in enumerate(seconds, start=first):
                observer.round_begins(number, 1)
                self.now += one
                observer.round_committed(number, ["a"], [])
        return [line for line in self.text.getvalue().splitlines() if "left" in line]


def test_after_three_rounds_the_rest_is_projected_once_and_the_first_does_not_count() -> None:
    lines = Shown(200).lines([30.0, 1.5, 2.5, 9.0, 9.0])
    assert lines == ["federated: 2.0 s a round; about 6 min 34 s for the 197 rounds left"]


def test_with_the_joint_mechanism_it_says_that_a_round_is_a_step() -> None:
    (line,) = Shown(1003, one_step_a_round=True).lines([9.0, 0.5, 0.5])
    assert line.startswith("federated: 0.5 s a round, which is one step; about 8 min 20 s for ")
    assert line.endswith("the 1,000 rounds left")


def test_a_resumed_run_counts_the_rounds_of_this_process() -> None:
    (line,) = Shown(100).lines([50.0, 1.0, 1.0], first=90)
    assert line == "federated: 1.0 s a round; about 8.0 s for the 8 rounds left"


def test_rounds_of_milliseconds_are_not_said_to_take_no_time() -> None:
    (line,) = Shown(1003).lines([0.004] * 3)
    assert line == "federated: under 0.1 s a round; about 4.0 s for the 1,000 rounds left"


@pytest.mark.parametrize("num_rounds", [1, 2, 3])
def test_a_run_that_is_over_by_then_projects_nothing(num_rounds: int) -> None:
    assert Shown(num_rounds).lines([1.0] * num_rounds) == []


def test_a_terminal_is_told_above_its_bars() -> None:
    lines = Shown(10, is_terminal=True).lines([1.0] * 4)
    assert sum("for the 7 rounds left" in line for line in lines) == 1
