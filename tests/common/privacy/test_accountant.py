import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.privacy.privacy_oracle import Steps, exact_epsilon

from fedward_common.errors import PrivacyError
from fedward_common.privacy.accountant import (
    ABSOLUTE_TOLERANCE,
    PLD,
    RELATIVE_TOLERANCE,
    combined_noise_multiplier,
)
from fedward_common.privacy.disclosures import (
    Disclosure,
    Gaussian,
    JointSteps,
    SampledGaussian,
    Unbounded,
)

POINTS = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "privacy_reference.json").read_text()
)["points"]
DELTA = 1e-5
# The job of the reference whose noise is set for epsilon 5.6.
JOB = SampledGaussian(1.248, 256 / 4708, 551)
JOB_DELTA = 1 / 47080

steps_of_jobs = st.builds(
    SampledGaussian, st.floats(0.8, 8.0), st.floats(0.01, 0.3), st.integers(20, 400)
)
any_bounded: st.SearchStrategy[Disclosure] = st.one_of(
    steps_of_jobs,
    st.builds(Gaussian, st.floats(2.0, 20.0), st.integers(1, 3)),
    st.builds(
        JointSteps, st.floats(1.0, 8.0), st.floats(0.01, 0.3), st.integers(1, 200), st.just(1e-12)
    ),
)
few = settings(max_examples=15, deadline=None)


def spread(epsilon: float) -> float:
    """How far two roundings of one epsilon may lie apart."""
    return 2 * (ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * epsilon)


@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p['patients']}-epsilon{p['epsilon']}")
def test_the_reference_points_are_met(point: dict[str, Any]) -> None:
    job = SampledGaussian(
        point["noise_multiplier"], point["batch"] / point["patients"], point["steps"]
    )
    found = PLD.epsilon_of([job], 1 / (10 * point["patients"]))
    assert found == pytest.approx(point["epsilon"], abs=0.01)
    assert 0 <= found - point["exact_epsilon"] <= spread(found)


def test_nothing_disclosed_costs_nothing() -> None:
    assert PLD.epsilon_of([], DELTA) == 0.0


def test_training_without_a_mechanism_is_infinite_whatever_else_there_is() -> None:
    assert PLD.epsilon_of([Unbounded("no mechanism")], DELTA) == math.inf
    assert PLD.epsilon_of([JOB, Unbounded("no mechanism"), JOB], DELTA) == math.inf


def test_what_is_not_known_is_refused_by_name() -> None:
    @dataclasses.dataclass(frozen=True)
    class Laplace:
        scale: float

    for unknown in (Laplace(1.0), "SampledGaussian", None):
        disclosures: list[Any] = [JOB, unknown]
        with pytest.raises(PrivacyError) as caught:
            PLD.epsilon_of(disclosures, DELTA)
        assert caught.value.code == "UNKNOWN_DISCLOSURE"
        assert type(unknown).__name__ in str(caught.value)


@pytest.mark.parametrize("wrong", [0.0, -1e-5, 1.0, 2.0, math.nan, math.inf])
def test_a_delta_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(PrivacyError) as caught:
        PLD.epsilon_of([JOB], wrong)
    assert caught.value.code == "INVALID_DELTA"


def test_repeating_a_job_adds_less_than_its_epsilon_each_time() -> None:
    times = (1, 2, 5, 10)
    found = [PLD.epsilon_of([JOB] * many, JOB_DELTA) for many in times]
    assert found == pytest.approx([5.6, 8.2, 14.2, 22.1], abs=0.25)
    exact = [exact_epsilon([Steps(1.248, 256 / 4708, 551 * many)], JOB_DELTA) for many in times]
    assert found == pytest.approx(exact, abs=0.005)


@few
@given(jobs=st.lists(any_bounded, min_size=2, max_size=4), data=st.data())
def test_the_order_of_disclosures_makes_no_difference(jobs: list[Disclosure], data: Any) -> None:
    shuffled = data.draw(st.permutations(jobs))
    assert PLD.epsilon_of(shuffled, DELTA) == PLD.epsilon_of(jobs, DELTA)


@few
@given(job=steps_of_jobs, times=st.integers(2, 6))
def test_a_job_done_k_times_is_one_of_k_times_the_steps(job: SampledGaussian, times: int) -> None:
    longer = dataclasses.replace(job, num_steps=times * job.num_steps)
    assert PLD.epsilon_of([job] * times, DELTA) == PLD.epsilon_of([longer], DELTA)


@few
@given(job=steps_of_jobs, grow=st.floats(1.0, 2.0), name=st.integers(0, 2))
def test_more_steps_more_sampling_or_less_noise_never_cost_less(
    job: SampledGaussian, grow: float, name: int
) -> None:
    worse = (
        dataclasses.replace(job, num_steps=math.ceil(job.num_steps * grow)),
        dataclasses.replace(job, sampling_rate=job.sampling_rate * grow),
        dataclasses.replace(job, noise_multiplier=job.noise_multiplier / grow),
    )[name]
    less, more = PLD.epsilon_of([job], DELTA), PLD.epsilon_of([worse], DELTA)
    assert more >= less - spread(less)


@few
@given(first=any_bounded, second=any_bounded)
def test_two_disclosures_cost_more_than_each_and_less_than_their_epsilons_at_half_of_delta(
    first: Disclosure, second: Disclosure
) -> None:
    both = PLD.epsilon_of([first, second], DELTA)
    alone = [PLD.epsilon_of([one], DELTA) for one in (first, second)]
    apart = [PLD.epsilon_of([one], DELTA / 2) for one in (first, second)]
    assert max(alone) - spread(both) <= both <= sum(apart) + spread(both)


@few
@given(job=any_bounded, delta=st.floats(1e-9, 1e-2), grow=st.floats(1.1, 100.0))
def test_a_larger_delta_never_costs_more(job: Disclosure, delta: float, grow: float) -> None:
    larger = min(delta * grow, 0.5)
    epsilon = PLD.epsilon_of([job], delta)
    assert PLD.epsilon_of([job], larger) <= epsilon + spread(epsilon)


def test_a_step_that_samples_everybody_is_a_plain_release() -> None:
    plain = PLD.epsilon_of([Gaussian(5.0, 10)], DELTA)
    assert PLD.epsilon_of([SampledGaussian(5.0, 1.0, 10)], DELTA) == plain
    assert PLD.epsilon_of([JointSteps(5.0, 1.0, 10, 0.0)], DELTA) == plain
    assert plain == pytest.approx(exact_epsilon([Steps(5.0, 1.0, 10)], DELTA), abs=1e-3)


def test_integer_noise_costs_its_slack_of_delta_in_each_step() -> None:
    sigma, rate, num_steps = 2.0, 0.05, 200
    job = SampledGaussian(sigma, rate, num_steps)
    slack = 0.25 * DELTA / num_steps
    with_slack = PLD.epsilon_of([JointSteps(sigma, rate, num_steps, slack)], DELTA)
    assert with_slack == pytest.approx(PLD.epsilon_of([job], 0.75 * DELTA), abs=1e-6)
    assert with_slack > PLD.epsilon_of([job], DELTA)
    assert PLD.epsilon_of([JointSteps(sigma, rate, num_steps, 4 * slack)], DELTA) == math.inf
    halves = [JointSteps(sigma, rate, num_steps // 2, slack)] * 2
    assert PLD.epsilon_of(halves, DELTA) == with_slack


def test_joint_and_per_site_steps_of_the_same_noise_are_the_same_steps() -> None:
    mixed: list[Disclosure] = [SampledGaussian(2.0, 0.05, 150), JointSteps(2.0, 0.05, 50, 0.0)]
    assert PLD.epsilon_of(mixed, DELTA) == PLD.epsilon_of([SampledGaussian(2.0, 0.05, 200)], DELTA)


@pytest.mark.parametrize(
    "disclosure",
    [SampledGaussian(1e-200, 0.5, 1), Gaussian(1e-300, 3), SampledGaussian(0.01, 0.5, 10**9)],
)
def test_next_to_no_noise_is_infinite_and_not_an_error(disclosure: Disclosure) -> None:
    assert PLD.epsilon_of([disclosure], DELTA) == math.inf


def test_a_delta_below_what_rounding_hides_gets_no_epsilon() -> None:
    assert PLD.epsilon_of([SampledGaussian(2.0, 0.01, 10**6)], 1e-10) == math.inf


def test_gradient_and_count_together_are_accounted_as_one_release_of_both() -> None:
    # 1 / 1.2^2 = 1 / 1.5^2 + 1 / (2 s)^2 with s = 1.0, worked by hand
    assert combined_noise_multiplier(1.5, 1.0) == pytest.approx(1.2, rel=1e-12)
    assert combined_noise_multiplier(1.0, 1e9) == pytest.approx(1.0, rel=1e-12)
    assert combined_noise_multiplier(1e200, 1e200) > 0
    sides = st.floats(0.1, 100.0)

    @settings(max_examples=50)
    @given(gradient=sides, count=sides)
    def is_below_both(gradient: float, count: float) -> None:
        combined = combined_noise_multiplier(gradient, count)
        assert combined < min(gradient, 2 * count) * (1 + 1e-12)
        apart = 1 / math.sqrt(gradient**-2 + (2 * count) ** -2)
        assert combined == pytest.approx(apart, rel=1e-12)

    is_below_both()


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_noise_that_is_none_cannot_be_combined(wrong: float) -> None:
    for pair in ((wrong, 1.0), (1.0, wrong)):
        with pytest.raises(PrivacyError) as caught:
            combined_noise_multiplier(*pair)
        assert caught.value.code == "INVALID_DISCLOSURE"


def test_different_jobs_together_cost_what_the_oracle_says() -> None:
    jobs = (JOB, SampledGaussian(2.0, 0.1, 100), SampledGaussian(4.0, 0.02, 2000))
    oracle = [Steps(one.noise_multiplier, one.sampling_rate, one.num_steps) for one in jobs]
    found = PLD.epsilon_of([*jobs, Gaussian(8.0, 2)], DELTA)
    exact = exact_epsilon([*oracle, Steps(8.0, 1.0, 2)], DELTA)
    assert 0 <= found - exact <= 0.002


def test_the_epsilon_is_never_below_the_oracles_however_small_delta_is() -> None:
    """Rounding in the Fourier transform hides up to 1e-12; it is taken off delta."""
    for sigma, rate, num_steps in ((1.2, 0.01, 20_000), (2.0, 0.05, 2000), (1.021, 0.054, 551)):
        for delta in (1e-8, 1e-10, 1e-12):
            found = PLD.epsilon_of([SampledGaussian(sigma, rate, num_steps)], delta)
            assert found >= exact_epsilon([Steps(sigma, rate, num_steps)], delta) - 1e-6


# Few of the first would be a sum of rare large losses, where the oracle converges slowly.
_LENGTHS = {0.01: (1000, 10_000), 0.05: (200, 2000), 0.2: (50, 500), 0.5: (20, 200), 1.0: (1, 30)}
GRID = [
    (sigma, rate, num_steps)
    for rate, lengths in _LENGTHS.items()
    for sigma, num_steps in itertools.product((1.0, 1.5, 2.5, 5.0, 10.0), lengths)
]


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "rate", "num_steps"), GRID)
def test_the_accountant_is_within_a_hundredth_of_the_oracle(
    sigma: float, rate: float, num_steps: int
) -> None:
    found = PLD.epsilon_of([SampledGaussian(sigma, rate, num_steps)], DELTA)
    exact = exact_epsilon([Steps(sigma, rate, num_steps)], DELTA)
    assert -1e-6 <= found - exact <= 0.01
