"""Which runs count in which year, and clocks that are wrong."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from tests.client.ledger.ledgers import (
    CAPS,
    StillClock,
    opened,
    patients,
    refusal,
    reserve,
    steps,
)

NEVER_FORGOTTEN = dataclasses.replace(CAPS, epsilon_total=20.0)
YEARLY = dataclasses.replace(NEVER_FORGOTTEN, window="calendar-year")


def test_a_calendar_year_gives_a_new_budget_and_no_window_never_does(tmp_path: Path) -> None:
    clock = StillClock(2031, 12, 31)
    with opened(tmp_path, clock) as ledger:
        reserve(ledger, "old", planned=steps(15), caps=YEARLY)
        ledger.begin_round("old", 1, 1, steps(15))
        ledger.release("old")
        clock.advance(hours=11)
        assert refusal(lambda: reserve(ledger, "new", caps=YEARLY)) == "BUDGET_EXCEEDED"
        clock.advance(hours=2)
        assert refusal(lambda: reserve(ledger, "new", caps=NEVER_FORGOTTEN)) == "BUDGET_EXCEEDED"
        reserve(ledger, "new", caps=YEARLY)


def test_a_run_that_goes_on_counts_in_the_new_year_as_a_whole(tmp_path: Path) -> None:
    clock = StillClock(2031, 12, 31)
    with opened(tmp_path, clock) as ledger:
        reserve(ledger, "old", planned=steps(15), caps=YEARLY)
        ledger.begin_round("old", 1, 1, steps(10))
        clock.advance(days=1)
        assert refusal(lambda: reserve(ledger, "new", caps=YEARLY)) == "BUDGET_EXCEEDED"
        ledger.begin_round("old", 2, 1, steps(1))
        ledger.release("old")
        assert refusal(lambda: reserve(ledger, "new", caps=YEARLY)) == "BUDGET_EXCEEDED"
        clock.advance(days=366)
        reserve(ledger, "new", caps=YEARLY)


def test_a_clock_that_was_set_back_is_refused_by_name(tmp_path: Path) -> None:
    clock = StillClock(2032, 1, 1)
    with opened(tmp_path, clock) as ledger:
        reserve(ledger)
        clock.advance(seconds=-61)
        acts: list[Callable[[], object]] = [
            lambda: reserve(ledger, "run2"),
            lambda: ledger.begin_round("run1", 1, 1, steps(1)),
            lambda: ledger.release("run1"),
            lambda: ledger.note_evaluation("run1", "test", patients([1]), "exact"),
        ]
        assert [refusal(act) for act in acts] == ["CLOCK_SET_BACK"] * 4
    with opened(tmp_path, clock) as ledger:
        assert refusal(lambda: ledger.begin_round("run1", 1, 1, steps(1))) == "CLOCK_SET_BACK"
        clock.advance(seconds=61)
        ledger.begin_round("run1", 1, 1, steps(1))


def test_a_clock_that_is_put_right_by_a_few_seconds_opens_no_earlier_window(
    tmp_path: Path,
) -> None:
    clock = StillClock(2032, 1, 1)
    clock.advance(hours=-12)
    with opened(tmp_path, clock) as ledger:
        reserve(ledger)
        clock.advance(seconds=-30)
        ledger.begin_round("run1", 1, 1, steps(1))
        times = [entry.at for entry in ledger.accounts.run("run1").begun.values()]
    assert times == ["2032-01-01T00:00:00Z"]


def test_the_time_that_counts_is_that_of_the_clock(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        assert ledger.time() == "2031-05-01T12:00:00Z"
