"""How a block of numbers is checked, clipped and rounded on its way into a ring.

Rules: blocks of a size that stays in a core's cache, so that extra memory is one block; float64 in
between, so that a float32 times a weight is rounded once, to 53 bits.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import UnusableUpdateError, WeightsMismatchError
from fedward_common.privacy.noise_source import KeyStream
from fedward_common.privacy.normal_transform import uniform_53_bits

_BLOCK_VALUES = 1 << 15  # 256 KiB of float64

Rounding = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Rounds a block to whole numbers; the block may be overwritten, and may be what is given back."""


def ceil_log2(value: float) -> int:
    """Give the smallest whole k with value <= 2**k, for a value above 0; exact."""
    mantissa, exponent = math.frexp(value)  # value = mantissa * 2**exponent, mantissa in [1/2, 1)
    return exponent - 1 if mantissa == 0.5 else exponent


def largest_size(name: str, vector: NDArray[np.float32], length: int) -> float:
    """Check a vector, and give the largest size of a value.

    Raises:
        WeightsMismatchError: Not one contiguous row of float32 of this length.
        UnusableUpdateError: A value is NaN or infinite.
    """
    fits = vector.dtype == np.float32 and vector.shape == (length,)
    if not fits or not vector.flags.c_contiguous:
        raise WeightsMismatchError(
            f"{name!r} is {vector.dtype} of shape {vector.shape}: one contiguous row of float32, "
            f"shape ({length},), is needed"
        )
    # NaN is the least and the largest of whatever it stands among.
    largest = max(-float(vector.min()), float(vector.max()))
    if not math.isfinite(largest):
        raise UnusableUpdateError(
            f"{name!r} holds NaN or infinity: finite values are needed",
            hint="the training diverged; lower the learning rate",
        )
    return largest


def clip_and_count(values: NDArray[np.float64], bound: float) -> int:
    """Clip to +-bound in place; give how many values lay beyond."""
    num_beyond = int(np.count_nonzero(np.abs(values) > bound))
    np.clip(values, -bound, bound, out=values)
    return num_beyond


def round_to_nearest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round in place; ties to even."""
    return np.rint(values, out=values)


def rounding_at_random(key: bytes) -> Rounding:
    """Round up with the chance of the fraction that is cut off, else down.

    The expected result is the value itself, as far as floating point goes. The fraction is exact
    but for a value between -1 and 0, where it is rounded by 2**-54 at most; the number drawn is
    below it with a chance that is its next multiple of 2**-53. So the chance is right to 2**-52.

    Args:
        key: 32 bytes, for one contribution alone.
    """
    stream = KeyStream(key)

    def up_or_down(values: NDArray[np.float64]) -> NDArray[np.float64]:
        below = np.floor(values)
        values -= below
        below += uniform_53_bits(stream.take(8 * below.size)) < values
        return below

    return up_or_down


def blocks_of(num_values: int) -> Iterator[slice]:
    """Go through a vector block by block."""
    for start in range(0, num_values, _BLOCK_VALUES):
        yield slice(start, min(start + _BLOCK_VALUES, num_values))
