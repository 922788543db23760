from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.resampling import resampled_mask, resampled_volume
from fedward_client.dicom.volume_grid import Grid, grid_of

OBLIQUE = (0.96, -0.224, -0.168, 0.28, 0.768, 0.576, 0.0, -0.6, 0.8)
spacings = st.floats(0.4, 4.0)


def grid(shape: tuple[int, int, int] = (6, 8, 10)) -> Grid:
    return grid_of(shape, (2.5, 0.8, 0.7), (-30.0, 20.0, 5.0), OBLIQUE)


def centres(of: Grid) -> np.ndarray:
    indices = np.indices(of.shape).reshape(3, -1)
    found = of.affine[:3, :3] @ indices + of.affine[:3, 3:]
    return np.asarray(found.T.reshape(*of.shape, 3))


def middle(of: Grid) -> np.ndarray:
    return np.asarray(of.affine @ [*(np.array(of.shape) - 1) / 2, 1.0])[:3]


@given(spacing=st.tuples(spacings, spacings, spacings))
def test_spacing_is_what_was_asked_for_and_direction_and_middle_stay(
    spacing: tuple[float, float, float],
) -> None:
    volume, found = resampled_volume(np.ones((6, 8, 10), dtype=np.int16), grid(), spacing)
    np.testing.assert_allclose(found.spacing_mm, spacing)
    np.testing.assert_allclose(found.direction, OBLIQUE, atol=1e-12)
    np.testing.assert_allclose(middle(found), middle(grid()), atol=1e-9)
    assert volume.shape == found.shape
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume, 1)  # the rim is filled too
    extent, wanted = (np.array(one.shape) * one.spacing_mm for one in (found, grid()))
    assert np.all(np.abs(extent - wanted) <= np.maximum(spacing, extent) / 2 + 1e-9)


def test_a_linear_ramp_stays_one_in_the_patient() -> None:
    slope = np.array([0.3, -0.2, 0.5])
    ramp = (centres(grid()) @ slope).astype(np.float32)
    volume, found = resampled_volume(ramp, grid(), (1.25, 0.5, 0.9))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(volume[inner], (centres(found) @ slope)[inner], atol=1e-4)


def test_the_same_spacing_changes_nothing() -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (6, 8, 10)).astype(np.int16)
    volume, found = resampled_volume(values, grid(), grid().spacing_mm)
    np.testing.assert_allclose(volume, values, atol=1e-3)
    mask, _ = resampled_mask(values, grid(), grid().spacing_mm)
    np.testing.assert_array_equal(mask, values)
    np.testing.assert_allclose(found.origin_mm, grid().origin_mm)


def test_a_mask_gets_no_value_it_did_not_have_and_keeps_its_type() -> None:
    values = np.random.default_rng(0).choice([0, 3, 200], (6, 8, 10)).astype(np.uint8)
    mask, found = resampled_mask(values, grid(), (1.0, 0.5, 0.9))
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 3, 200}
    assert found == resampled_volume(values, grid(), (1.0, 0.5, 0.9))[1]


@pytest.mark.parametrize(
    ("spacing", "code"),
    [
        ((0.0, 1.0, 1.0), "E_IMAGE_SHAPE"),
        ((-1.0, 1.0, 1.0), "E_IMAGE_SHAPE"),
        ((float("nan"), 1.0, 1.0), "E_IMAGE_SHAPE"),
        ((1.0, 1.0), "E_IMAGE_SHAPE"),
        ((0.002, 0.002, 0.002), "E_IMAGE_TOO_LARGE"),
    ],
)
def test_a_spacing_that_cannot_be_is_refused(spacing: Any, code: str) -> None:
    with pytest.raises(UnusableCaseError) as caught:
        resampled_volume(np.ones((6, 8, 10), dtype=np.int16), grid(), spacing)
    assert caught.value.code == code


def test_colour_is_refused() -> None:
    with pytest.raises(UnusableCaseError) as caught:
        resampled_volume(np.ones((6, 8, 10, 3), dtype=np.uint8), grid(), (1.0, 1.0, 1.0))
    assert caught.value.code == "E_IMAGE_SHAPE"
