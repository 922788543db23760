"""One noise for all sites: each adds a share of it in whole numbers, and only the sum is decoded.

Rules:
- Every constant is the manifest's. Nothing here follows from what a site holds or drew in a step.
- Noise is added after rounding, modulo the ring, and nothing is clipped after that. Rounding each
  site's sum is no post-processing of the noisy total, so it counts: it raises the sensitivity.
- The privacy is that of somebody who sees only sums, and holds fewer than a third of the sites.
- A number outside what the ring has room for is refused before anybody trains, not met in a step.

How the privacy is reckoned. Let sigma be a share's standard deviation in steps of 2**-f, and h the
fewest honest survivors.

1. Two neighbouring sums, rounded with the same random numbers, differ by the patient's gradient
   and by one step more at most in each of d coordinates: sensitivity C + sqrt(d) 2**-f. The random
   numbers do not depend on data, so the bound for each of them is a bound for all.
2. Two discrete Gaussians of variances a and b add to one of variance a + b, but for a factor of
   exp(-+ 5 exp(-2 pi**2 a b / (a + b))) on each probability (Poisson summation; Kairouz, Liu and
   Steinke 2021, arXiv:2102.06387). Adding h shares one by one makes h - 1 such factors.
3. A normal number of variance v - 4, rounded to a discrete Gaussian of variance 4 around it, is
   a discrete Gaussian of variance v, but for a factor of exp(-+ 5 exp(-2 pi**2 4)) (Peikert 2010,
   eprint 2010/088, Theorem 3.1). So what is seen is post-processing of the Gaussian mechanism
   with variance h sigma**2 - 4, in any number of dimensions, sampled and repeated in any way.
4. If those factors come to exp(-+ a) over all coordinates and steps, (epsilon, delta) becomes
   (epsilon, delta + 4 a) for a up to 0.1: where exp(epsilon) Q(S) is over 1 nothing has to be
   shown, elsewhere exp(2 a) exp(epsilon) Q(S) exceeds exp(epsilon) Q(S) by exp(2 a) - 1 at most,
   and exp(a) delta exceeds delta by exp(a) - 1 at most. With the limits below, a is under 1e-15.

Not covered: the float arithmetic in which a site clips and adds up gradients, before `encode`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import PrivacyError
from fedward_common.privacy.disclosures import JointSteps
from fedward_common.privacy.discrete_noise import LARGEST_SIGMA, discrete_gaussian
from fedward_common.privacy.noise_source import NoiseSource

MAX_STEPS = 1 << 20
MAX_PARAMETERS = 1 << 36
# From here on all factors of points 2 and 3 together are within 1e-32 of 1, for any n.
SMALLEST_SHARE_SIGMA = 4.0
_SMOOTHING_VARIANCE = 4.0
_BLOCK_VALUES = 1 << 17
# Natural logarithm of the chance that a step is decoded wrongly, 2**-40 over `MAX_STEPS` steps.
_LOG_WRAP_CHANCE = -60.0 * math.log(2.0)


@dataclass(frozen=True)
class JointConstants:
    """What a consortium agrees on before the first step; a valid one leaves no step to chance.

    Args:
        clipping_norm: L2 norm C that a patient's gradient is clipped to.
        noise_multiplier: Standard deviation of the noise of h sites, divided by C.
        num_sites: Sites n in the round's directory.
        threshold: Fewest sites t whose sum is ever decoded.
        fraction_bits: f; a step of the whole numbers is 2**-f.
        ring_bits: Sums are taken modulo 2**ring_bits; 64 at most.
        num_parameters: Length d of a sum.
        expected_batch: Patients expected in a step over all sites; the divisor, whoever is drawn.
            Where sites expect more between them than this, a sum may wrap around.

    Raises:
        PrivacyError: `INVALID_JOINT_CONSTANTS` for a number out of range, `TOO_FEW_HONEST_SITES`
            if h would be under 1, `NOISE_TOO_FINE` if a share is under 4 steps, `RING_TOO_SMALL`
            if a sum could wrap around with a chance above 2**-40 in `MAX_STEPS` steps.
    """

    clipping_norm: float
    noise_multiplier: float
    num_sites: int
    threshold: int
    fraction_bits: int
    ring_bits: int
    num_parameters: int
    expected_batch: float

    def __post_init__(self) -> None:
        for name in ("clipping_norm", "noise_multiplier", "expected_batch"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value > 0.0, name, value, "a positive number")
        _require(self.num_sites >= 1, "num_sites", self.num_sites, "at least 1")
        _require(
            1 <= self.threshold <= self.num_sites, "threshold", self.threshold, "1 to num_sites"
        )
        _require(0 <= self.fraction_bits <= 40, "fraction_bits", self.fraction_bits, "0 to 40")
        _require(2 <= self.ring_bits <= 64, "ring_bits", self.ring_bits, "2 to 64")
        _require(
            1 <= self.num_parameters <= MAX_PARAMETERS,
            "num_parameters",
            self.num_parameters,
            f"1 to {MAX_PARAMETERS}",
        )
        _require_honest_site(self)
        _require_coarse_noise(self)
        _require_room_in_ring(self)

    @property
    def num_honest_survivors(self) -> int:
        """h: the fewest sites in a sum that are outside a coalition of under a third."""
        return self.threshold - (self.num_sites - 1) // 3

    @property
    def share_standard_deviation(self) -> float:
        """Noise of one site, in the unit of the gradients: that of h sites is the planned one."""
        return self.noise_multiplier * self.clipping_norm / math.sqrt(self.num_honest_survivors)

    @property
    def share_sigma(self) -> float:
        """Noise of one site in steps of 2**-f."""
        return math.ldexp(self.share_standard_deviation, self.fraction_bits)

    @property
    def rounded_sensitivity(self) -> float:
        """How far one patient can move the rounded sum: C + sqrt(d) 2**-f."""
        return self.clipping_norm + math.ldexp(math.sqrt(self.num_parameters), -self.fraction_bits)


def encode(
    constants: JointConstants, clipped_sum: NDArray[np.floating], noise: NoiseSource
) -> NDArray[np.uint64]:
    """Round a site's sum of clipped gradients to whole steps, and add this site's share of noise.

    Args:
        constants: The manifest's.
        clipped_sum: Shape (num_parameters,). Zeros where nobody was drawn.
        noise: Of this site alone. Rounding is up or down at random, right on average.

    Returns:
        Shape (num_parameters,), each in [0, 2**ring_bits): ready to be masked and added.

    Raises:
        PrivacyError: The sum has another length, is not finite, or is so large that it cannot be
            a sum of clipped gradients.
    """
    limit = math.ldexp(1.0, 62 - constants.fraction_bits)
    if clipped_sum.shape != (constants.num_parameters,) or not np.all(np.abs(clipped_sum) < limit):
        raise PrivacyError(
            f"a sum of shape {clipped_sum.shape} to encode: finite and clipped values of shape "
            f"({constants.num_parameters},) are needed",
            hint="gradients that are not finite are dropped before they are added",
            code="INVALID_JOINT_SUM",
        )
    encoded = np.empty(constants.num_parameters, dtype=np.uint64)
    for block in _blocks(constants.num_parameters):
        whole = _rounded(constants.fraction_bits, clipped_sum[block], noise)
        whole += discrete_gaussian(noise, whole.size, constants.share_sigma)
        encoded[block] = whole.view(np.uint64) & _ring_mask(constants)
    return encoded


def decode(constants: JointConstants, modular_sum: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turn the sum over sites, modulo the ring, into the noisy mean gradient.

    Returns:
        Shape (num_parameters,): the sum divided by the expected batch.

    Raises:
        PrivacyError: The sum has another length or type, or values outside the ring.
    """
    if (
        modular_sum.dtype != np.uint64
        or modular_sum.shape != (constants.num_parameters,)
        or np.any(modular_sum > _ring_mask(constants))
    ):
        raise PrivacyError(
            f"a sum of {modular_sum.dtype} of shape {modular_sum.shape} to decode: uint64 of shape "
            f"({constants.num_parameters},) below 2**{constants.ring_bits} is needed",
            code="INVALID_JOINT_SUM",
        )
    unused_bits = 64 - constants.ring_bits
    # Up against the top and back as signed numbers: the upper half of the ring is negative.
    centred = (modular_sum << np.uint64(unused_bits)).view(np.int64) >> np.int64(unused_bits)
    mean: NDArray[np.float64] = np.ldexp(centred.astype(np.float64), -constants.fraction_bits)
    mean /= constants.expected_batch
    return mean


def effective_noise_multiplier(constants: JointConstants) -> float:
    """Give the multiplier of the Gaussian mechanism that the sums are post-processing of.

    Noise of h shares, less the variance of point 3, over the sensitivity with rounding. It is below
    `noise_multiplier`; more fraction bits bring it closer.
    """
    variance = constants.num_honest_survivors * constants.share_sigma**2 - _SMOOTHING_VARIANCE
    in_steps = math.ldexp(constants.rounded_sensitivity, constants.fraction_bits)
    # Shortened by more than these few roundings can have added.
    return math.sqrt(variance) / in_steps * (1.0 - 2.0**-48)


def log_ratio_bound(sigma: float, num_shares: int) -> float:
    """Bound a coordinate's |ln P - ln Q| between shares added up and the noise reckoned with.

    Points 2 and 3 above; `sigma` in steps.
    """
    exponents = [sigma**2 * k / (k + 1) for k in range(1, num_shares)] + [_SMOOTHING_VARIANCE]
    return 5.0 * math.fsum(math.exp(-2.0 * math.pi**2 * variance) for variance in exponents)


def joint_disclosure(constants: JointConstants, sampling_rate: float, num_steps: int) -> JointSteps:
    """Say what `num_steps` decoded sums disclose about a patient, as the accountant reads it.

    Raises:
        PrivacyError: More than `MAX_STEPS` steps, or numbers that `JointSteps` refuses.
    """
    if num_steps > MAX_STEPS:
        raise PrivacyError(
            f"{num_steps} joint steps: at most {MAX_STEPS} are reckoned with",
            code="INVALID_JOINT_CONSTANTS",
        )
    per_coordinate = log_ratio_bound(constants.share_sigma, constants.num_honest_survivors)
    return JointSteps(
        noise_multiplier=effective_noise_multiplier(constants),
        sampling_rate=sampling_rate,
        num_steps=num_steps,
        delta_slack_per_step=4.0 * constants.num_parameters * per_coordinate,
    )


def largest_sum_in_steps(constants: JointConstants) -> float:
    """Give what a coordinate of the sum stays below, but for a chance of 2**-60 a step.

    The number drawn is a sum of independent coins (Bernstein's bound); a coordinate moves by C for
    each, and by one step a site for rounding; the noise of all n sites is sub-Gaussian (Canonne,
    Kamath and Steinke 2020, arXiv:2004.00010), and every one of d coordinates has to fit.

    A sum that wraps around is wrong but no less private: the ring is taken after the noise.
    """
    surprise = math.log(2.0) - _LOG_WRAP_CHANCE  # half the chance for each of two reasons
    third = surprise / 3.0
    num_drawn = constants.expected_batch + third
    num_drawn += math.sqrt(third**2 + 2.0 * constants.expected_batch * surprise)
    gradients = math.ldexp(num_drawn * constants.clipping_norm, constants.fraction_bits)
    tail = math.sqrt(2.0 * (surprise + math.log(2.0 * constants.num_parameters)))
    noise = tail * math.sqrt(constants.num_sites) * constants.share_sigma
    return gradients + constants.num_sites + noise


def _rounded(
    fraction_bits: int, values: NDArray[np.floating], noise: NoiseSource
) -> NDArray[np.int64]:
    """Round to whole steps, up with a chance of the fraction that is cut off."""
    in_steps = np.ldexp(values.astype(np.float64), fraction_bits)
    below = np.floor(in_steps)
    whole: NDArray[np.int64] = below.astype(np.int64)
    whole += noise.uniform(whole.size) < in_steps - below
    return whole


def _blocks(num_values: int) -> Iterator[slice]:
    for start in range(0, num_values, _BLOCK_VALUES):
        yield slice(start, start + _BLOCK_VALUES)


def _ring_mask(constants: JointConstants) -> np.uint64:
    return np.uint64((1 << constants.ring_bits) - 1)


def _require(holds: bool, name: str, came: float, needed: str) -> None:
    if not holds:
        raise PrivacyError(
            f"joint mechanism: {name} is {came}, {needed} is needed",
            code="INVALID_JOINT_CONSTANTS",
        )


def _require_honest_site(constants: JointConstants) -> None:
    if constants.num_honest_survivors < 1:
        raise PrivacyError(
            f"joint mechanism: {constants.threshold} of {constants.num_sites} sites in a sum may "
            "all be dishonest, so nobody's noise could be counted on",
            hint="the threshold is floor(2 n / 3) + 1 for n sites",
            code="TOO_FEW_HONEST_SITES",
        )


def _require_coarse_noise(constants: JointConstants) -> None:
    if not SMALLEST_SHARE_SIGMA <= constants.share_sigma <= LARGEST_SIGMA:
        raise PrivacyError(
            f"joint mechanism: a site's noise is {constants.share_sigma:.3g} steps, "
            f"{SMALLEST_SHARE_SIGMA:g} to 2**40 are needed",
            hint="change fraction_bits: each one more doubles the number of steps",
            code="NOISE_TOO_FINE",
        )


def _require_room_in_ring(constants: JointConstants) -> None:
    largest = largest_sum_in_steps(constants)
    if not largest < math.ldexp(1.0, constants.ring_bits - 1):
        raise PrivacyError(
            f"joint mechanism: sums of up to {largest:.3g} steps do not fit a ring of "
            f"{constants.ring_bits} bits",
            hint="take fewer fraction_bits, or a larger ring",
            code="RING_TOO_SMALL",
        )
