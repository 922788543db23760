"""Slices gathered in the smallest type that holds all of them, without a second copy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.pixel_arrays import MAX_VALUES
from fedward_client.cohorts.source import E_IMAGE_TOO_LARGE, UnusableCaseError

_NARROW_TO_WIDE = tuple(
    np.dtype(kind) for kind in (np.uint8, np.int16, np.int32, np.int64, np.float32)
)


class NativeStack:
    """An array into which slices are put as they are decoded.

    Args:
        num_slices: How many will come.
        max_values: Of the whole array.
    """

    def __init__(self, num_slices: int, max_values: int = MAX_VALUES) -> None:
        self._num_slices = num_slices
        self._max_values = max_values
        self._array: NDArray[Any] | None = None

    @property
    def array(self) -> NDArray[Any]:
        """All slices, shape (slices, *shape of a slice), once each was put."""
        if self._array is None:
            raise UnusableCaseError("E_SERIES_EMPTY")
        return self._array

    def put(self, index: int, values: NDArray[Any]) -> None:
        """Take in one slice; one of a wider type widens those before it.

        Args:
            index: Of the slice.
            values: uint8, int16, int32, int64 or float32, as `image_values` gives them.

        Raises:
            UnusableCaseError: `E_IMAGE_TOO_LARGE`; `E_FILE_CHANGED` where a slice has another
                shape than the first, which its header denied.
        """
        if self._array is None:
            if self._num_slices * values.size > self._max_values:
                raise UnusableCaseError(E_IMAGE_TOO_LARGE)
            self._array = np.zeros((self._num_slices, *values.shape), dtype=values.dtype)
        if values.shape != self._array.shape[1:]:
            raise UnusableCaseError("E_FILE_CHANGED")
        wider = max(values.dtype, self._array.dtype, key=_NARROW_TO_WIDE.index)
        self._array = self._array.astype(wider, copy=False)
        self._array[index] = values
