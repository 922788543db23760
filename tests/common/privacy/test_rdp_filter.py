import inspect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.errors import PrivacyError
from fedward_common.privacy.accountant import PLD
from fedward_common.privacy.disclosures import (
    Disclosure,
    Gaussian,
    JointSteps,
    SampledGaussian,
    Unbounded,
)
from fedward_common.privacy.rdp_filter import (
    ORDERS,
    admits,
    filter_order,
    sampled_divergence,
)

DELTA = 1e-5
JOB = SampledGaussian(1.248, 256 / 4708, 551)  # epsilon 5.8 at 1e-5
disclosures: st.SearchStrategy[Disclosure] = st.one_of(
    st.builds(SampledGaussian, st.floats(0.7, 8.0), st.floats(0.005, 0.5), st.integers(1, 300)),
    st.builds(Gaussian, st.floats(1.0, 20.0), st.integers(1, 3)),
    st.builds(
        JointSteps, st.floats(1.0, 8.0), st.floats(0.01, 0.3), st.integers(1, 200), st.just(1e-15)
    ),
)


@settings(max_examples=25, deadline=None)
@given(
    offered=st.lists(disclosures, min_size=1, max_size=5),
    cap=st.floats(0.5, 30.0),
    delta=st.sampled_from([1e-7, 1e-5, 1e-3]),
)
def test_what_the_filter_admitted_stays_within_the_cap_when_composed_exactly(
    offered: list[Disclosure], cap: float, delta: float
) -> None:
    admitted: list[Disclosure] = []
    for one in offered:
        if admits(admitted, one, epsilon_cap=cap, delta=delta):
            admitted.append(one)
    assert PLD.epsilon_of(admitted, delta) <= cap


@pytest.mark.parametrize("cap", [2.0, 5.0, 8.0, 20.0])
def test_a_cap_can_be_used_up_to_four_fifths_by_jobs_with_much_noise(cap: float) -> None:
    spent: list[Disclosure] = []
    small = SampledGaussian(4.0, 0.05, 100)
    while admits(spent, small, epsilon_cap=cap, delta=DELTA):
        spent.append(small)
    assert 0.8 * cap < PLD.epsilon_of(spent, DELTA) < cap


def test_training_without_a_mechanism_is_never_admitted_under_a_finite_cap() -> None:
    unbounded = Unbounded("no mechanism")
    for cap in (1.0, 1000.0, 1e300):
        assert not admits([], unbounded, epsilon_cap=cap, delta=DELTA)
        assert not admits([unbounded], JOB, epsilon_cap=cap, delta=DELTA)
    assert admits([JOB], unbounded, epsilon_cap=math.inf, delta=DELTA)


@settings(max_examples=40, deadline=None)
@given(
    spent=st.lists(disclosures, max_size=3),
    planned=disclosures,
    cap=st.floats(0.5, 20.0),
    data=st.data(),
)
def test_order_makes_no_difference_and_less_is_admitted_with_more(
    spent: list[Disclosure], planned: Disclosure, cap: float, data: Any
) -> None:
    admitted = admits(spent, planned, epsilon_cap=cap, delta=DELTA)
    *first, last = data.draw(st.permutations([*spent, planned]))
    assert admits(first, last, epsilon_cap=cap, delta=DELTA) == admitted
    if admitted:
        assert all(admits([], one, epsilon_cap=cap, delta=DELTA) for one in [*spent, planned])


def test_a_job_that_would_fit_at_another_order_alone_is_not_admitted() -> None:
    """The theorem is about one order, fixed before anything is disclosed."""
    assert list(inspect.signature(filter_order).parameters) == ["epsilon_cap", "delta"]
    job, cap = SampledGaussian(0.6, 0.05, 15), 8.0

    def fits_at(order: float) -> bool:
        total = job.num_steps * sampled_divergence(job.noise_multiplier, job.sampling_rate, order)
        return total <= cap - math.log1p(-1 / order) + math.log(DELTA * order) / (order - 1)

    assert any(fits_at(order) for order in ORDERS)
    assert not fits_at(filter_order(cap, DELTA))
    assert not admits([], job, epsilon_cap=cap, delta=DELTA)


def test_a_job_with_little_noise_on_a_small_sample_is_not_shut_out() -> None:
    """At the order that is best for plain Gaussian noise, 11 of these steps would be all."""
    assert admits([], SampledGaussian(1.0, 0.01, 800), epsilon_cap=2.0, delta=DELTA)


@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_the_orders_reach_far_enough_for_any_cap(delta: float) -> None:
    orders = [filter_order(cap, delta) for cap in (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)]
    assert orders == sorted(orders, reverse=True)
    assert ORDERS[0] < orders[-1]
    assert orders[0] < ORDERS[-1] * 0.75


@pytest.mark.parametrize("order", [2, 3, 5, 8, 16, 64, 300])
def test_the_divergence_of_a_sampled_step_is_the_sum_over_binomials(order: int) -> None:
    for sigma, rate in ((0.3, 0.01), (1.0, 0.05), (1.0, 1e-5), (2.0, 0.5), (5.0, 0.2), (10.0, 0.9)):
        i = np.arange(order + 1)
        log_choose = np.array([math.lgamma(order + 1) - math.lgamma(k + 1) for k in i])
        log_choose -= np.array([math.lgamma(order - k + 1) for k in i])
        logs = log_choose + i * math.log(rate) + (order - i) * math.log1p(-rate)
        logs += (i**2 - i) / (2 * sigma**2)
        expected = float(np.logaddexp.reduce(logs)) / (order - 1)
        found = sampled_divergence(sigma, rate, float(order))
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("order", [1.2, 1.5, 2.37, 4.18])
def test_the_divergence_at_orders_in_between_is_that_of_gauss_hermite(order: float) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(150)
    for sigma, rate in ((1.0, 0.05), (1.5, 0.01), (4.0, 0.2)):
        x = sigma * nodes
        ratio = 1 - rate + rate * np.exp((2 * x - 1) / (2 * sigma**2))
        mean = float(weights @ ratio**order) / math.sqrt(2 * math.pi)
        expected = math.log(mean) / (order - 1)
        assert sampled_divergence(sigma, rate, order) == pytest.approx(expected, rel=1e-6)


def test_the_divergence_grows_with_rate_and_order_up_to_that_of_no_sampling() -> None:
    orders = (1.1, 2.0, 4.5, 30.0)
    for sigma in (0.5, 1.0, 4.0):
        for order in orders:
            values = [sampled_divergence(sigma, rate, order) for rate in (0.01, 0.1, 0.5, 0.999)]
            assert values == sorted(values)
            assert values[-1] < order / (2 * sigma**2)
        for rate in (0.01, 0.3):
            values = [sampled_divergence(sigma, rate, order) for order in orders]
            assert values == sorted(values)


def test_next_to_no_noise_is_infinitely_far_and_not_admitted() -> None:
    assert sampled_divergence(1e-6, 0.5, 4.0) == math.inf
    for sigma in (1e-300, 1e-6, 0.01):
        hopeless = SampledGaussian(sigma, 0.5, 1)
        assert not admits([], hopeless, epsilon_cap=100.0, delta=DELTA)


def test_integer_noise_may_take_a_hundredth_of_delta_and_no_more() -> None:
    def joint(slack: float) -> JointSteps:
        return JointSteps(8.0, 0.05, 100, slack)

    assert admits([], joint(0.005 * DELTA / 100), epsilon_cap=8.0, delta=DELTA)
    assert not admits([], joint(0.011 * DELTA / 100), epsilon_cap=8.0, delta=DELTA)
    half = joint(0.006 * DELTA / 100)
    assert not admits([half], half, epsilon_cap=8.0, delta=DELTA)


def test_what_cannot_be_asked_is_refused() -> None:
    def refusal(cap: float, delta: float, planned: Any = JOB) -> str:
        with pytest.raises(PrivacyError) as caught:
            admits([], planned, epsilon_cap=cap, delta=delta)
        return caught.value.code

    for wrong in (0.0, -1.0, math.nan):
        assert refusal(wrong, DELTA) == "INVALID_EPSILON"
        assert refusal(8.0, wrong) == "INVALID_DELTA"
    assert refusal(8.0, DELTA, "a new kind") == "UNKNOWN_DISCLOSURE"
