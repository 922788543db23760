"""What is no image, or not the one that its header describes, and its code."""

import io
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from tests.client.cohorts.small_cohorts import dicom_bytes
from tests.client.dicom.made_files import (
    JPEG,
    JPEG_2000,
    JPEG_LS,
    RLE,
    gradient,
    recoded,
)
from tests.client.dicom.made_pixels import code_of, made

from fedward_client.dicom.pixel_decoding import image_values


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    dataset = made(np.zeros((2, 2), np.uint32))
    floats = np.array([[0.5, 1], [2, 3]], np.float32)
    del dataset.PixelData
    dataset.FloatPixelData = floats.tobytes()
    np.testing.assert_array_equal(image_values(dataset), floats)
    floats[0, 0] = value
    dataset.FloatPixelData = floats.tobytes()
    assert code_of(dataset) == "E_NON_FINITE_PIXELS"


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"BitsAllocated": 7, "BitsStored": 7}, "E_PIXEL_FORMAT"),
        ({"BitsAllocated": 12}, "E_PIXEL_FORMAT"),
        ({"BitsAllocated": 0}, "E_PIXEL_FORMAT"),
        ({"BitsStored": 99}, "E_PIXEL_FORMAT"),
        ({"Rows": 0}, "E_PIXEL_FORMAT"),
        ({"Rows": [2, 2]}, "E_PIXEL_FORMAT"),
        ({"Rows": 65535}, "E_IMAGE_UNREADABLE"),
        ({"Rows": 65535, "Columns": 65535}, "E_IMAGE_TOO_LARGE"),
        ({"NumberOfFrames": 2**31 - 1}, "E_IMAGE_TOO_LARGE"),
        ({"NumberOfFrames": 0}, "E_PIXEL_FORMAT"),
        ({"NumberOfFrames": -1}, "E_PIXEL_FORMAT"),
        ({"SamplesPerPixel": 2}, "E_PIXEL_FORMAT"),
        ({"SamplesPerPixel": 3}, "E_PIXEL_FORMAT"),
        ({"PhotometricInterpretation": "SECRETNAME"}, "E_PIXEL_FORMAT"),
        ({"PhotometricInterpretation": "RGB"}, "E_PIXEL_FORMAT"),
        ({"PixelData": b""}, "E_NO_PIXEL_DATA"),
        ({"PixelData": b"ab"}, "E_IMAGE_UNREADABLE"),
    ],
)
def test_what_no_image_can_have_is_refused_before_anything_is_allocated(
    elements: dict[str, Any], code: str
) -> None:
    dataset = made()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    assert code_of(dataset) == code


def test_one_frame_of_2_to_the_31_is_refused_too() -> None:
    dataset = made()
    dataset.NumberOfFrames = 2**31 - 1
    assert code_of(dataset, 0) == "E_IMAGE_UNREADABLE"


@pytest.mark.parametrize("syntax", [JPEG_LS, RLE, JPEG_2000])
@pytest.mark.parametrize("num_frames", [2, 2**31 - 1])
def test_compressed_frames_that_are_not_there_are_refused(syntax: str, num_frames: int) -> None:
    dataset = dcmread(io.BytesIO(recoded(dicom_bytes(gradient("uint8")), syntax)))
    dataset.NumberOfFrames = num_frames
    assert code_of(dataset) in ("E_IMAGE_UNREADABLE", "E_IMAGE_TOO_LARGE")


def test_a_missing_or_unknown_transfer_syntax_is_refused() -> None:
    dataset = made()
    dataset.file_meta.TransferSyntaxUID = "1.2.3"
    assert code_of(dataset) == "E_TRANSFER_SYNTAX"
    del dataset.file_meta.TransferSyntaxUID
    assert code_of(dataset) == "E_TRANSFER_SYNTAX"


def test_no_pixels_at_all() -> None:
    dataset = made()
    del dataset.PixelData
    assert code_of(dataset) == "E_NO_PIXEL_DATA"


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, JPEG_2000, RLE])
@pytest.mark.parametrize("size", [(32, 64), (64, 32), (65535, 1)])
def test_a_frame_of_another_size_than_the_header_says_is_unreadable(
    syntax: str, size: tuple[int, int]
) -> None:
    dataset = dcmread(io.BytesIO(recoded(dicom_bytes(gradient("uint8")), syntax)))
    assert image_values(dataset).shape == (32, 32)
    dataset.Rows, dataset.Columns = size
    assert code_of(dataset) == "E_IMAGE_UNREADABLE"


def test_an_image_of_another_shape_is_unreadable_where_its_stream_says_so() -> None:
    for syntax in (JPEG, JPEG_LS, JPEG_2000):
        dataset = dcmread(io.BytesIO(recoded(dicom_bytes(gradient("uint8")), syntax)))
        for size in ((16, 64), (16, 32)):
            dataset.Rows, dataset.Columns = size
            assert code_of(dataset) == "E_IMAGE_UNREADABLE"
