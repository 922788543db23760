import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

from fedward_common.errors import PrivacyError
from fedward_common.privacy import discrete_noise
from fedward_common.privacy.discrete_noise import discrete_gaussian
from fedward_common.privacy.noise_source import NoiseSource, SeededNoise

# Seeds are fixed, so a test gives the same figure each time; 1e-4 is what chance alone would do.
LEAST_P_VALUE = 1e-4


def masses(sigma: float, reach: int) -> NDArray[np.float64]:
    """Probabilities of -reach .. reach by the definition."""
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def p_value_of_fit(values: NDArray[np.int64], sigma: float) -> float:
    """Chi-square test against the definition; cells that expect under 10 are joined."""
    reach = max(int(np.abs(values).max()), math.ceil(12 * sigma))
    expected = masses(sigma, reach) * values.size
    observed = np.bincount(values + reach, minlength=2 * reach + 1)
    enough = expected >= 10
    tails = [observed[~enough].sum(), expected[~enough].sum()]
    observed, expected = observed[enough].astype(np.float64), expected[enough]
    if tails[1] > 5:
        observed, expected = np.append(observed, tails[0]), np.append(expected, tails[1])
    else:
        assert tails[0] < 25
        expected = expected * (observed.sum() / expected.sum())
    return float(stats.chisquare(observed, expected, sum_check=False).pvalue)


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0, 2.9, 13.37, 64.0, 150.0])
def test_values_have_the_probabilities_of_the_definition(sigma: float) -> None:
    values = discrete_gaussian(SeededNoise(1, "fit", str(sigma)), 200_000, sigma)
    assert p_value_of_fit(values, sigma) > LEAST_P_VALUE


def test_the_fit_finds_a_rounded_normal_number() -> None:
    rounded = np.rint(SeededNoise(2).normal(200_000) * 1.0).astype(np.int64)
    assert p_value_of_fit(rounded, 1.0) < 1e-9


def test_the_fit_finds_a_sigma_that_is_two_percent_off() -> None:
    values = discrete_gaussian(SeededNoise(3), 200_000, 13.37 * 1.02)
    assert p_value_of_fit(values, 13.37) < 1e-9


@pytest.mark.parametrize("sigma", [0.5, 6.0])
def test_coins_decided_by_exact_numbers_give_the_same_probabilities(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discrete_noise, "_UNSURE", 2.0)  # no float is believed
    values = discrete_gaussian(SeededNoise(4, str(sigma)), 3_000, sigma)
    assert p_value_of_fit(values, sigma) > LEAST_P_VALUE


@pytest.mark.parametrize("sigma", [0.5, 1.5, 20.0, 1e6, 2.0**40])
def test_the_exact_exponent_of_every_coin_is_that_of_its_float(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_coins, num_compared = discrete_noise._coins, 0

    def compared(
        noise: NoiseSource,
        exponents: NDArray[np.float64],
        exactly: Callable[[int], Fraction],
    ) -> NDArray[np.bool_]:
        nonlocal num_compared
        for position, exponent in enumerate(exponents):
            exact = exactly(position)
            # What the margin around a float allows for.
            assert abs(math.exp(-exponent) - math.exp(-float(exact))) < 2.0**-46
            num_compared += 1
        return true_coins(noise, exponents, exactly)

    monkeypatch.setattr(discrete_noise, "_coins", compared)
    discrete_gaussian(SeededNoise(10, str(sigma)), 500, sigma)
    assert num_compared > 1500


class ScriptedNoise:
    """Gives the bytes it is told to give."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    def bytes(self, num_bytes: int) -> bytes:
        assert num_bytes == len(self._answers[0])
        return self._answers.pop(0)


@pytest.mark.parametrize("exponent", [Fraction(1), Fraction(1, 3), Fraction(7, 2), Fraction(20)])
def test_bits_beyond_the_first_53_decide_where_these_do_not(exponent: Fraction) -> None:
    with localcontext() as context:
        context.prec = 100
        power = (-Decimal(exponent.numerator) / exponent.denominator).exp()
        prefix = int(power * 2**53)
        rest = int(power * 2**117) - (prefix << 64)
    for moved, below in ((-1, True), (1, False)):
        noise: NoiseSource = ScriptedNoise((rest + moved).to_bytes(8, "big"))  # type: ignore[assignment]
        assert discrete_noise._is_below_exp(noise, prefix, exponent) is below
    # The very cell that holds the threshold needs 64 more bits.
    for more, below in ((bytes(8), True), (b"\xff" * 8, False)):
        noise = ScriptedNoise(rest.to_bytes(8, "big"), more)  # type: ignore[assignment]
        assert discrete_noise._is_below_exp(noise, prefix, exponent) is below


def test_a_coin_of_probability_one_always_falls_heads() -> None:
    noise = SeededNoise(5)
    assert discrete_noise._coins(noise, np.zeros(1000), lambda _: Fraction(0)).all()
    assert discrete_noise._is_below_exp(noise, 2**53 - 1, Fraction(0))


@pytest.mark.parametrize("sigma", [1000.0, 2.0**17 * 1.41, 2.0**40])
def test_coarse_noise_is_that_of_a_normal_number(sigma: float) -> None:
    values = discrete_gaussian(SeededNoise(6, str(sigma)), 200_000, sigma) / sigma
    assert stats.kstest(values, "norm").pvalue > LEAST_P_VALUE
    assert abs(float(values.var()) - 1.0) < 4 * math.sqrt(2 / values.size)


def test_values_of_several_blocks_fit_and_do_not_depend_on_each_other() -> None:
    assert discrete_gaussian(SeededNoise(7), 0, 3.0).size == 0
    assert discrete_gaussian(SeededNoise(7), 1, 3.0).size == 1
    many = discrete_gaussian(SeededNoise(7), 300_000, 3.0)
    for part in np.split(many, 6):
        assert p_value_of_fit(part, 3.0) > LEAST_P_VALUE
    lagged = np.corrcoef(many[1:], many[:-1])[0, 1]
    assert abs(lagged) < 4 / math.sqrt(many.size)


@pytest.mark.parametrize("sigma", [0.0, 0.49, -1.0, float("nan"), float("inf"), 2.0**41])
def test_a_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(PrivacyError) as refusal:
        discrete_gaussian(SeededNoise(8), 1, sigma)
    assert refusal.value.code == "INVALID_NOISE"
