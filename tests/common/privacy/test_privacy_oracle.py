"""The oracle against what is known in closed form, and against itself at another resolution."""

import math

import numpy as np
import pytest
from tests.common.privacy import privacy_oracle
from tests.common.privacy.privacy_oracle import Steps, exact_epsilon


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def gaussian_delta(noise_multiplier: float, epsilon: float) -> float:
    """Balle and Wang 2018, arXiv:1805.06530, theorem 8."""
    half, slope = 0.5 / noise_multiplier, epsilon * noise_multiplier
    return normal_cdf(half - slope) - math.exp(epsilon) * normal_cdf(-half - slope)


@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize(("sigma", "releases"), [(0.6, 1), (1.0, 1), (5.0, 10), (30.0, 4)])
def test_without_sampling_it_is_the_analytic_gaussian_mechanism(
    sigma: float, releases: int, delta: float
) -> None:
    found = exact_epsilon([Steps(sigma, 1.0, releases)], delta)
    if found > 1e-6:
        assert gaussian_delta(sigma / math.sqrt(releases), found) == pytest.approx(delta, rel=1e-5)
    else:
        assert gaussian_delta(sigma / math.sqrt(releases), 0.0) <= delta


@pytest.mark.parametrize(("sigma", "rate"), [(2.0, 0.8), (3.0, 0.9), (5.0, 0.7)])
def test_one_sampled_step_is_the_difference_of_two_densities(sigma: float, rate: float) -> None:
    x = np.linspace(-12 * sigma, 1 + 12 * sigma, 400_001)
    absent = np.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    present = np.exp(-((x - 1) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    mixed = (1 - rate) * absent + rate * present

    def delta_of(epsilon: float) -> float:
        remove = np.maximum(mixed - math.exp(epsilon) * absent, 0).sum()
        add = np.maximum(absent - math.exp(epsilon) * mixed, 0).sum()
        return float(max(remove, add)) * float(x[1] - x[0])

    epsilon = exact_epsilon([Steps(sigma, rate, 1)], 1e-4)
    assert delta_of(epsilon) == pytest.approx(1e-4, rel=1e-4)


def test_twice_the_resolution_gives_the_same_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = (Steps(1.0, 0.01, 1000), Steps(2.0, 0.05, 200), Steps(5.0, 0.2, 20))
    before = [exact_epsilon([one], 1e-5) for one in settings]
    for name in ("POINTS_PER_PERIOD", "MIN_POINTS", "MIN_FREQUENCIES"):
        monkeypatch.setattr(privacy_oracle, name, 2 * getattr(privacy_oracle, name))
    after = [exact_epsilon([one], 1e-5) for one in settings]
    assert after == pytest.approx(before, abs=1e-6)


def test_it_refuses_what_it_cannot_work_out() -> None:
    with pytest.raises(ValueError, match="too few"):
        exact_epsilon([Steps(1.0, 0.05, 1)], 1e-5)
