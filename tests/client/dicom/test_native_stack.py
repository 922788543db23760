from typing import Any

import numpy as np
import pytest

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.native_stack import NativeStack


def plane(dtype: Any, value: float = 1) -> np.ndarray:
    return np.full((2, 3), value, dtype=dtype)


@pytest.mark.parametrize(
    ("kinds", "together"),
    [
        ((np.int16, np.int16), np.int16),
        ((np.uint8, np.uint8), np.uint8),
        ((np.int16, np.int32, np.int16), np.int32),
        ((np.int32, np.float32), np.float32),
        ((np.float32, np.int16), np.float32),
    ],
)
def test_the_widest_slice_decides_and_no_value_changes(kinds: Any, together: Any) -> None:
    stack = NativeStack(len(kinds))
    for index, kind in reversed(list(enumerate(kinds))):
        stack.put(index, plane(kind, index + 1))
    assert stack.array.dtype == together
    assert stack.array[:, 0, 0].tolist() == [index + 1 for index in range(len(kinds))]


def test_a_slice_of_another_shape_and_too_large_a_stack_are_refused() -> None:
    stack = NativeStack(2)
    stack.put(0, plane(np.int16))
    with pytest.raises(UnusableCaseError) as caught:
        stack.put(1, plane(np.int16).T)
    assert caught.value.code == "E_FILE_CHANGED"
    with pytest.raises(UnusableCaseError) as caught:
        NativeStack(3, max_values=17).put(0, plane(np.int16))
    assert caught.value.code == "E_IMAGE_TOO_LARGE"
    with pytest.raises(UnusableCaseError) as caught:
        _ = NativeStack(3).array
    assert caught.value.code == "E_SERIES_EMPTY"
