"""What a ledger lets one run do, and what its head says of it."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.client.ledger.ledgers import essence, opened, patients, refusal, reserve, steps

from fedward_client.ledger.heads import blinded
from fedward_common.errors import LedgerDamagedError
from fedward_common.privacy.disclosures import SampledGaussian, Unbounded

KEY = b"k" * 32


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
        ledger.require_charged("run1", patients([4, 0, 4]), (steps(6), steps(4)))
        grown = partial(ledger.require_charged, "run1", patients(range(6)), (steps(10),))
        assert refusal(grown) == "PATIENTS_NOT_CHARGED"
        unknown = partial(ledger.require_charged, "run2", patients([0]), (steps(10),))
        assert refusal(unknown) == "RUN_NOT_RESERVED"


@pytest.mark.parametrize(
    "other", [steps(11), steps(10, 0.9), Unbounded("no mechanism")], ids=["more", "quieter", "none"]
)
def test_a_run_does_not_go_on_with_another_mechanism_than_it_was_reserved_with(
    tmp_path: Path, other: SampledGaussian | Unbounded
) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger, planned=steps(10))
        changed = partial(ledger.require_charged, "run1", patients([0]), (other,))
        assert refusal(changed) == "RUN_ALREADY_RESERVED"


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
