"""What a ledger charges, to whom, and what it refuses."""

import dataclasses
import itertools
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.client.ledger.ledgers import (
    CAPS,
    TOY,
    StillClock,
    essence,
    opened,
    patients,
    refusal,
    reserve,
    steps,
    steps_by_patient,
)

from fedward_client.ledger.budget import Accounting, Caps
from fedward_client.ledger.heads import blinded
from fedward_client.ledger.ledger_file import forget_what_was_verified
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.statement import statement_of
from fedward_client.site_home import create_site_home
from fedward_common.errors import LedgerDamagedError, LockedError
from fedward_common.privacy.disclosures import SampledGaussian, Unbounded

KEY = b"k" * 32
TWENTY = dataclasses.replace(CAPS, epsilon_total=20.0)


# -- one run ---------------------------------------------------------------------------------------


def test_a_run_is_reserved_begun_committed_and_released_and_all_of_it_survives(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, planned=steps(10))
        ledger.begin_round("run1", 1, 1, steps(2))
        ledger.commit_round("run1", 1, 1)
        ledger.begin_round("run1", 2, 1, steps(3))
        ledger.note_evaluation("run1", "validation", patients([9]), "exact")
        before = essence(ledger)
    assert before == [
        {
            "run": "run1",
            "spent": (steps(5),),
            "reserved": (steps(5),),
            "begun": [(1, 1), (2, 1)],
            "committed": [(1, 1)],
            "released": False,
        }
    ]
    with opened(tmp_path) as ledger:
        assert essence(ledger) == before
        assert [one.split for one in ledger.accounts.evaluations] == ["validation"]
        ledger.release("run1")
    with opened(tmp_path) as ledger:
        (found,) = essence(ledger)
        assert (found["spent"], found["reserved"]) == ((steps(5),), ())


def test_what_was_begun_and_never_committed_stays_spent(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
        ledger.begin_round("run1", 1, 1, steps(4))
    with opened(tmp_path) as ledger:
        ledger.release("run1")
        assert ledger.accounts.run("run1").charged == (steps(4),)


def test_a_round_is_begun_once_and_another_attempt_is_another_charge(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, planned=steps(5))
        ledger.begin_round("run1", 1, 1, steps(2))
        again = refusal(lambda: ledger.begin_round("run1", 1, 1, steps(2)))
        assert again == "ROUND_ALREADY_BEGUN"
        ledger.begin_round("run1", 1, 2, steps(2))
        assert ledger.accounts.run("run1").spent == (steps(4),)
        third = refusal(lambda: ledger.begin_round("run1", 1, 3, steps(2)))
        assert third == "BUDGET_EXCEEDED"
        ledger.begin_round("run1", 1, 3, steps(1))
    with opened(tmp_path) as ledger:
        assert refusal(lambda: ledger.begin_round("run1", 2, 1, steps(1))) == "BUDGET_EXCEEDED"
        assert ledger.has_begun("run1", 1)
        assert not ledger.has_begun("run1", 2)
        assert not ledger.has_begun("run2", 1)


def test_spare_attempts_are_charged_with_the_plan_and_can_be_begun(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        over = partial(reserve, ledger, planned=steps(96), spare=(steps(5),))
        assert refusal(over) == "EPSILON_ABOVE_CAP"
        reserve(ledger, planned=steps(4), spare=(steps(2),))
        for attempt in (1, 2, 3):
            ledger.begin_round("run1", 1, attempt, steps(2))
        assert refusal(lambda: ledger.begin_round("run1", 1, 4, steps(2))) == "BUDGET_EXCEEDED"


@pytest.mark.parametrize(
    "other",
    [SampledGaussian(0.5, 0.5, 1), SampledGaussian(1.0, 0.6, 1), Unbounded("no mechanism")],
    ids=["less noise", "larger samples", "no bound"],
)
def test_a_round_of_another_mechanism_than_was_reserved_is_refused(
    tmp_path: Path, other: SampledGaussian | Unbounded
) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
        assert refusal(lambda: ledger.begin_round("run1", 1, 1, other)) == "BUDGET_EXCEEDED"


def test_what_a_run_may_not_do_is_refused_by_name_and_writes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
        reserve(ledger, "gone")
        ledger.release("gone")
        ledger.release("gone")
        head, entries = ledger.head(), ledger.num_entries
        codes = [
            refusal(lambda: reserve(ledger)),
            refusal(lambda: ledger.begin_round("none", 1, 1, steps(1))),
            refusal(lambda: ledger.begin_round("gone", 1, 1, steps(1))),
            refusal(lambda: ledger.commit_round("run1", 1, 1)),
            refusal(lambda: ledger.commit_round("none", 1, 1)),
            refusal(lambda: ledger.release("none")),
            refusal(lambda: reserve(ledger, "empty", numbers=())),
        ]
        assert codes == [
            "RUN_ALREADY_RESERVED",
            "RUN_NOT_RESERVED",
            "RUN_RELEASED",
            "ROUND_NOT_BEGUN",
            "RUN_NOT_RESERVED",
            "RUN_NOT_RESERVED",
            "NOTHING_TO_RESERVE",
        ]
        assert (ledger.head(), ledger.num_entries) == (head, entries)
        assert ledger.has_reserved("gone")
        assert not ledger.has_reserved("none")


def test_a_run_is_committed_twice_as_if_once(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
        ledger.begin_round("run1", 1, 1, steps(1))
        ledger.commit_round("run1", 1, 1)
        head = ledger.head()
        ledger.commit_round("run1", 1, 1)
        assert ledger.head() == head


@pytest.mark.parametrize(("number", "attempt"), [(-1, 1), (1, -1), (1.0, 1), (True, 1), ("1", 1)])
def test_what_could_not_be_read_back_is_not_written(
    tmp_path: Path, number: Any, attempt: Any
) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
        wrong = refusal(lambda: ledger.begin_round("run1", number, attempt, steps(1)))
        assert wrong == "INVALID_ENTRY"
    with opened(tmp_path) as ledger:
        assert not ledger.accounts.run("run1").begun


def test_a_cohort_that_has_grown_since_the_reservation_does_not_train(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, numbers=range(5))
        ledger.require_charged("run1", patients([4, 0, 4]))
        grown = partial(ledger.require_charged, "run1", patients(range(6)))
        assert refusal(grown) == "PATIENTS_NOT_CHARGED"
        unknown = partial(ledger.require_charged, "run2", patients([0]))
        assert refusal(unknown) == "RUN_NOT_RESERVED"


# -- patients --------------------------------------------------------------------------------------


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


# -- one at a time ---------------------------------------------------------------------------------


def test_a_second_opener_is_refused_by_name_and_the_first_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        with pytest.raises(LockedError, match="privacy ledger"):
            opened(tmp_path)
        reserve(ledger)
    with opened(tmp_path) as ledger:
        assert ledger.has_reserved("run1")


def test_another_process_is_refused_by_name(tmp_path: Path, project_root: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from fedward_common.errors import LockedError\n"
        "from tests.client.ledger.ledgers import opened\n"
        "try:\n"
        "    opened(pathlib.Path(sys.argv[1])).close()\n"
        "except LockedError as error:\n"
        "    print(error.code)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(project_root)}

    def other_process_says() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True, text=True, check=True, timeout=60, env=environment,
        ).stdout.strip()  # fmt: skip

    with opened(tmp_path):
        assert other_process_says() == "LOCKED"
    assert other_process_says() == ""


def test_what_another_process_wrote_is_seen_and_so_is_what_this_one_knew(
    tmp_path: Path, project_root: Path
) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, "run1")
        first = ledger.accounts
    program = (
        "import pathlib, sys\n"
        "from tests.client.ledger.ledgers import opened, reserve, steps\n"
        "with opened(pathlib.Path(sys.argv[1])) as ledger:\n"
        "    ledger.begin_round('run1', 1, 1, steps(3))\n"
        "    reserve(ledger, 'run2')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(project_root)}
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60, env=environment
    )
    with opened(tmp_path) as ledger:
        ledger.begin_round("run1", 2, 1, steps(3))
        found = essence(ledger)
    assert [one["begun"] for one in found] == [[(1, 1), (2, 1)], []]
    assert not first.runs["run1"].begun  # what was closed does not change any more
    forget_what_was_verified()
    with opened(tmp_path) as ledger:
        assert essence(ledger) == found


# -- heads -----------------------------------------------------------------------------------------


def test_a_blinded_head_tells_nothing_but_whether_the_ledger_still_descends_from_it(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
        kept = ledger.blinded_head(KEY)
        assert kept == blinded(ledger.head(), KEY) != ledger.head()
        assert kept != ledger.blinded_head(b"l" * 32)
        ledger.begin_round("run1", 1, 1, steps(1))
        assert ledger.blinded_head(KEY) != kept
        ledger.require_descends_from(kept, KEY)
    with opened(tmp_path / "other") as other, pytest.raises(LedgerDamagedError, match="peer"):
        other.require_descends_from(kept, KEY)


def test_a_short_key_blinds_nothing_and_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger, pytest.raises(ValueError, match="16 bytes"):
        ledger.blinded_head(b"short")


def test_everything_a_ledger_keeps_is_for_its_owner_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        with opened(tmp_path) as ledger:
            reserve(ledger)
    finally:
        os.umask(previous)
    for path in (tmp_path / "ledger", tmp_path / "trust", *tmp_path.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
