"""Grey as a person would see it: windows and tables of the header."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels import apply_voi_lut, apply_windowing
from tests.client.dicom.made_files import (
    gradient,
)
from tests.client.dicom.made_pixels import STORED, item, made, words

from fedward_client.dicom.picture_values import Window, window_of, windowed
from fedward_client.dicom.pixel_decoding import image_values


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@given(center=st.floats(-2000, 2000), width=st.floats(1.5, 4000))
def test_windows_are_those_of_pydicom(function: Any, center: float, width: float) -> None:
    dataset = made(gradient("int16"), VOILUTFunction=function)
    dataset.WindowCenter, dataset.WindowWidth = round(center, 3), round(width, 3)
    window = window_of(dataset)
    assert window is not None
    theirs = apply_windowing(gradient("int16"), dataset)
    low, high = -32768, 32767
    np.testing.assert_allclose(
        windowed(gradient("int16"), window), (theirs - low) / (high - low), atol=1e-5
    )


def test_a_voi_table_is_that_of_pydicom() -> None:
    table = item(LUTDescriptor=[200, 20, 8], LUTData=words(*range(55, 255)))
    dataset = made(gradient("uint8", 16), VOILUTSequence=[table])
    theirs = apply_voi_lut(gradient("uint8", 16), dataset)
    found = image_values(dataset, apply_voi=True)
    np.testing.assert_allclose(found, theirs / 255, atol=1e-6)


def test_a_picture_is_dark_to_bright_and_windows_come_before_inversion() -> None:
    elements: dict[str, Any] = {"WindowCenter": ["100.5", "7"], "WindowWidth": ["101", "8"]}
    shown = image_values(made(**elements), apply_voi=True)
    np.testing.assert_allclose(shown, [[0, 0], [0, 1]], atol=1e-6)
    inverse = made(PhotometricInterpretation="MONOCHROME1", **elements)
    np.testing.assert_allclose(image_values(inverse, apply_voi=True), 1 - shown, atol=1e-6)


@pytest.mark.parametrize("width", ["0", "-5", "nan", "", "0.5"])
def test_a_window_that_cannot_be_used_gives_way_to_the_whole_range(width: str) -> None:
    dataset = made(WindowCenter="100", WindowWidth=width)
    assert window_of(dataset) is None
    np.testing.assert_allclose(image_values(dataset, apply_voi=True), STORED / np.float32(250))


def test_a_window_of_no_width_is_a_step() -> None:
    found = windowed(STORED, Window(center=10.5, width=1))
    np.testing.assert_array_equal(found, [[0, 0], [1, 1]])
