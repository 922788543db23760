import dataclasses
import math

import pytest
from tests.client.ledger.ledgers import CAPS, TOY, steps

from fedward_client.ledger.budget import (
    Accounting,
    Caps,
    require_job_within_cap,
    require_patients_within_cap,
    site_accounting,
)
from fedward_client.ledger.charges import Charges
from fedward_common.errors import PrivacyError
from fedward_common.privacy.disclosures import SampledGaussian, Unbounded

UNBOUNDED = Unbounded("no mechanism")


def refusal(act: object, *args: object) -> str:
    with pytest.raises(PrivacyError) as caught:
        act(*args)  # type: ignore[operator]
    assert caught.value.hint
    return caught.value.code


def caps(**other: object) -> Caps:
    return dataclasses.replace(CAPS, **other)  # type: ignore[arg-type]


def of_patients(spent: Charges, wanted: Charges, held_to: Caps = CAPS) -> None:
    require_patients_within_cap("r", 3, spent, wanted, held_to, TOY)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("key", ["epsilon_per_job", "epsilon_total"])
def test_a_cap_that_bounds_nothing_is_refused(key: str, wrong: float) -> None:
    assert refusal(lambda: caps(**{key: wrong})) == "INVALID_CAPS"


@pytest.mark.parametrize("wrong", [0.0, 1.0, -1.0, math.nan])
@pytest.mark.parametrize("key", ["delta_per_job", "delta_total"])
def test_a_delta_outside_of_0_and_1_is_refused(key: str, wrong: float) -> None:
    assert refusal(lambda: caps(**{key: wrong})) == "INVALID_CAPS"


def test_a_job_at_its_cap_is_accepted_and_one_beyond_it_refused() -> None:
    require_job_within_cap("r", (steps(100),), CAPS, TOY)
    assert refusal(require_job_within_cap, "r", (steps(101),), CAPS, TOY) == "EPSILON_ABOVE_CAP"


def test_an_epsilon_that_is_no_number_is_refused() -> None:
    broken = Accounting(lambda charges, delta: math.nan, TOY.admits)
    code = refusal(require_job_within_cap, "r", (steps(1),), CAPS, broken)
    assert code == "EPSILON_ABOVE_CAP"
    args = ("r", 3, (), (steps(1),), CAPS, broken)
    assert refusal(require_patients_within_cap, *args) == "BUDGET_EXCEEDED"


def test_what_was_spent_and_what_is_wanted_are_held_to_the_total_together() -> None:
    of_patients((steps(60),), (steps(40),))
    assert refusal(of_patients, (steps(60),), (steps(41),)) == "BUDGET_EXCEEDED"
    assert refusal(of_patients, (steps(60, 2.0), steps(60)), (steps(11),)) == "BUDGET_EXCEEDED"


def test_the_filter_is_asked_about_everything_once_a_patient_has_a_past() -> None:
    asked: list[tuple[int, float, float]] = []

    def refuses(spent: object, planned: object, *, epsilon_cap: float, delta: float) -> bool:
        asked.append((len(spent), epsilon_cap, delta))  # type: ignore[arg-type]
        return False

    strict = Accounting(TOY.epsilon_of, refuses)
    wanted = (steps(1), steps(1, 2.0))
    require_patients_within_cap("r", 3, (), wanted, CAPS, strict)
    assert asked == []
    args = ("r", 3, (steps(1),), wanted, CAPS, strict)
    assert refusal(require_patients_within_cap, *args) == "BUDGET_EXCEEDED"
    assert asked == [(2, 100.0, 1e-5)]


def test_training_without_a_mechanism_needs_a_policy_that_allows_it() -> None:
    code = refusal(require_job_within_cap, "r", (UNBOUNDED,), CAPS, TOY)
    assert code == "UNBOUNDED_NOT_ALLOWED"
    require_job_within_cap("r", (UNBOUNDED,), caps(unbounded_allowed=True), TOY)


def test_patients_without_a_bound_are_refused_until_the_policy_lets_bounds_go() -> None:
    assert refusal(of_patients, (UNBOUNDED,), (steps(1),)) == "BUDGET_EXCEEDED"
    of_patients((UNBOUNDED,), (steps(1),), caps(unbounded_allowed=True))
    # A policy that allows unbounded jobs still keeps the total of those who never were in one.
    of_patients((steps(60),), (UNBOUNDED,), caps(unbounded_allowed=True))
    args = ((steps(60),), (steps(41),), caps(unbounded_allowed=True))
    assert refusal(of_patients, *args) == "BUDGET_EXCEEDED"


def test_the_sites_accounting_composes_what_ten_jobs_of_one_kind_cost() -> None:
    """A job of epsilon 5.6, ten times: about 22, not 56."""
    accounting = site_accounting()
    job = SampledGaussian(1.021, 256 / 4708, 551)
    one = accounting.epsilon_of((job,), 1e-5)
    ten = accounting.epsilon_of((dataclasses.replace(job, num_steps=5510),), 1e-5)
    assert one < ten < 5 * one
    assert accounting.admits((), job, epsilon_cap=1.2 * one, delta=1e-5)
    assert not accounting.admits((job,), job, epsilon_cap=1.2 * one, delta=1e-5)
