import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

from fedward_common.errors import PrivacyError
from fedward_common.privacy import joint_mechanism
from fedward_common.privacy.joint_mechanism import (
    MAX_PARAMETERS,
    MAX_STEPS,
    JointConstants,
    decode,
    effective_noise_multiplier,
    encode,
    joint_disclosure,
    largest_sum_in_steps,
    log_ratio_bound,
)
from fedward_common.privacy.noise_source import NoiseSource, SeededNoise

THREE_SITES = JointConstants(
    clipping_norm=1.0,
    noise_multiplier=1.0,
    num_sites=3,
    threshold=3,
    fraction_bits=8,
    ring_bits=32,
    num_parameters=2,
    expected_batch=4.0,
)


def changed(**changes: Any) -> JointConstants:
    return dataclasses.replace(THREE_SITES, **changes)


@contextmanager
def noise_set_to(*shares: list[int]) -> Iterator[None]:
    """Replace the integer noise of the next sites; without shares, by none."""
    left = list(shares)

    def scripted(noise: NoiseSource, num_values: int, sigma: float) -> NDArray[np.int64]:
        return np.array(left.pop(0) if left else [0] * num_values, dtype=np.int64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_mechanism, "discrete_gaussian", scripted)
        yield


def modular_sum(
    constants: JointConstants, sums: list[NDArray[np.float64]], seed: int = 0
) -> NDArray[np.uint64]:
    """What secure aggregation gives: the sum of the encodings modulo the ring."""
    encoded = [encode(constants, one, SeededNoise(seed, site)) for site, one in enumerate(sums)]
    total = np.sum(encoded, axis=0, dtype=np.uint64)
    return np.asarray(total & np.uint64((1 << constants.ring_bits) - 1), dtype=np.uint64)


def test_three_sites_worked_by_hand() -> None:
    # A step is 1/256. 384 - 512 + 64 = -64 and noise 5 + 0 - 4 = 1: -63 steps, divided by 4.
    # -64 + 128 + 32 = 96 and noise -3 + 2 + 1 = 0: 96 steps, divided by 4.
    sums = [np.array([1.5, -0.25]), np.array([-2.0, 0.5]), np.array([0.25, 0.125])]
    with noise_set_to([5, -3], [0, 2], [-4, 1]):
        encoded = [encode(THREE_SITES, one, SeededNoise(0)) for one in sums]
    assert [one.tolist() for one in encoded] == [[389, 2**32 - 67], [2**32 - 512, 130], [60, 33]]
    total = np.asarray(np.sum(encoded, axis=0) % 2**32, dtype=np.uint64)
    assert total.tolist() == [2**32 - 63, 96]
    assert decode(THREE_SITES, total).tolist() == [-63 / 256 / 4, 96 / 256 / 4]


def test_the_multiplier_of_three_sites_worked_by_hand() -> None:
    # h = 3 - floor(2/3) = 3; three shares of 256 / sqrt(3) steps have variance 65536; 4 are taken
    # off; one patient moves 256 + sqrt(2) steps.
    assert THREE_SITES.num_honest_survivors == 3
    assert THREE_SITES.share_sigma == pytest.approx(256 / math.sqrt(3))
    expected = math.sqrt(65536 - 4) / (256 + math.sqrt(2))
    assert effective_noise_multiplier(THREE_SITES) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("num_sites", "threshold", "honest"), [(1, 1, 1), (3, 3, 3), (4, 3, 2), (7, 5, 3), (10, 7, 4)]
)
def test_a_coalition_of_under_a_third_is_taken_from_the_survivors(
    num_sites: int, threshold: int, honest: int
) -> None:
    assert changed(num_sites=num_sites, threshold=threshold).num_honest_survivors == honest


@pytest.mark.parametrize(("num_sites", "threshold"), [(4, 1), (10, 3), (7, 2)])
def test_constants_without_an_honest_share_are_refused(num_sites: int, threshold: int) -> None:
    with pytest.raises(PrivacyError) as refusal:
        changed(num_sites=num_sites, threshold=threshold)
    assert refusal.value.code == "TOO_FEW_HONEST_SITES"


@given(
    ring_bits=st.integers(24, 64),
    whole=st.lists(
        st.lists(st.integers(-4000, 4000), min_size=5, max_size=5), min_size=1, max_size=6
    ),
)
def test_without_noise_the_decoded_sum_is_exact(ring_bits: int, whole: list[list[int]]) -> None:
    constants = changed(ring_bits=ring_bits, num_parameters=5)
    sums = [np.array(one) / 256 for one in whole]
    with noise_set_to():
        decoded = decode(constants, modular_sum(constants, sums))
    assert decoded.tolist() == (np.sum(sums, axis=0) / 4.0).tolist()


vectors = st.lists(
    st.floats(-1e3, 1e3, allow_nan=False, allow_subnormal=True), min_size=12, max_size=12
)


@given(site_sum=vectors, gradient=vectors, fraction_bits=st.integers(4, 20), seed=st.integers(0))
def test_one_patient_moves_the_rounded_sum_by_the_stated_sensitivity_at_most(
    site_sum: list[float], gradient: list[float], fraction_bits: int, seed: int
) -> None:
    constants = changed(
        num_parameters=12,
        fraction_bits=fraction_bits,
        ring_bits=64,
        clipping_norm=2.0,
        noise_multiplier=16.0,
        expected_batch=1.0,
    )
    clipped = np.array(gradient)
    clipped *= min(1.0, 2.0 / max(float(np.linalg.norm(clipped)), 1e-300))
    without, with_patient = np.array(site_sum), np.array(site_sum) + clipped
    with noise_set_to():
        apart = decode(constants, modular_sum(constants, [with_patient], seed))
        apart -= decode(constants, modular_sum(constants, [without], seed))
    assert np.linalg.norm(apart) <= constants.rounded_sensitivity * (1 + 1e-9)


def test_the_stated_sensitivity_without_the_rounding_would_be_too_small() -> None:
    constants = changed(num_parameters=10_000, noise_multiplier=16.0)
    moved = np.full(10_000, 0.01)  # norm 1
    with noise_set_to():
        apart = decode(constants, modular_sum(constants, [moved])) * constants.expected_batch
    assert np.linalg.norm(apart) > constants.clipping_norm
    assert np.linalg.norm(apart) <= constants.rounded_sensitivity


def test_rounding_is_right_on_average() -> None:
    constants = changed(num_parameters=100_000)
    values = np.full(100_000, 0.3 / 256)
    with noise_set_to():
        decoded = decode(constants, modular_sum(constants, [values])) * 4.0 * 256
    assert set(decoded.tolist()) == {0.0, 1.0}
    assert abs(float(decoded.mean()) - 0.3) < 4 * math.sqrt(0.21 / 100_000)


def test_the_noise_of_a_sum_is_the_planned_one() -> None:
    constants = changed(
        num_sites=10, threshold=7, num_parameters=200_000, noise_multiplier=1.3, ring_bits=40
    )
    honest = [np.zeros(200_000)] * constants.num_honest_survivors
    decoded = decode(constants, modular_sum(constants, honest, seed=3)) * constants.expected_batch
    assert abs(float(decoded.var()) / 1.3**2 - 1.0) < 4 * math.sqrt(2 / 200_000)
    # A step of 2**-8 is coarse for a test of the normal distribution: spread values over it.
    spread = decoded + (SeededNoise(9).uniform(200_000) - 0.5) / 256
    assert stats.kstest(spread / 1.3, "norm").pvalue > 1e-4


def test_two_sites_that_round_the_same_sum_add_other_noise() -> None:
    constants = changed(num_parameters=1000)
    one, other = (encode(constants, np.zeros(1000), SeededNoise(site)) for site in (1, 2))
    assert np.mean(one == other) < 0.02


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, 2.0**54])
def test_a_sum_that_is_no_sum_of_clipped_gradients_is_not_encoded(bad: float) -> None:
    with pytest.raises(PrivacyError) as refusal:
        encode(THREE_SITES, np.array([0.0, bad]), SeededNoise(0))
    assert refusal.value.code == "INVALID_JOINT_SUM"


def test_a_sum_of_another_length_is_neither_encoded_nor_decoded() -> None:
    with pytest.raises(PrivacyError):
        encode(THREE_SITES, np.zeros(3), SeededNoise(0))
    with pytest.raises(PrivacyError):
        decode(THREE_SITES, np.zeros(3, dtype=np.uint64))


def test_a_sum_outside_the_ring_or_of_another_type_is_not_decoded() -> None:
    with pytest.raises(PrivacyError):
        decode(THREE_SITES, np.array([0, 2**32], dtype=np.uint64))
    with pytest.raises(PrivacyError):
        decode(THREE_SITES, np.zeros(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"clipping_norm": 0.0},
        {"clipping_norm": float("nan")},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": float("inf")},
        {"expected_batch": 0.0},
        {"num_sites": 0},
        {"threshold": 0},
        {"threshold": 4},
        {"fraction_bits": -1},
        {"fraction_bits": 41},
        {"ring_bits": 1},
        {"ring_bits": 65},
        {"num_parameters": 0},
        {"num_parameters": MAX_PARAMETERS + 1},
    ],
    ids=str,
)
def test_constants_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PrivacyError) as refusal:
        changed(**change)
    assert refusal.value.code == "INVALID_JOINT_CONSTANTS"


def test_a_share_of_under_four_steps_is_refused() -> None:
    # A share is 2**f / sqrt(3) steps: 2.3 with f = 2, 4.6 with f = 3.
    assert changed(fraction_bits=3).share_sigma > 4.0
    with pytest.raises(PrivacyError) as refusal:
        changed(fraction_bits=2)
    assert refusal.value.code == "NOISE_TOO_FINE"


def test_a_ring_that_a_sum_could_wrap_around_is_refused() -> None:
    fits = math.ceil(math.log2(largest_sum_in_steps(THREE_SITES))) + 1
    changed(ring_bits=fits)
    with pytest.raises(PrivacyError) as refusal:
        changed(ring_bits=fits - 1)
    assert refusal.value.code == "RING_TOO_SMALL"


@given(num_drawn=st.integers(0, 40), seed=st.integers(0, 2**32), sign=st.sampled_from([-1, 1]))
def test_the_largest_batch_reckoned_with_does_not_wrap_around(
    num_drawn: int, seed: int, sign: int
) -> None:
    fits = math.ceil(math.log2(largest_sum_in_steps(THREE_SITES))) + 1
    constants = changed(ring_bits=fits)
    sums = [np.array([sign * float(num_drawn), 0.0]), np.zeros(2), np.zeros(2)]
    decoded = decode(constants, modular_sum(constants, sums, seed)) * constants.expected_batch
    assert abs(decoded[0] - sign * num_drawn) < 12.0  # noise of standard deviation 1


def masses(sigma: float, reach: int) -> NDArray[np.float64]:
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def masses_of_shares(sigma: float, num_shares: int, reach: int) -> NDArray[np.float64]:
    """Probabilities of the sum of shares, by convolving the definition."""
    one = masses(sigma, reach)
    total = one
    for _ in range(1, num_shares):
        total = np.convolve(total, one)
    middle = total.size // 2
    return total[middle - reach : middle + reach + 1]


@pytest.mark.parametrize("num_shares", [1, 2, 3, 6])
@pytest.mark.parametrize("sigma", [0.6, 0.8, 1.0])
def test_shares_added_up_differ_from_one_noise_by_the_stated_bound_at_most(
    sigma: float, num_shares: int
) -> None:
    added = masses_of_shares(sigma, num_shares, 40)
    one = masses(sigma * math.sqrt(num_shares), 40)
    likely = one > 1e-10  # below, the rounding of the convolution shows
    apart = np.abs(np.log(added[likely] / one[likely])).max()
    assert apart <= log_ratio_bound(sigma, num_shares) + 1e-6
    if num_shares == 2:
        assert apart > 0.25 * log_ratio_bound(sigma, 2)  # nor is the bound far away


def hockey_stick(one: NDArray[np.float64], other: NDArray[np.float64], epsilon: float) -> float:
    return float(np.maximum(one - math.exp(epsilon) * other, 0.0).sum())


def delta_of_gaussian(multiplier: float, epsilon: float) -> float:
    """Balle and Wang 2018, arXiv:1805.06530, Theorem 8, for sensitivity 1."""
    mean = 1.0 / multiplier
    upper = stats.norm.sf(epsilon / mean - mean / 2)
    return float(upper - math.exp(epsilon) * stats.norm.sf(epsilon / mean + mean / 2))


@pytest.mark.parametrize("num_shares", [1, 2, 5])
@pytest.mark.parametrize("moved", [1, 3, 8, 20])
def test_the_sum_of_shares_is_as_private_as_the_gaussian_it_is_accounted_as(
    num_shares: int, moved: int
) -> None:
    """One coordinate, computed from the definition: a slow second implementation."""
    sigma = 4.0
    reach = 400
    noise = masses_of_shares(sigma, num_shares, reach)
    without = np.pad(noise, (0, moved))
    with_patient = np.pad(noise, (moved, 0))
    multiplier = math.sqrt(num_shares * sigma**2 - 4.0) / moved
    for epsilon in np.linspace(0.01, 8.0, 60):
        allowed = delta_of_gaussian(multiplier, float(epsilon))
        assert hockey_stick(with_patient, without, float(epsilon)) <= allowed + 1e-12
        assert hockey_stick(without, with_patient, float(epsilon)) <= allowed + 1e-12


def test_without_the_variance_taken_off_the_shares_would_be_less_private_than_accounted() -> None:
    noise = masses_of_shares(4.0, 1, 400)
    without, with_patient = np.pad(noise, (0, 8)), np.pad(noise, (8, 0))
    excess = [
        hockey_stick(with_patient, without, float(epsilon))
        - delta_of_gaussian(4.0 / 8, float(epsilon))
        for epsilon in np.linspace(0.01, 8.0, 60)
    ]
    assert max(excess) > 1e-3


def test_the_disclosure_counts_rounding_and_the_slack_of_many_shares() -> None:
    constants = changed(num_parameters=1_000_000, fraction_bits=16, expected_batch=256.0)
    disclosed = joint_disclosure(constants, sampling_rate=0.05, num_steps=500)
    assert (disclosed.sampling_rate, disclosed.num_steps) == (0.05, 500)
    # sqrt(d) 2**-16 is 1.5 % of C = 1; the variance taken off is 1e-9 of the rest.
    assert disclosed.noise_multiplier == pytest.approx(1 / (1 + 1000 / 65536), rel=1e-8)
    assert disclosed.noise_multiplier < 1 / (1 + 1000 / 65536)
    # Of the factors, only that of point 3 is left with shares this coarse.
    slack = 4 * 1_000_000 * 5 * math.exp(-8 * math.pi**2)
    assert disclosed.delta_slack_per_step == pytest.approx(slack, rel=1e-9, abs=0.0)
    assert slack < 1e-26


def test_the_slack_is_tiny_for_all_that_constants_allow() -> None:
    for num_shares in (1, 2, 100, 100_000):
        slack = log_ratio_bound(joint_mechanism.SMALLEST_SHARE_SIGMA, num_shares)
        assert slack * MAX_PARAMETERS * MAX_STEPS < 1e-15


def test_more_fraction_bits_bring_the_multiplier_to_the_planned_one() -> None:
    multipliers = [
        effective_noise_multiplier(changed(fraction_bits=bits, ring_bits=64, num_parameters=10**6))
        for bits in (8, 12, 16, 20, 24)
    ]
    assert multipliers == sorted(multipliers)
    assert 0.9999 < multipliers[-1] < 1.0


def test_more_steps_than_are_reckoned_with_are_refused() -> None:
    with pytest.raises(PrivacyError):
        joint_disclosure(THREE_SITES, 0.1, MAX_STEPS + 1)


def test_a_sum_of_many_blocks_is_encoded_whole() -> None:
    num = 3 * joint_mechanism._BLOCK_VALUES + 5
    constants = changed(num_parameters=num)
    values = (np.arange(num) % 1001) / 256
    with noise_set_to():
        decoded = decode(constants, modular_sum(constants, [values]))
    assert np.array_equal(decoded, values / 4.0)
