"""Arrays as decoders give them, brought to the one layout that sources promise."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import (
    E_IMAGE_SHAPE,
    E_IMAGE_UNREADABLE,
    E_MASK_SHAPE,
    E_MASK_UNREADABLE,
    E_MASK_VALUE,
    E_NON_FINITE_PIXELS,
    UnusableCaseError,
)

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage, IntegerMask

MAX_VALUES = 128_000_000  # voxels times channels


def channels_first(array: NDArray[Any], spatial_dims: int) -> "FloatImage":
    """Bring one image to shape (channels, *spatial), float32, values as stored.

    Args:
        array: Shape (*spatial), (*spatial, channels) or (channels, *spatial), 1 or 3 channels.
        spatial_dims: 2 or 3.

    Raises:
        UnusableCaseError: `E_IMAGE_SHAPE`, `E_IMAGE_UNREADABLE` where these are no real numbers,
            `E_NON_FINITE_PIXELS`.
    """
    if array.dtype.kind not in "buif":
        raise UnusableCaseError(E_IMAGE_UNREADABLE)
    if array.ndim == spatial_dims:
        array = array[np.newaxis]
    elif array.ndim == spatial_dims + 1 and array.shape[-1] in (1, 3):
        array = np.moveaxis(array, -1, 0)
    if array.ndim != spatial_dims + 1 or array.shape[0] not in (1, 3) or array.size == 0:
        raise UnusableCaseError(E_IMAGE_SHAPE)
    with np.errstate(over="ignore"):
        image = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(image).all():
        raise UnusableCaseError(E_NON_FINITE_PIXELS)
    return image


def whole_numbers(array: NDArray[Any], spatial_dims: int) -> "IntegerMask":
    """Bring one mask to whole numbers, shape (*spatial).

    Raises:
        UnusableCaseError: `E_MASK_SHAPE`, `E_MASK_UNREADABLE` where these are no numbers,
            `E_MASK_VALUE` where a value is no whole number.
    """
    if array.dtype.kind not in "buif":
        raise UnusableCaseError(E_MASK_UNREADABLE)
    if array.ndim == spatial_dims + 1 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != spatial_dims or array.size == 0:
        raise UnusableCaseError(E_MASK_SHAPE)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            rounded = array.astype(np.int64)
        if not np.array_equal(rounded, array):
            raise UnusableCaseError(E_MASK_VALUE)
        return rounded
    return array
