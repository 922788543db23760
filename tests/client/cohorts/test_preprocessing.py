import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedward_client.cohorts.preprocessing import (
    fit_image,
    fit_mask,
    match_channels,
    normalise,
    prepare_image,
)
from fedward_client.cohorts.source import UnusableCaseError
from fedward_common.job.job_file import DataSection

sizes = st.lists(st.integers(1, 9), min_size=2, max_size=3)
fits = st.sampled_from(["resize", "crop-or-pad"])
intensities = st.sampled_from(["window", "per-image"])
values = st.floats(-(2.0**100), 2.0**100, width=32)


def data_of(size: list[int] | tuple[int, ...], **others: object) -> DataSection:
    return DataSection(modality="MR", image_size=tuple(size), **others)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    draw=st.data(), size=sizes, fit=fits, intensity=intensities, channels=st.sampled_from([1, 3])
)
def test_any_finite_image_becomes_finite_pixels_of_the_jobs_shape(
    draw: st.DataObject, size: list[int], fit: str, intensity: str, channels: int
) -> None:
    old = draw.draw(st.lists(st.integers(1, 9), min_size=len(size), max_size=len(size)))
    stored = draw.draw(st.sampled_from([1, 3]))
    image = draw.draw(arrays(np.float32, (stored, *old), elements=values))
    data = data_of(size, fit=fit, intensity=intensity, channels=channels)
    found = prepare_image(image, data)
    assert found.shape == (channels, *size)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.isfinite(found).all()


@settings(max_examples=60, deadline=None)
@given(draw=st.data(), size=sizes, fit=fits)
def test_fitting_invents_no_class_and_no_brightness(
    draw: st.DataObject, size: list[int], fit: str
) -> None:
    old = draw.draw(st.lists(st.integers(1, 9), min_size=len(size), max_size=len(size)))
    mask = draw.draw(arrays(np.uint8, tuple(old)))
    assert set(fit_mask(mask, data_of(size, fit=fit)).ravel()) <= set(mask.ravel()) | {0}
    image = mask[np.newaxis].astype(np.float32)
    found = fit_image(image, data_of(size, fit=fit))
    assert image.min() - 1e-3 <= found.min() and found.max() <= image.max() + 1e-3


@given(image=arrays(np.float32, (1, 4, 5), elements=st.floats(-1e6, 1e6, width=32)))
def test_an_image_of_the_right_size_is_left_as_it_is(image: np.ndarray) -> None:
    for fit in ("resize", "crop-or-pad"):
        np.testing.assert_array_equal(fit_image(image, data_of((4, 5), fit=fit)), image)


def test_a_window_is_clipped_centred_and_scaled() -> None:
    data = data_of((1, 4), intensity="window", window=(-100.0, 300.0), mean=0.5, std=0.25)
    image = np.array([[[-500, -100, 100, 900]]], dtype=np.float32)
    np.testing.assert_allclose(normalise(image, data), [[[-2, -2, 0, 2]]])


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_per_image_gives_mean_0_and_deviation_1_over_all_channels(offset: float) -> None:
    image = (np.random.default_rng(0).normal(size=(3, 16, 16)) * 50 + offset).astype(np.float32)
    found = normalise(image, data_of((16, 16)))
    assert found.mean() == pytest.approx(0, abs=1e-5)
    assert found.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e38])
def test_a_constant_image_becomes_zeros(value: float) -> None:
    image = np.full((1, 7, 11), value, dtype=np.float32)
    np.testing.assert_array_equal(normalise(image, data_of((7, 11))), np.zeros((1, 7, 11)))


def test_colour_becomes_luminance_and_grey_is_repeated() -> None:
    colour = np.array([[[100.0]], [[200.0]], [[50.0]]], dtype=np.float32)
    np.testing.assert_allclose(match_channels(colour, 1), [[[153.0]]], rtol=1e-6)  # 29.9+117.4+5.7
    grey = np.array([[[7.0]]], dtype=np.float32)
    np.testing.assert_array_equal(match_channels(grey, 3), np.full((3, 1, 1), 7.0))
    with pytest.raises(UnusableCaseError, match="E_IMAGE_SHAPE"):
        match_channels(np.zeros((2, 4, 4), dtype=np.float32), 1)


def test_crop_and_pad_keep_the_centre_and_pad_with_the_minimum() -> None:
    image = np.arange(1, 13, dtype=np.float32).reshape(1, 2, 6)
    found = fit_image(image, data_of((4, 2), fit="crop-or-pad"))
    np.testing.assert_array_equal(found[0], [[1, 1], [3, 4], [9, 10], [1, 1]])
    mask = np.ones((1, 1), dtype=np.uint8)
    padded = fit_mask(mask, data_of((3, 3), fit="crop-or-pad"))
    np.testing.assert_array_equal(padded, [[0, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_resizing_aligns_edges() -> None:
    ramp = np.array([[[0.0, 1.0, 2.0, 3.0]]], dtype=np.float32)
    half = fit_image(ramp, data_of((1, 2)))
    np.testing.assert_allclose(half, [[[0.5, 2.5]]])  # each new pixel covers two old ones
    double = fit_image(ramp, data_of((1, 8)))
    np.testing.assert_allclose(double, [[[0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]]])
    mask = np.array([[0, 1]], dtype=np.uint8)
    np.testing.assert_array_equal(fit_mask(mask, data_of((1, 4))), [[0, 0, 1, 1]])


def test_a_volumes_axes_are_not_mixed_up() -> None:
    volume = np.zeros((1, 2, 4, 6), dtype=np.float32)
    volume[0, 1] = 5.0
    found = fit_image(volume, data_of((4, 2, 3)))
    np.testing.assert_allclose(found[0, 3], np.full((2, 3), 5.0))
    np.testing.assert_allclose(found[0, 0], np.zeros((2, 3)))


@pytest.mark.parametrize("intensity", ["window", "per-image"])
def test_normalising_block_by_block_agrees_with_the_whole_and_stays_small(intensity: str) -> None:
    image = np.random.default_rng(1).normal(100, 50, (1, 2000, 2001)).astype(np.float32)
    data = data_of((8, 8), intensity=intensity, window=(0.0, 200.0))
    tracemalloc.start()
    found = normalise(image, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pixels = image.astype(np.float64)
    if intensity == "window":
        wanted = (np.clip(pixels / 200, 0, 1) - data.mean) / data.std
    else:
        wanted = (pixels - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    assert peak < 3.5 * image.nbytes  # the result and blocks, no copies in float64
