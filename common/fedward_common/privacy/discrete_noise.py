"""Integer noise: the discrete Gaussian, drawn exactly and many values at a time.

Rules: no value comes from a rounded probability. A coin of probability p is a uniform real number
below p. Its first 53 bits decide, unless they lie so near p that the error of a float could
matter; then more bits and more digits are taken until they decide. So the distribution is exact
for the sigma given, a float64 taken as the rational number it is.

The time taken depends on the values, as in every rejection sampler: whoever can time one
request of a site learns something about the noise's size, averaged over the whole vector.

Source: Canonne, Kamath and Steinke 2020, "The Discrete Gaussian for Differential Privacy",
arXiv:2004.00010, Algorithms 1 to 3. They flip each coin by von Neumann's series in whole numbers;
the coins here have the same probabilities.
"""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import PrivacyError
from fedward_common.privacy.noise_source import NoiseSource

SMALLEST_SIGMA, LARGEST_SIGMA = 0.5, 2.0**40

# exp of numpy errs by under 2**-50 for arguments up to 0, and the argument's rounding adds less
# than 2**-46; a uniform number is known to 2**-53. This margin has room for 2**6 times as much.
_UNSURE = 2.0**-40
_MOST_CANDIDATES = 1 << 17
_CANDIDATES_PER_VALUE = 2.4  # near 1 / 0.48, what the two rejections leave
_SIGN = np.uint64(63)

ExactExponent = Callable[[int], Fraction]


def discrete_gaussian(noise: NoiseSource, num_values: int, sigma: float) -> NDArray[np.int64]:
    """Draw independent integers x with probability proportional to exp(-x**2 / (2 sigma**2)).

    Args:
        noise: Where every random bit comes from.
        num_values: How many.
        sigma: In steps of the integers, 0.5 to 2**40. The standard deviation is sigma up to a
            share of exp(-2 pi**2 sigma**2), and never more.

    Returns:
        Shape (num_values,). Values are not bounded.

    Raises:
        PrivacyError: Sigma is out of range.
    """
    if not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise PrivacyError(
            f"discrete noise of sigma {sigma}: from {SMALLEST_SIGMA} to 2**40 is needed",
            code="INVALID_NOISE",
        )
    values = np.empty(num_values, dtype=np.int64)
    filled = 0
    while filled < num_values:
        wanted = int(_CANDIDATES_PER_VALUE * (num_values - filled)) + 16
        accepted = _accepted_candidates(noise, min(wanted, _MOST_CANDIDATES), sigma)
        accepted = accepted[: num_values - filled]
        values[filled : filled + accepted.size] = accepted
        filled += accepted.size
    return values


def _accepted_candidates(noise: NoiseSource, num: int, sigma: float) -> NDArray[np.int64]:
    """Draw from the discrete Laplace distribution, and keep each with the ratio of the two."""
    # Any scale gives the same result; a power of two near sigma needs no division with remainder.
    scale = 1 << max(0, round(math.log2(sigma)))
    candidates = _discrete_laplace(noise, num, scale)
    peak = sigma * sigma / scale
    exact_variance = Fraction(sigma) ** 2

    def exponent(position: int) -> Fraction:
        distance = abs(int(candidates[position])) - exact_variance / scale
        return distance * distance / (2 * exact_variance)

    exponents = (np.abs(candidates) - peak) ** 2 / (2.0 * sigma * sigma)
    return candidates[_coins(noise, exponents, exponent)]


def _discrete_laplace(noise: NoiseSource, num: int, scale: int) -> NDArray[np.int64]:
    """Draw integers with probability proportional to exp(-|x| / scale); fewer than `num` come."""
    words = np.frombuffer(noise.bytes(8 * num), dtype="<u8")
    rests = (words & np.uint64(scale - 1)).astype(np.int64)
    rested = _coins(noise, rests / scale, lambda position: Fraction(int(rests[position]), scale))
    sizes = rests[rested] + scale * _geometric(noise, int(np.count_nonzero(rested)))
    negative = (words[rested] >> _SIGN).astype(np.bool_)
    # Zero would come with both signs, so twice as often as it should.
    once = ~(negative & (sizes == 0))
    signed: NDArray[np.int64] = np.where(negative, -sizes, sizes)[once]
    return signed


def _geometric(noise: NoiseSource, num: int) -> NDArray[np.int64]:
    """Count, for each value, the coins of probability 1/e that fall heads before the first tail."""
    heads = np.zeros(num, dtype=np.int64)
    still = np.arange(num)
    while still.size:
        still = still[_coins(noise, np.ones(still.size), lambda _: Fraction(1))]
        heads[still] += 1
    return heads


def _coins(
    noise: NoiseSource, exponents: NDArray[np.float64], exactly: ExactExponent
) -> NDArray[np.bool_]:
    """Flip one coin of probability exp(-exponent) for each; `exactly` gives one without error."""
    first_bits = noise.uniform(exponents.size)
    distance = np.exp(-exponents) - first_bits
    heads: NDArray[np.bool_] = distance > 0.0
    for position in np.flatnonzero(np.abs(distance) <= _UNSURE):
        heads[position] = _is_below_exp(
            noise, int(first_bits[position] * 2**53), exactly(int(position))
        )
    return heads


def _is_below_exp(noise: NoiseSource, prefix: int, exponent: Fraction) -> bool:
    """Decide whether the uniform number that starts with 53 known bits is below exp(-exponent)."""
    num_bits = 53
    while True:
        prefix = prefix << 64 | int.from_bytes(noise.bytes(8), "big")
        num_bits += 64
        with localcontext() as context:
            context.prec = num_bits // 3 + 40  # log10(2) is 0.302
            power = (-Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp()
            threshold = power * Decimal(2**num_bits)
            # Of 40 digits to spare, the exponent's own digits and three roundings use a few.
            error = Decimal(2) ** -40
            if prefix + 1 <= threshold - error:
                return True
            if prefix >= threshold + error:
                return False
