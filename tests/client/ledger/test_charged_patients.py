"""Whom a ledger charges: patients in several runs and cohorts, in any order, and their total."""

import dataclasses
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.client.ledger.ledgers import (
    CAPS,
    TOY,
    StillClock,
    opened,
    patients,
    refusal,
    reserve,
    steps,
    steps_by_patient,
)

from fedward_client.ledger.budget import Accounting, Caps
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.statement import statement_of
from fedward_client.site_home import create_site_home
from fedward_common.privacy.disclosures import SampledGaussian, Unbounded

TWENTY = dataclasses.replace(CAPS, epsilon_total=20.0)


def test_a_patient_in_two_cohorts_is_charged_in_both(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, "run1", range(10), steps(12), TWENTY, "chest")
        reserve(ledger, "run2", range(10, 20), steps(12), TWENTY, "abdomen")
        both = partial(reserve, ledger, "run3", [*range(20, 90), 3], steps(9), TWENTY, "both")
        assert refusal(both) == "BUDGET_EXCEEDED"
        reserve(ledger, "run4", range(20, 90), steps(9), TWENTY, "others")
        reserve(ledger, "run5", [*range(20), 90], steps(8), TWENTY, "all")
        assert max(steps_by_patient(ledger, with_reserved=True).values()) == 20


def test_what_is_reserved_counts_as_if_spent_and_what_is_given_back_does_not(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, "run1", planned=steps(15), caps=TWENTY)
        ledger.begin_round("run1", 1, 1, steps(5))
        second = partial(reserve, ledger, "run2", planned=steps(10), caps=TWENTY)
        assert refusal(second) == "BUDGET_EXCEEDED"
        ledger.release("run1")
        second()
        third = partial(reserve, ledger, "run3", planned=steps(6), caps=TWENTY)
        assert refusal(third) == "BUDGET_EXCEEDED"


STRICT_FILTER = Accounting(
    TOY.epsilon_of,
    lambda spent, planned, *, epsilon_cap, delta: TOY.admits(
        spent, planned, epsilon_cap=0.8 * epsilon_cap, delta=delta
    ),
)


def test_a_first_run_beyond_the_filter_gives_nothing_back_once_it_has_begun(
    tmp_path: Path,
) -> None:
    """To stop it early and use the rest is a choice by results, which only a filter covers."""
    with opened(tmp_path, accounting=STRICT_FILTER) as ledger:
        reserve(ledger, "seen", [1], steps(17), TWENTY)
        ledger.begin_round("seen", 1, 1, steps(1))
        ledger.release("seen")
        second = partial(reserve, ledger, "second", [1], steps(1), TWENTY)
        assert refusal(second) == "BUDGET_EXCEEDED"
        assert ledger.accounts.run("seen").still_reserved == (steps(16),)
        reserve(ledger, "unseen", [2], steps(17), TWENTY)
        ledger.release("unseen")
        reserve(ledger, "small", [2], steps(16), TWENTY)
        ledger.begin_round("small", 1, 1, steps(1))
        ledger.release("small")
        reserve(ledger, "third", [2], steps(15), TWENTY)


def test_nobody_escapes_by_standing_twice_or_in_another_order(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, "run1", [3, 1, 2, 1], steps(12), TWENTY)
        again = partial(reserve, ledger, "run2", [9, 2], steps(12), TWENTY)
        assert refusal(again) == "BUDGET_EXCEEDED"
        assert ledger.accounts.run("run1").reserved.num_patients == 3


def test_patients_without_a_bound_are_marked_and_the_policy_decides(tmp_path: Path) -> None:
    lax = dataclasses.replace(CAPS, unbounded_allowed=True)
    plain = Unbounded("training without differential privacy")
    with opened(tmp_path) as ledger:
        forbidden = refusal(lambda: reserve(ledger, "r1", planned=plain))
        assert forbidden == "UNBOUNDED_NOT_ALLOWED"
        reserve(ledger, "r1", range(4), plain, lax)
        ledger.begin_round("r1", 1, 1, plain)
        ledger.begin_round("r1", 2, 1, plain)
        assert refusal(lambda: reserve(ledger, "r2", [3, 4])) == "BUDGET_EXCEEDED"
        reserve(ledger, "r2", [4])
        reserve(ledger, "r3", [3, 4], caps=lax)
        assert ledger.accounts.run("r1").charged == (plain,)


small_runs = st.lists(
    st.tuples(st.frozensets(st.integers(0, 9), min_size=1), st.integers(1, 12)), max_size=7
)


@given(runs=small_runs)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_run_is_accepted_exactly_if_no_patient_passes_the_total(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[frozenset[int], int]]
) -> None:
    """Against an oracle that adds up each patient's steps."""
    spent = dict.fromkeys(range(10), 0)
    with opened(tmp_path_factory.mktemp("ledger")) as ledger:
        for number, (members, count) in enumerate(runs):
            fits = all(spent[one] + count <= 20 for one in members)
            act = partial(
                reserve,
                ledger,
                f"run{number}",
                members,
                steps(count),
                TWENTY,
            )
            if not fits:
                assert refusal(act) == "BUDGET_EXCEEDED"
                continue
            act()
            for one in members:
                spent[one] += count
        found = steps_by_patient(ledger, with_reserved=True)
        assert found == {patients([k])[0].tobytes(): n for k, n in spent.items() if n}


def test_a_patients_epsilon_does_not_depend_on_the_order_of_the_runs(tmp_path: Path) -> None:
    runs = [("a", range(6), steps(5)), ("b", range(3, 9), steps(4, 2.0)), ("c", [0, 5], steps(2))]
    seen = set()
    for order in itertools.permutations(runs):
        with opened(tmp_path / "".join(run for run, _, _ in order)) as ledger:
            for run, members, planned in order:
                reserve(ledger, run, members, planned)
                ledger.begin_round(run, 1, 1, planned)
            statement = statement_of(ledger, CAPS)
            spent = {one.run: one.epsilon_left for one in statement.runs}
            seen.add((statement.most_spent, statement.most_charged, *sorted(spent.items())))
    assert seen == {(9.0, 9.0, ("a", 91.0), ("b", 91.0), ("c", 91.0))}


def test_with_the_sites_own_accounting_the_same_job_is_refused_the_second_time(
    tmp_path: Path,
) -> None:
    home = create_site_home(tmp_path, split_key=bytes(32))
    caps = Caps(epsilon_per_job=8, delta_per_job=2e-5, epsilon_total=10, delta_total=1e-5)
    job = SampledGaussian(1.03, 256 / 4708, 551)
    with open_ledger(home, StillClock()) as ledger:
        reserve(ledger, "run1", range(50), job, caps)
        assert refusal(lambda: reserve(ledger, "run2", [49, 50], job, caps)) == "BUDGET_EXCEEDED"
        reserve(ledger, "run2", [50], job, caps)
        statement = statement_of(ledger, caps)
    assert [one.epsilon_spent for one in statement.runs] == [0.0, 0.0]
    assert 7.5 < statement.runs[0].epsilon_reserved < 9
    assert 7.5 < statement.most_charged < 9


def test_runs_of_a_hundred_thousand_patients_are_grouped_by_what_they_share(
    tmp_path: Path,
) -> None:
    rows = np.random.default_rng(3).integers(0, 256, (110_000, 16)).astype(np.uint8)
    with opened(tmp_path) as ledger:
        for number in range(12):
            chosen = rows[number * 100 : 100_000 + number * 100]
            ledger.reserve(f"run{number}", "p", "c", chosen, (steps(1),), CAPS)
        too_much = partial(
            ledger.reserve, "last", "p", "c", rows[10_000:20_000], (steps(89),), CAPS
        )
        assert refusal(too_much) == "BUDGET_EXCEEDED"
        ledger.reserve("last", "p", "c", rows[10_000:20_000], (steps(88),), CAPS)
        ledger.reserve("other", "p", "c", rows[105_000:], (steps(100),), CAPS)
