"""A second accountant, from the definition of differential privacy: slow, exact, no upper bound.

Nothing is shared with `dp_accounting`, and no privacy loss is ever rounded to a grid.

One step sees x, drawn from P = (1 - q) N(0, sigma^2) + q N(1, sigma^2) with the patient and from
Q = N(0, sigma^2) without. The privacy loss of a direction is L = ln(P/Q)(x) for x from P ("remove")
or ln(Q/P)(x) for x from Q ("add"). Losses of steps add up, so the moment generating functions
M(s) = E[exp(s L)] multiply; each is an integral over x. For any a > 0 and s = a + i u,

    delta(epsilon) = E[(1 - exp(epsilon - L))+]
                   = 1/pi  integral over u > 0 of  Re( M(s) exp(-s epsilon) / (s (s + 1)) ),

an inverse Laplace transform. Taken through the saddle point the integrand is large only where it
does not oscillate, so that even a tiny delta has many correct digits.

A sum of few losses, most of them nearly equal, has no such integral: that raises ValueError.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Points per period of what oscillates fastest, and at least so many in all.
POINTS_PER_PERIOD = 6
MIN_POINTS = 2001
MIN_FREQUENCIES = 600
_MAX_FREQUENCY = 1000.0
_WIDTH = 11.0  # standard deviations; the normal density there is 1e-27 of its peak
_TERMS_AT_ONCE = 2**18


Reals = NDArray[np.float64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True)
class Steps:
    """Poisson-sampled Gaussian steps; a rate of 1 is the plain Gaussian mechanism."""

    noise_multiplier: float
    sampling_rate: float
    num_steps: int


def exact_epsilon(steps: Sequence[Steps], delta: float) -> float:
    """Give the smallest epsilon that holds in both directions, to about 1e-7."""
    return max(_epsilon(steps, sign, delta) for sign in (1, -1))


def _epsilon(steps: Sequence[Steps], sign: int, delta: float) -> float:
    a = _saddle(steps, sign, delta)

    def log_moments(u: Reals) -> Complexes:
        s = np.asarray(a + 1j * u, dtype=np.complex128)
        return np.asarray(_log_moments(steps, sign, s) - np.log(s) - np.log(s + 1))

    highest = _where_it_vanishes(log_moments)
    # Four times the highest frequency: losses up to 12 either way are told apart.
    u = np.linspace(0.0, highest, max(MIN_FREQUENCIES, math.ceil(4 * highest)))
    weights = np.full(u.size, u[1] / math.pi)
    weights[0] /= 2
    logs = log_moments(u)

    def delta_of(epsilon: float) -> float:
        return float(np.real(np.exp(logs - (a + 1j * u) * epsilon)) @ weights)

    return _root(lambda epsilon: delta_of(epsilon) - delta)


def _saddle(steps: Sequence[Steps], sign: int, delta: float) -> float:
    """Find the a > 0 that gives the best Chernoff bound of epsilon."""

    def bound(log_a: float) -> float:
        a = math.exp(log_a)
        log_moment = float(_log_moments(steps, sign, np.array([a + 0j]))[0].real)
        return (log_moment - math.log(a * (a + 1)) - math.log(delta)) / a

    return math.exp(min(np.linspace(math.log(0.05), math.log(2000.0), 120), key=bound))


def _log_moments(steps: Sequence[Steps], sign: int, s: Complexes) -> Complexes:
    """Give ln M(s), on any branch of the logarithm: whole powers are taken, so none matters."""
    total = np.zeros(s.size, dtype=np.complex128)
    for one in steps:
        loss, log_density = _on_a_grid(one, sign, s)
        at_once = max(1, _TERMS_AT_ONCE // loss.size)
        for start in range(0, s.size, at_once):
            block = slice(start, start + at_once)
            exponents = np.multiply.outer(s[block], loss) + log_density
            largest = exponents.real.max()
            sums = np.exp(exponents - largest).sum(axis=1) + 1e-300
            total[block] += one.num_steps * (np.log(sums) + largest)
    return total


def _on_a_grid(one: Steps, sign: int, s: Complexes) -> tuple[Reals, Reals]:
    """Give the loss at each x, and the logarithm of the probability of a cell around it."""
    sigma, rate = one.noise_multiplier, one.sampling_rate
    # Weighting with exp(a L) moves a normal density by a at most, and P by one more.
    low, high = -_WIDTH * sigma, 1 + float(s[0].real) + _WIDTH * sigma
    if sign < 0:
        low, high = 1 - high, 1 - low
    periods = (high - low) * float(s.imag.max()) / sigma**2 / (2 * math.pi)
    x = np.linspace(low, high, max(MIN_POINTS, math.ceil(POINTS_PER_PERIOD * periods)))
    log_q = -(x**2) / (2 * sigma**2) + math.log((x[1] - x[0]) / (sigma * math.sqrt(2 * math.pi)))
    log_absent = -math.inf if rate == 1 else math.log1p(-rate)
    log_ratio = np.logaddexp(log_absent, math.log(rate) + (2 * x - 1) / (2 * sigma**2))
    return (log_ratio, log_q + log_ratio) if sign > 0 else (-log_ratio, log_q)


def _where_it_vanishes(logs: Callable[[Reals], Complexes]) -> float:
    """Find the frequency from which on the integrand is below 1e-13 of its peak."""
    u = np.concatenate([[0.0], np.geomspace(1e-2, _MAX_FREQUENCY, 100)])
    sizes = logs(u).real
    small = np.nonzero(sizes < sizes[0] - 30)[0]
    if not small.size:
        raise ValueError("too few losses, or too many that are nearly equal")
    return float(u[small[0]])


def _root(falling: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    while falling(high) > 0:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return high
