import dataclasses
import math
from pathlib import Path

from tests.client.ledger.ledgers import CAPS, StillClock, opened, patients, reserve, steps

from fedward_client.ledger.statement import statement_of
from fedward_common.privacy.disclosures import Unbounded


def test_a_statement_tells_what_each_run_spent_and_the_most_of_any_patient(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, "run1", range(10), steps(20), cohort="chest")
        ledger.begin_round("run1", 1, 1, steps(5))
        ledger.commit_round("run1", 1, 1)
        ledger.begin_round("run1", 2, 1, steps(5))
        ledger.note_evaluation("run1", "validation", patients([50]), "exact")
        reserve(ledger, "run2", range(9, 12), steps(30), cohort="abdomen")
        ledger.begin_round("run2", 1, 1, steps(4))
        ledger.release("run2")
        found = statement_of(ledger, CAPS)
    first, second = found.runs
    assert (first.epsilon_spent, first.epsilon_reserved, first.epsilon_left) == (10, 10, 76)
    assert (second.epsilon_spent, second.epsilon_reserved, second.epsilon_left) == (4, 0, 76)
    assert (first.attempts_begun, first.attempts_committed, first.evaluations) == (2, 1, 1)
    assert (first.state, second.state) == ("open", "released")
    assert (found.most_spent, found.most_charged) == (14, 24)  # patient 9 is in both
    assert (found.num_patients, found.earlier_runs, found.overrides) == (12, 0, 0)


def test_a_cohorts_statement_still_counts_what_its_patients_spent_elsewhere(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, "run1", range(10), steps(20), cohort="chest")
        reserve(ledger, "run2", range(9, 12), steps(30), cohort="abdomen")
        chest = statement_of(ledger, CAPS, "chest")
        none = statement_of(ledger, CAPS, "none")
    assert [one.run for one in chest.runs] == ["run1"]
    assert (chest.most_spent, chest.most_charged, chest.num_patients) == (0, 50, 10)
    assert (none.runs, none.most_charged, none.num_patients) == ((), 0, 0)


def test_runs_of_an_earlier_window_are_counted_apart(tmp_path: Path) -> None:
    yearly = dataclasses.replace(CAPS, window="calendar-year")
    clock = StillClock(2031)
    with opened(tmp_path, clock) as ledger:
        reserve(ledger, "run1")
        ledger.begin_round("run1", 1, 1, steps(5))
        ledger.release("run1")
        clock.advance(days=365)
        reserve(ledger, "run2", planned=steps(1))
        this_year, ever = statement_of(ledger, yearly), statement_of(ledger, CAPS)
    assert [one.run for one in this_year.runs] == ["run2"]
    assert (this_year.earlier_runs, this_year.most_spent, this_year.most_charged) == (1, 0, 1)
    assert (ever.earlier_runs, ever.most_spent, ever.most_charged) == (0, 5, 6)


def test_a_run_without_a_bound_leaves_nothing(tmp_path: Path) -> None:
    lax = dataclasses.replace(CAPS, unbounded_allowed=True)
    with opened(tmp_path) as ledger:
        reserve(ledger, "run1", planned=Unbounded("no mechanism"), caps=lax)
        before = statement_of(ledger, lax)
        ledger.begin_round("run1", 1, 1, Unbounded("no mechanism"))
        after = statement_of(ledger, lax)
    assert (before.most_spent, before.most_charged) == (0, math.inf)
    assert (before.runs[0].epsilon_reserved, before.runs[0].epsilon_left) == (math.inf, 0)
    assert (after.most_spent, after.runs[0].epsilon_spent) == (math.inf, math.inf)
    assert after.runs[0].epsilon_reserved == 0


def test_a_statement_can_be_read_while_the_clock_is_behind(tmp_path: Path) -> None:
    clock = StillClock(2031)
    with opened(tmp_path, clock) as ledger:
        reserve(ledger)
        clock.advance(days=-3)
        assert len(statement_of(ledger, CAPS).runs) == 1
