"""How much a set of disclosures tells about a patient: one epsilon at a given delta.

Rules:
- Neighbouring cohorts differ by one patient, added or removed; both directions count.
- Disclosures are composed, never their epsilons. Later ones may depend on what earlier ones
  released, but not their parameters: see `rdp_filter` for jobs that are chosen as one goes.
- An epsilon is an upper bound. Losses are rounded to a grid so that it can only grow, cut-off
  tails count as lost, and what rounding in a Fourier transform may hide is taken off delta.
- What has no bound is infinite, what is unknown is refused.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fedward_common.errors import PrivacyError
from fedward_common.privacy.disclosures import (
    Disclosure,
    Gaussian,
    JointSteps,
    SampledGaussian,
    Unbounded,
    unknown_disclosure,
)

# How far the grid may lift an epsilon: the larger of the two. An estimate, see `_grid_interval`.
ABSOLUTE_TOLERANCE = 2e-4
RELATIVE_TOLERANCE = 5e-5
# A variance of the privacy loss above this is an epsilon of 10^5 or so, which bounds nothing.
_MAX_LOSS_VARIANCE = 2e5
_MAX_GRID_POINTS = 2**19
# Taking the n-th power of a Fourier transform in float64 was seen to move delta by up to 3e-17 n.
_ROUNDING_PER_STEP = 2.0**-52
_TAIL_MASS = 1e-15


@dataclass(frozen=True, order=True)
class SampledSteps:
    """Steps of the Poisson-sampled Gaussian mechanism with the same parameters, rate below 1."""

    noise_multiplier: float
    sampling_rate: float
    num_steps: int

    @property
    def loss_variance(self) -> float:
        """Estimate the variance of their privacy loss together."""
        precision = _precision(self.noise_multiplier, 1)
        by_moments = self.sampling_rate**2 * math.expm1(min(precision, 700.0))
        of_the_sampled = self.sampling_rate * (precision**2 / 4 + precision)
        return self.num_steps * min(by_moments, of_the_sampled)


@dataclass(frozen=True)
class Mechanisms:
    """Disclosures merged: in which order they came makes no difference to it.

    Args:
        steps: Sampled steps, each pair of parameters once, in ascending order.
        gaussian_precision: Sum of 1 / noise_multiplier^2 over all releases without sampling.
        delta_slack: What integer noise takes from delta, over all steps.
        is_bounded: False if anything among them has no bound.
    """

    steps: tuple[SampledSteps, ...]
    gaussian_precision: float
    delta_slack: float
    is_bounded: bool

    @property
    def is_nothing(self) -> bool:
        """Say that nothing at all was disclosed."""
        return self.is_bounded and not self.steps and not self.gaussian_precision

    @property
    def num_steps(self) -> int:
        """Count sampled steps."""
        return sum(one.num_steps for one in self.steps)

    @property
    def loss_variance(self) -> float:
        """Estimate the variance of the privacy loss of everything together."""
        return self.gaussian_precision + math.fsum(one.loss_variance for one in self.steps)


def merge(disclosures: Iterable[Disclosure]) -> Mechanisms:
    """Put equal mechanisms together.

    Raises:
        PrivacyError: `UNKNOWN_DISCLOSURE`.
    """
    counts: dict[tuple[float, float], int] = {}
    precisions: list[float] = []
    slacks: list[float] = []
    is_bounded = True
    for one in disclosures:
        match one:
            case Gaussian():
                precisions.append(_precision(one.noise_multiplier, one.num_releases))
            case SampledGaussian(sampling_rate=1.0) | JointSteps(sampling_rate=1.0):
                precisions.append(_precision(one.noise_multiplier, one.num_steps))
            case SampledGaussian() | JointSteps():
                key = (one.noise_multiplier, one.sampling_rate)
                counts[key] = counts.get(key, 0) + one.num_steps
            case Unbounded():
                is_bounded = False
            case _:
                raise unknown_disclosure(type(one).__name__)
        if isinstance(one, JointSteps):
            slacks.append(one.delta_slack_per_step * one.num_steps)
    steps = tuple(SampledSteps(*key, count) for key, count in sorted(counts.items()))
    return Mechanisms(steps, math.fsum(precisions), math.fsum(slacks), is_bounded)


def _precision(noise_multiplier: float, count: int) -> float:
    return count / max(noise_multiplier, 1e-50) ** 2  # its square is finite too


class Accountant(Protocol):
    """Turns disclosures into an epsilon."""

    name: str

    def epsilon_of(self, disclosures: Sequence[Disclosure], delta: float) -> float:
        """Give an epsilon that holds at `delta` for all disclosures together.

        Returns:
            0.0 for none; infinity where no bound can be given.

        Raises:
            PrivacyError: `UNKNOWN_DISCLOSURE` or `INVALID_DELTA`.
        """
        ...


class PldAccountant:
    """Composes privacy loss distributions (`dp-accounting`), with pessimistic rounding.

    Too large by about `ABSOLUTE_TOLERANCE` or a share `RELATIVE_TOLERANCE`, not too small. Above an
    epsilon of about 10^5, and where delta is below about 2e-16 a step, the answer is infinity.

    Source: Doroshenko et al. 2022, arXiv:2207.04380 ("connect the dots").
    """

    name = "PLD"

    def epsilon_of(self, disclosures: Sequence[Disclosure], delta: float) -> float:
        """Give an epsilon that holds at `delta` for all disclosures together."""
        require_delta(delta)
        return _epsilon_of(merge(disclosures), float(delta))


PLD = PldAccountant()


def require_delta(delta: float) -> None:
    """Check that a delta is one.

    Raises:
        PrivacyError: `INVALID_DELTA`.
    """
    if not 0 < delta < 1:
        raise PrivacyError(
            f"delta is {delta}",
            hint="above 0 and well below 1 over the number of patients, such as 1e-5",
            code="INVALID_DELTA",
        )


def combined_noise_multiplier(gradient: float, count: float) -> float:
    """Give the multiplier of a gradient and a count that are released together.

    Both are Gaussian and come of the same sample, so they are one Gaussian mechanism. The count is
    of centred bits: each drawn patient adds +1/2 if its norm was within the clipping norm, else
    -1/2. So its sensitivity is 1/2, and what is combined is `gradient`^-2 + (2 `count`)^-2. A sum
    of bits 0 and 1 has sensitivity 1 and must not be accounted with this.

    Args:
        gradient: Standard deviation of the gradient's noise over the clipping norm.
        count: Standard deviation of the noise of the sum of centred bits.

    Raises:
        PrivacyError: `INVALID_DISCLOSURE`: one of them is not a finite number above 0.

    Source: Andrew et al. 2021, arXiv:1905.03871, Theorem 1.
    """
    for name, value in (("gradient", gradient), ("count", count)):
        if not 0 < value < math.inf:
            raise PrivacyError(
                f"the noise multiplier of the {name} is {value}",
                hint="a finite number above 0",
                code="INVALID_DISCLOSURE",
            )
    # The root of the sum of squares, without a square that overflows.
    return 1.0 / math.hypot(1.0 / gradient, 0.5 / count)


@functools.lru_cache(maxsize=4096)
def _epsilon_of(mechanisms: Mechanisms, delta: float) -> float:
    if mechanisms.is_nothing:
        return 0.0
    num_products = mechanisms.num_steps + len(mechanisms.steps)
    lost = mechanisms.delta_slack + _ROUNDING_PER_STEP * num_products
    delta_left = math.nextafter(delta - lost, 0.0)
    if not mechanisms.is_bounded or delta_left <= 0:
        return math.inf
    if mechanisms.loss_variance > _MAX_LOSS_VARIANCE:
        return math.inf
    interval = _grid_interval(mechanisms, delta)
    parts = [_composed(one, interval) for one in mechanisms.steps]
    if mechanisms.gaussian_precision:
        parts.append(_one_step(mechanisms.gaussian_precision**-0.5, 1.0, interval))
    whole = functools.reduce(lambda first, second: first.compose(second, _TAIL_MASS), parts)
    return float(whole.get_epsilon_for_delta(delta_left))


def _grid_interval(mechanisms: Mechanisms, delta: float) -> float:
    """Choose the grid that privacy losses are rounded to: as coarse as the tolerance allows.

    Rounding to a grid of h adds about h^2 / 6 to the variance V of each step's loss, and epsilon
    grows with V about as V / 2 + z sqrt(V). A power of 2, so that distributions can be used again.
    """
    z = math.sqrt(-2 * math.log(delta))
    root = math.sqrt(mechanisms.loss_variance)
    epsilon = root**2 / 2 + z * root
    tolerance = max(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * epsilon)
    lifted = math.sqrt(z**2 + 2 * (epsilon + tolerance)) - z
    interval = math.sqrt(6 * (lifted**2 - root**2) / max(1, mechanisms.num_steps))
    losses = [_largest_loss(one.noise_multiplier, one.sampling_rate) for one in mechanisms.steps]
    widest = max([*losses, 24 * root])
    return 2.0 ** math.ceil(math.log2(max(interval / 2, widest / _MAX_GRID_POINTS)))


def _largest_loss(noise_multiplier: float, sampling_rate: float) -> float:
    """Bound a step's loss where the normal density is not cut off, 10 standard deviations out."""
    without_sampling = (0.5 / noise_multiplier + 10) / noise_multiplier
    if without_sampling > 700:  # beyond what exp can take
        return without_sampling + math.log(sampling_rate)
    return math.log1p(sampling_rate * math.expm1(without_sampling))


def _composed(one: SampledSteps, interval: float) -> Any:
    step = _one_step(one.noise_multiplier, one.sampling_rate, interval)
    return step.self_compose(one.num_steps, _TAIL_MASS)


@functools.lru_cache(maxsize=16)
def _one_step(noise_multiplier: float, sampling_rate: float, interval: float) -> Any:
    # Takes more than a second to import, and no `--help` needs it.
    from dp_accounting.pld import privacy_loss_distribution as pld

    either = pld.from_gaussian_mechanism(
        noise_multiplier,
        value_discretization_interval=interval,
        sampling_prob=sampling_rate,
    )
    # A small distribution comes as a dictionary: it does not compose with an array, and taking it
    # to the n-th power begins with an integer of n digits.
    directions = (either._pmf_remove.to_dense_pmf(), either._pmf_add.to_dense_pmf())
    return pld.PrivacyLossDistribution(*directions)
