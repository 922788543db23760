"""Image values as the whole numbers of 16 bits that a DICOM image holds, with their rescale.

Whole numbers that fit stay what they are. Others are `slope * stored + intercept`: many float
images are whole numbers times one factor, and that factor is found; else the range is cut into
65,536 steps. Whoever stores the result is told the largest error, as a reader would meet it:
rescaled in float64, kept in float32.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.dicom_writing.images import decimal_string

_LEVELS = (1 << 16) - 1
_WHOLE_TYPES = (np.uint8, np.uint16, np.int16)


@dataclass(frozen=True)
class StoredPixels:
    """What is written.

    Attributes:
        pixels: uint8, uint16 or int16, of the image's shape.
        slope: As a reader gets it, 16 characters long at most.
        intercept: Likewise.
        largest_error: Largest difference between a value that is read and the image's own.
    """

    pixels: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0
    largest_error: float = 0.0


def stored_pixels(image: NDArray[np.float32]) -> StoredPixels:
    """Find whole numbers for an image of finite values, the way that loses least."""
    if np.array_equal(image, np.rint(image)):
        for dtype in _WHOLE_TYPES:
            limits = np.iinfo(dtype)
            if limits.min <= image.min() and image.max() <= limits.max:
                return StoredPixels(image.astype(dtype))
    values = np.unique(image).astype(np.float64)
    lowest, span = float(values[0]), float(values[-1] - values[0])
    steps = [*_common_steps(np.unique(values - lowest)), span / _LEVELS or 1.0]
    return min((_rescaled(image, step, lowest) for step in steps), key=lambda s: s.largest_error)


def _common_steps(above_lowest: NDArray[np.float64]) -> list[float]:
    """Find the step that all values are multiples of, or none if more than 16 bits are needed.

    Whoever made the image most likely multiplied by a float32, so its neighbours are given too.

    Args:
        above_lowest: Different values, rising, the first of them 0.
    """
    if len(above_lowest) < 2:
        return []
    gaps = np.diff(above_lowest)
    step = float(gaps[gaps < 1.5 * gaps.min()].mean())  # a mean, for each gap is rounded
    reach = 16.0
    while reach < 2 * _LEVELS:  # the further a multiple, the better it tells the step
        near = above_lowest[above_lowest < reach * step]
        multiples = np.rint(near / step)
        if multiples.any():
            step = float(multiples @ near / (multiples @ multiples))
        reach *= 2
    if above_lowest[-1] / step > _LEVELS:
        return []
    single = np.float32(step)
    ends = (np.float32(0), np.float32(np.inf))
    neighbours = (float(single), *(float(np.nextafter(single, end)) for end in ends))
    return [step, *(one for one in neighbours if one > 0)]


def _rescaled(image: NDArray[np.float32], step: float, lowest: float) -> StoredPixels:
    slope, intercept = (float(decimal_string(value)) for value in (step, lowest))
    stored = np.rint((image.astype(np.float64) - intercept) / slope).clip(0, _LEVELS)
    read = (stored * slope + intercept).astype(np.float32)
    error = float(np.abs(read.astype(np.float64) - image).max())
    return StoredPixels(stored.astype(np.uint16), slope, intercept, error)
