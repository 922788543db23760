"""Noise and sampling have the distributions that the accountant reckons with.

Seeds are fixed, so every figure is the same each time. Each check is also given a fault that a
published system had or could have, and must find it.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

from fedward_common.privacy.noise_source import (
    KeyStreamNoise,
    NoiseSource,
    OsKeyedNoise,
    SeededNoise,
    poisson_sample,
)
from fedward_common.privacy.normal_transform import LARGEST_NORMAL

NUM_VALUES = 1_000_000
# Chance alone passes 4.5 standard deviations once in 150,000 checks.
LARGEST_Z = 4.5
LEAST_P_VALUE = 1e-5
LAGS = [1, 2, 3, 4, 8, 16, 100, 1000, 1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 18]

Values = NDArray[np.float64]


def wrong_moments(values: Values) -> list[str]:
    """Mean, variance, skewness and kurtosis, in their standard errors."""
    num = values.size
    deviations = {
        "mean": values.mean() * math.sqrt(num),
        "variance": (np.mean(values**2) - 1.0) * math.sqrt(num / 2),
        "skewness": np.mean(values**3) * math.sqrt(num / 15),
        "kurtosis": (np.mean(values**4) - 3.0) * math.sqrt(num / 96),
    }
    return [name for name, z in deviations.items() if abs(z) > LARGEST_Z]


def wrong_shape(values: Values) -> list[str]:
    """Kolmogorov-Smirnov, and Anderson-Darling against a wholly known distribution."""
    wrong = []
    if stats.kstest(values, "norm").pvalue < LEAST_P_VALUE:
        wrong.append("kolmogorov-smirnov")
    ordered = np.sort(values)
    ranks = np.arange(1, values.size + 1)
    logs = stats.norm.logcdf(ordered) + stats.norm.logsf(ordered[::-1])
    statistic = -values.size - np.mean((2 * ranks - 1) * logs)
    if statistic > 9.5:  # passed once in 40,000; 6.0 once in 1000 (Marsaglia 2004)
        wrong.append("anderson-darling")
    return wrong


def wrong_tails(values: Values) -> list[str]:
    """Values beyond 3, 4 and 4.5 standard deviations, on either side."""
    wrong = []
    for distance in (3.0, 4.0, 4.5):
        chance = float(stats.norm.sf(distance))
        for side, sign in (("above", 1.0), ("below", -1.0)):
            count = int(np.count_nonzero(sign * values > distance))
            if stats.binomtest(count, values.size, chance).pvalue < LEAST_P_VALUE:
                wrong.append(f"tail {side} {distance}")
    return wrong


def correlated_lags(values: Values) -> list[str]:
    """Correlation of values, and of their squares, with those some places later."""
    wrong = []
    squares = (values**2 - 1.0) / math.sqrt(2)
    for lag in LAGS:
        num = values.size - lag
        for name, series in (("values", values), ("squares", squares)):
            z = float(series[lag:] @ series[:-lag]) / math.sqrt(num)
            if abs(z) > LARGEST_Z:
                wrong.append(f"{name} at lag {lag}")
    return wrong


def faults_of(values: Values) -> list[str]:
    return [
        *wrong_moments(values),
        *wrong_shape(values),
        *wrong_tails(values),
        *correlated_lags(values),
    ]


def standard_values(seed: int = 1, draws: int = 4) -> Values:
    return SeededNoise(seed, draws=draws).normal(NUM_VALUES).astype(np.float64)


@pytest.mark.parametrize("draws", [1, 2, 4])
@pytest.mark.parametrize("seed", [1, 2])
def test_normal_values_are_independent_and_standard_normal(seed: int, draws: int) -> None:
    assert faults_of(standard_values(seed, draws)) == []


def test_added_noise_is_independent_and_normal_around_what_was_there() -> None:
    values = np.full(NUM_VALUES, 2.5, dtype=np.float32)
    SeededNoise(3).add_normal_to(values, 0.7)
    assert faults_of((values.astype(np.float64) - 2.5) / 0.7) == []


def test_values_asked_for_one_step_at_a_time_are_as_good() -> None:
    noise = SeededNoise(4)
    assert faults_of(np.concatenate([noise.normal(1001) for _ in range(999)])) == []


def test_the_operating_systems_keys_give_the_same_distribution() -> None:
    """Not seeded, so only what chance does not do in a lifetime counts: 8 standard errors."""
    values = OsKeyedNoise().normal(200_000).astype(np.float64)
    assert abs(values.mean()) < 8 / math.sqrt(values.size)
    assert abs(values.var() - 1.0) < 8 * math.sqrt(2 / values.size)


def with_wrong_variance(values: Values) -> Values:
    return values * math.sqrt(1.02)


def with_half_a_percent_too_little_noise(values: Values) -> Values:
    return values * 0.995


def with_a_neighbours_share(values: Values) -> Values:
    return math.sqrt(1 - 0.01**2) * values + 0.01 * np.roll(values, 1)


def with_a_block_repeated(values: Values) -> Values:
    return np.resize(values[: 1 << 18], values.size)


def with_one_radius_for_two_neighbours(values: Values) -> Values:
    radius = np.hypot(values[0::2], values[1::2])
    angle = 2 * np.pi * SeededNoise(99).uniform(values.size)
    return np.repeat(radius, 2) * np.cos(angle)


def with_tails_cut_off(values: Values) -> Values:
    return np.clip(values, -4.0, 4.0)


def with_values_that_come_in_pairs_of_signs(values: Values) -> Values:
    half = values[: values.size // 2]
    return np.stack([half, -half], axis=1).reshape(-1)


def made_of_twelve_uniform_numbers(values: Values) -> Values:
    uniform = SeededNoise(98).uniform(12 * values.size).reshape(12, -1)
    return np.asarray(uniform.sum(axis=0) - 6.0)


def with_draws_not_divided_by_their_root(values: Values) -> Values:
    return values * 2.0


@pytest.mark.parametrize(
    "fault",
    [
        with_wrong_variance,
        with_half_a_percent_too_little_noise,
        with_a_neighbours_share,
        with_a_block_repeated,
        with_one_radius_for_two_neighbours,
        with_tails_cut_off,
        with_values_that_come_in_pairs_of_signs,
        made_of_twelve_uniform_numbers,
        with_draws_not_divided_by_their_root,
    ],
)
def test_the_checks_find_noise(fault: Callable[[Values], Values]) -> None:
    assert faults_of(fault(standard_values())) != []


def test_values_reach_into_the_tails_and_not_beyond_what_the_bits_allow() -> None:
    largest = np.abs(SeededNoise(5, draws=1).normal(4_000_000)).max()
    assert 4.8 < largest <= LARGEST_NORMAL


def share_of_odd_low_bits(noisy: NDArray[np.float32]) -> float:
    """Among results in (-0.5, -0.25], how many are odd multiples of their float32 spacing."""
    seen = noisy[(noisy > -0.5) & (noisy <= -0.25)].astype(np.float64)
    return float(np.mean((seen * 2.0**25) % 2 == 1))


def test_added_noise_hides_the_lowest_bit_of_what_was_there() -> None:
    """Mironov 2012: noise coarser than the result shows the bits of the value beneath."""
    odd = np.float32(0.25 + 2.0**-25)
    naive = np.float32(odd) + SeededNoise(6, draws=1).normal(NUM_VALUES)
    assert share_of_odd_low_bits(naive) > 0.99  # the fault: the bit is read off
    values = np.full(NUM_VALUES, odd, dtype=np.float32)
    SeededNoise(6, draws=1).add_normal_to(values, 1.0)
    assert abs(share_of_odd_low_bits(values) - 0.5) < 0.01


def uneven_cells(uniform: Values) -> list[str]:
    """Chi-square over 256 cells of the upper and of the lowest 8 of 53 bits."""
    words = (uniform * 2.0**53).astype(np.int64)
    cells = {"upper": words >> 45, "lowest": words & 255}
    return [
        name
        for name, cell in cells.items()
        if stats.chisquare(np.bincount(cell, minlength=256)).pvalue < LEAST_P_VALUE
    ]


def test_uniform_numbers_fill_their_cells_evenly() -> None:
    uniform = SeededNoise(7).uniform(NUM_VALUES)
    assert uneven_cells(uniform) == []
    assert stats.kstest(uniform, "uniform").pvalue > LEAST_P_VALUE
    assert correlated_lags((uniform - 0.5) * math.sqrt(12)) == []


def test_the_check_of_cells_finds_numbers_of_float32_and_of_a_bent_scale() -> None:
    uniform = SeededNoise(7).uniform(NUM_VALUES)
    assert uneven_cells(uniform.astype(np.float32).astype(np.float64) % 1.0) == ["lowest"]
    assert "upper" in uneven_cells(uniform**1.02)


NUM_PATIENTS, RATE, NUM_STEPS = 200, 0.1, 5000
Sampler = Callable[[NoiseSource], list[NDArray[np.int64]]]


def poisson_steps(noise: NoiseSource) -> list[NDArray[np.int64]]:
    return [poisson_sample(noise, NUM_PATIENTS, RATE) for _ in range(NUM_STEPS)]


def batches_of_fixed_size(noise: NoiseSource) -> list[NDArray[np.int64]]:
    size = round(NUM_PATIENTS * RATE)
    return [np.argsort(noise.uniform(NUM_PATIENTS))[:size] for _ in range(NUM_STEPS)]


def shuffled_epochs(noise: NoiseSource) -> list[NDArray[np.int64]]:
    steps: list[NDArray[np.int64]] = []
    while len(steps) < NUM_STEPS:
        order = np.argsort(noise.uniform(NUM_PATIENTS))
        steps += np.split(order, round(1 / RATE))
    return steps[:NUM_STEPS]


def two_patients_per_coin(noise: NoiseSource) -> list[NDArray[np.int64]]:
    steps = []
    for _ in range(NUM_STEPS):
        first = 2 * poisson_sample(noise, NUM_PATIENTS // 2, RATE)
        steps.append(np.sort(np.concatenate([first, first + 1])))
    return steps


def a_rate_two_percent_too_high(noise: NoiseSource) -> list[NDArray[np.int64]]:
    return [poisson_sample(noise, NUM_PATIENTS, RATE * 1.02) for _ in range(NUM_STEPS)]


def sampling_faults(steps: list[NDArray[np.int64]]) -> list[str]:
    """Batch sizes against the binomial distribution; each patient; each pair of steps."""
    drawn = np.zeros((NUM_STEPS, NUM_PATIENTS))
    for row, positions in zip(drawn, steps, strict=True):
        row[positions] = 1.0
    wrong = []
    sizes = np.bincount(drawn.sum(axis=1).astype(int), minlength=NUM_PATIENTS + 1)
    expected = stats.binom.pmf(np.arange(NUM_PATIENTS + 1), NUM_PATIENTS, RATE) * NUM_STEPS
    common = expected >= 10
    observed = np.append(sizes[common], sizes[~common].sum())
    hoped = np.append(expected[common], expected[~common].sum())
    if stats.chisquare(observed, hoped).pvalue < LEAST_P_VALUE:
        wrong.append("batch sizes")
    standard = (drawn - RATE) / math.sqrt(RATE * (1 - RATE))
    if np.abs(standard.sum(axis=0)).max() > 5.5 * math.sqrt(NUM_STEPS):
        wrong.append("a patient's share")
    if abs(standard.sum()) > LARGEST_Z * math.sqrt(drawn.size):
        wrong.append("rate")
    if abs(np.sum(standard[1:] * standard[:-1])) > LARGEST_Z * math.sqrt(drawn.size):
        wrong.append("a patient in successive steps")
    return wrong


def test_poisson_samples_have_the_sizes_and_shares_of_independent_coins() -> None:
    assert sampling_faults(poisson_steps(SeededNoise(8))) == []


@pytest.mark.parametrize(
    "sampler",
    [
        batches_of_fixed_size,
        shuffled_epochs,
        two_patients_per_coin,
        a_rate_two_percent_too_high,
    ],
)
def test_the_checks_find_sampling_by(sampler: Sampler) -> None:
    assert sampling_faults(sampler(SeededNoise(9))) != []


def test_both_sources_share_all_that_makes_numbers() -> None:
    """So what is shown of the seeded one holds for the other."""
    for method in ("normal", "normal_into", "add_normal_to", "uniform", "bytes", "_normal_block"):
        for source in (OsKeyedNoise, SeededNoise):
            assert method not in vars(source)
            assert hasattr(KeyStreamNoise, method)
