import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.errors import PrivacyError
from fedward_common.job.training_section import TrainingSection
from fedward_common.privacy.accountant import PLD
from fedward_common.privacy.calibration import (
    noise_multiplier_for,
    require_delta_fits,
    sampling_rate_of,
)
from fedward_common.privacy.disclosures import Disclosure, Gaussian, SampledGaussian, Unbounded

POINTS = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "privacy_reference.json").read_text()
)["points"]
DELTA = 1e-5


def refusal(act: Any, *args: Any, **named: Any) -> str:
    with pytest.raises(PrivacyError) as caught:
        act(*args, **named)
    assert caught.value.hint
    return caught.value.code


def next_smaller(sigma: float) -> float:
    """The multiplier of four digits before this one."""
    digits, exponent = f"{sigma:.3e}".split("e")
    if digits == "1.000":
        return float(f"9.999e{int(exponent) - 1}")
    return float(f"{float(digits) - 0.001:.3f}e{exponent}")


@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p['patients']}-epsilon{p['epsilon']}")
def test_the_noise_of_the_reference_points_is_found(point: dict[str, Any]) -> None:
    rate, delta = point["batch"] / point["patients"], 1 / (10 * point["patients"])
    sigma = noise_multiplier_for(
        point["epsilon"], delta, sampling_rate=rate, num_steps=point["steps"]
    )
    assert sigma == pytest.approx(point["noise_multiplier"], rel=2e-3)
    found = PLD.epsilon_of([SampledGaussian(sigma, rate, point["steps"])], delta)
    assert point["epsilon"] - 0.01 <= found <= point["epsilon"]


@settings(max_examples=12, deadline=None)
@given(
    epsilon=st.floats(0.05, 10.0),
    delta=st.sampled_from([1e-7, 1e-5, 1e-3]),
    rate=st.floats(0.01, 1.0),
    num_steps=st.integers(1, 600),
    already=st.sampled_from([(), (Gaussian(50.0, 1), SampledGaussian(40.0, 0.05, 100))]),
)
def test_the_noise_that_is_found_is_enough_and_the_next_smaller_one_is_not(
    epsilon: float, delta: float, rate: float, num_steps: int, already: tuple[Disclosure, ...]
) -> None:
    def cost(sigma: float) -> float:
        return PLD.epsilon_of([*already, SampledGaussian(sigma, rate, num_steps)], delta)

    try:
        sigma = noise_multiplier_for(
            epsilon, delta, sampling_rate=rate, num_steps=num_steps, already=already
        )
    except PrivacyError as error:
        assert error.code == "BUDGET_EXCEEDED"
        assert PLD.epsilon_of(already, delta) > 0.99 * epsilon
        return
    assert sigma == float(f"{sigma:.3e}")
    assert cost(sigma) <= epsilon < cost(next_smaller(sigma))


def test_what_was_disclosed_before_asks_for_more_noise() -> None:
    named = {"sampling_rate": 0.05, "num_steps": 300}
    fresh = noise_multiplier_for(8.0, DELTA, sampling_rate=0.05, num_steps=300)
    job = SampledGaussian(fresh, 0.05, 300)
    again = noise_multiplier_for(10.0, DELTA, sampling_rate=0.05, num_steps=300, already=(job,))
    assert again > fresh
    assert PLD.epsilon_of([job, SampledGaussian(again, 0.05, 300)], DELTA) <= 10.0
    for beyond in ((job,), (Unbounded("no mechanism"),)):
        code = refusal(noise_multiplier_for, 7.0, DELTA, **named, already=beyond)
        assert code == "BUDGET_EXCEEDED"


def test_a_huge_epsilon_takes_the_least_noise_there_is_and_a_tiny_one_much() -> None:
    assert noise_multiplier_for(9000.0, 1e-3, sampling_rate=1.0, num_steps=1) == 0.01
    assert noise_multiplier_for(1e-3, DELTA, sampling_rate=0.5, num_steps=100) > 100


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_an_epsilon_or_delta_that_is_none_is_refused(wrong: float) -> None:
    named = {"sampling_rate": 0.05, "num_steps": 300}
    assert refusal(noise_multiplier_for, wrong, DELTA, **named) == "INVALID_EPSILON"
    assert refusal(noise_multiplier_for, 1.0, wrong, **named) == "INVALID_DELTA"
    assert refusal(require_delta_fits, wrong, 100) == "INVALID_DELTA"


@pytest.mark.parametrize(("rate", "num_steps"), [(0.0, 1), (1.5, 1), (math.nan, 1), (0.5, 0)])
def test_a_schedule_that_is_none_is_refused(rate: float, num_steps: int) -> None:
    code = refusal(noise_multiplier_for, 1.0, DELTA, sampling_rate=rate, num_steps=num_steps)
    assert code == "INVALID_DISCLOSURE"


@pytest.mark.parametrize("num_patients", [1, 3, 7, 49, 1000, 4708, 10_000, 123_457])
def test_delta_is_a_tenth_of_one_over_the_patients_at_most(num_patients: int) -> None:
    at_most = 1 / (10 * num_patients)
    require_delta_fits(at_most, num_patients)
    beyond = math.nextafter(at_most, 1.0)
    assert refusal(require_delta_fits, beyond, num_patients) == "DELTA_TOO_LARGE"


def test_a_decimal_delta_fits_the_patients_that_it_was_written_for() -> None:
    for delta, num_patients in ((1e-5, 10_000), (2e-5, 5000), (1e-4, 1000), (1e-6, 100_000)):
        require_delta_fits(delta, num_patients)


def test_the_sampling_rate_is_the_batchs_share_or_the_one_that_is_given() -> None:
    batches = TrainingSection(local_steps=1, batch_patients=64)
    assert sampling_rate_of(batches, 546) == 64 / 546
    assert sampling_rate_of(batches, 64) == 1.0
    assert sampling_rate_of(TrainingSection(local_steps=1, sampling_rate=0.05), 3) == 0.05


def test_a_batch_of_more_patients_than_there_are_is_refused() -> None:
    batches = TrainingSection(local_steps=1, batch_patients=64)
    assert refusal(sampling_rate_of, batches, 63) == "BATCH_TOO_LARGE"


@pytest.mark.parametrize("none", [0, -5])
def test_a_site_without_patients_is_refused(none: int) -> None:
    assert refusal(require_delta_fits, DELTA, none) == "NO_PATIENTS"
    for section in (
        TrainingSection(local_steps=1, batch_patients=1),
        TrainingSection(local_steps=1, sampling_rate=0.5),
    ):
        assert refusal(sampling_rate_of, section, none) == "NO_PATIENTS"
