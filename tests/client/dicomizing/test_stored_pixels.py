import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fedward_client.dicomizing.stored_pixels import StoredPixels, stored_pixels

finite = st.floats(-(2.0**100), 2.0**100, width=32)
images = arrays(np.float32, (3, 4), elements=finite)


def read(stored: StoredPixels) -> NDArray[np.float32]:
    """Rescale as a reader of DICOM does."""
    return (stored.pixels * np.float64(stored.slope) + stored.intercept).astype(np.float32)


@given(image=images)
def test_the_stated_error_is_the_largest_one_and_small(image: NDArray[np.float32]) -> None:
    stored = stored_pixels(image)
    error = np.abs(read(stored).astype(np.float64) - image).max()
    assert stored.largest_error == error
    span = float(image.max()) - float(image.min())
    # half a step of 65,535, and float32 rounding of the largest value
    assert error <= span / 65535 + 2 * np.spacing(np.float32(np.abs(image).max()))


@given(
    image=arrays(np.int64, (3, 4), elements=st.integers(-(2**15), 2**15 - 1))
    | arrays(np.int64, (3, 4), elements=st.integers(0, 2**16 - 1))
)
def test_whole_numbers_of_16_bits_are_stored_as_they_are(image: NDArray[np.int64]) -> None:
    stored = stored_pixels(image.astype(np.float32))
    np.testing.assert_array_equal(stored.pixels, image)
    assert (stored.slope, stored.intercept, stored.largest_error) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 255], "uint8"), ([0, 256], "uint16"), ([-1, 255], "int16"), ([0, 65535], "uint16")],
)
def test_the_smallest_type_that_holds_the_values_is_taken(values: list[int], dtype: str) -> None:
    assert stored_pixels(np.array([values], dtype=np.float32)).pixels.dtype == dtype


@pytest.mark.parametrize("factor", [7.28448486328125, 3080.09375, 0.1, 1 / 3, 12345.678])
@pytest.mark.parametrize("levels", [5, 300, 4095, 60000])
def test_the_factor_of_scaled_whole_numbers_is_found(factor: float, levels: int) -> None:
    whole = np.unique(np.random.default_rng(levels).integers(0, levels, 2000))
    image = (np.float32(factor) * whole.astype(np.float32))[np.newaxis]
    stored = stored_pixels(image)
    assert stored.largest_error <= np.spacing(image.max())
    np.testing.assert_allclose(read(stored), image, rtol=2e-7)


def test_whole_numbers_beyond_16_bits_keep_their_step() -> None:
    image = np.array([[0, 1000, 2000, 1_700_000]], dtype=np.float32)
    stored = stored_pixels(image)
    assert (stored.slope, stored.largest_error) == (1000.0, 0.0)


@pytest.mark.parametrize("value", [0.0, 3.5, -1e5, 1e-7])
def test_an_image_of_one_value_keeps_it(value: float) -> None:
    image = np.full((2, 2), value, dtype=np.float32)
    assert stored_pixels(image).largest_error == 0.0


def test_what_is_lost_where_values_have_no_common_step_is_half_a_step_of_65535() -> None:
    image = np.random.default_rng(0).uniform(0, 1.7e6, (50, 50)).astype(np.float32)
    stored = stored_pixels(image)
    assert 0 < stored.largest_error < 1.7e6 / 65535 / 2 + 0.2
