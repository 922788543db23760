"""Pixels and the values they mean: rescale, tables, padding, colours, frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.cohorts.small_cohorts import dicom_bytes
from tests.client.dicom.made_files import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT,
    JPEG_2000,
    JPEG_LS,
    RLE,
    element,
    gradient,
    recoded,
)
from tests.client.dicom.made_pixels import STORED, code_of, item, made, multi_frame, words

from fedward_client.dicom.bounded_reading import read_instance
from fedward_client.dicom.codestream_size import codestream_size
from fedward_client.dicom.frame_values import Rescale, rescaled
from fedward_client.dicom.image_decoding import decode_image
from fedward_client.dicom.pixel_decoding import image_values, stored_pixels


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED, RLE, JPEG_LS, JPEG_2000])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_every_lossless_syntax_gives_the_same_pixels(
    syntax: str, dtype: str, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(recoded(dicom_bytes(gradient(dtype)), syntax))
    found = stored_pixels(read_instance(path))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, gradient(dtype))


def test_grey_is_int16_where_all_is_whole_and_fits() -> None:
    assert image_values(made()).dtype == np.int16
    whole = image_values(made(RescaleSlope="2", RescaleIntercept="-1024"))
    assert whole.dtype == np.int16
    np.testing.assert_array_equal(whole, STORED.astype(int) * 2 - 1024)
    wide = image_values(made(RescaleSlope="1000", RescaleIntercept="0"))
    assert wide.dtype == np.int32
    np.testing.assert_array_equal(wide, STORED.astype(int) * 1000)
    broken = image_values(made(RescaleSlope="0.5", RescaleIntercept="0"))
    assert broken.dtype == np.float32
    np.testing.assert_array_equal(broken, STORED * 0.5)


def test_a_negative_slope_is_a_slope() -> None:
    found = image_values(made(RescaleSlope="-1", RescaleIntercept="5"))
    np.testing.assert_array_equal(found, 5 - STORED.astype(int))


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [
        (b"0 ", b"0 "),
        (b"-0", b"0 "),
        (b"NaN ", b"0 "),
        (b"1 ", b"nan "),
        (b"inf ", b"0 "),
        (b"1e999 ", b"0 "),
        (b"one ", b"0 "),
        (b"1\\2 ", b"0 "),
        (b"", b"0 "),
        (b"1 ", b""),
        (b"1 ", None),
        (None, b"-1024 "),
    ],
)
def test_a_rescale_that_cannot_be_trusted_is_refused(
    slope: bytes | None, intercept: bytes | None, tmp_path: Path
) -> None:
    content = dicom_bytes(STORED)
    place = content.index(b"\xe0\x7f\x10\x00")
    more = b"" if intercept is None else element(0x0028, 0x1052, b"DS", intercept)
    more += b"" if slope is None else element(0x0028, 0x1053, b"DS", slope)
    path = tmp_path / "a"
    path.write_bytes(content[:place] + more + content[place:])
    assert code_of(read_instance(path)) == "E_RESCALE_INVALID"
    np.testing.assert_array_equal(stored_pixels(read_instance(path)), STORED)


@given(
    stored=st.lists(st.integers(-(2**15), 2**16 - 1), min_size=1, max_size=9),
    slope=st.integers(-(2**40), 2**40).filter(bool),
    intercept=st.integers(-(2**40), 2**40),
)
def test_whole_numbers_never_overflow(stored: list[int], slope: int, intercept: int) -> None:
    array = np.array(stored, dtype=np.int32)
    found = rescaled(array, Rescale(float(slope), float(intercept)))
    exact = [value * slope + intercept for value in stored]
    if found.dtype.kind == "i":
        assert [int(value) for value in found] == exact
    else:
        np.testing.assert_allclose(found, np.array(exact, dtype=np.float64), rtol=1e-5, atol=2**20)


def test_slopes_may_differ_by_frame() -> None:
    frames = np.stack([STORED, STORED]).astype(np.uint16)
    groups = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=s, RescaleIntercept=i)])
        for s, i in (("2", "1"), ("3", "-1"))
    ]
    dataset = multi_frame(frames, PerFrameFunctionalGroupsSequence=groups)
    expected = [STORED * 2.0 + 1, STORED * 3.0 - 1]
    np.testing.assert_array_equal(image_values(dataset), expected)
    np.testing.assert_array_equal(image_values(dataset, 1), expected[1])


def test_a_shared_functional_group_holds_for_all_frames() -> None:
    frames = np.stack([STORED, STORED]).astype(np.uint16)
    shared = item(
        PixelValueTransformationSequence=[item(RescaleSlope="2", RescaleIntercept="0")],
        PixelMeasuresSequence=[item(PixelSpacing=["0.5", "0.75"])],
    )
    dataset = multi_frame(frames, SharedFunctionalGroupsSequence=[shared])
    np.testing.assert_array_equal(image_values(dataset, 1), STORED * 2.0)


def test_one_frame_or_all_of_a_multi_frame_image() -> None:
    frames = np.arange(12, dtype=np.uint16).reshape(3, 2, 2)
    dataset = multi_frame(frames)
    np.testing.assert_array_equal(image_values(dataset), frames)
    np.testing.assert_array_equal(image_values(dataset, 2), frames[2])
    np.testing.assert_array_equal(stored_pixels(dataset, 0), frames[0])
    assert code_of(dataset, 3) == code_of(dataset, -1) == "E_PIXEL_FORMAT"


def test_monochrome1_is_turned_upside_down_within_its_stored_range() -> None:
    inverse: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1"}
    np.testing.assert_array_equal(image_values(made(**inverse)), 255 - STORED.astype(int))
    signed = np.array([[-128, 0], [1, 127]], dtype=np.int8)
    np.testing.assert_array_equal(image_values(made(signed, **inverse)), [[127, -1], [-2, -128]])
    scaled = made(RescaleSlope="2", RescaleIntercept="-10", **inverse)
    np.testing.assert_array_equal(image_values(scaled), (255 - STORED.astype(int)) * 2 - 10)
    few = made(STORED.astype(np.uint16), BitsStored=12, HighBit=11, **inverse)
    np.testing.assert_array_equal(image_values(few), 4095 - STORED.astype(int))


def test_a_modality_table_is_looked_up_and_inverted_behind_it() -> None:
    table = item(LUTDescriptor=[3, 10, 12], LUTData=words(100, 200, 4000))
    dataset = made(ModalityLUTSequence=[table])
    np.testing.assert_array_equal(image_values(dataset), [[100, 100], [4000, 4000]])
    dataset.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(image_values(dataset), [[3995, 3995], [95, 95]])


def test_a_table_shorter_than_it_says_is_unreadable() -> None:
    table = item(LUTDescriptor=[300, 0, 16], LUTData=words(1, 2, 3))
    assert code_of(made(ModalityLUTSequence=[table])) == "E_IMAGE_UNREADABLE"


def test_padding_gets_the_smallest_value_of_the_rest() -> None:
    stored = np.array([[-2000, 5], [7, -2000]], dtype=np.int16)
    dataset = made(stored, PixelPaddingValue=-2000, RescaleSlope="1", RescaleIntercept="-1000")
    np.testing.assert_array_equal(image_values(dataset), [[-995, -995], [-993, -995]])
    dataset.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(image_values(dataset), [[-1008, -1006], [-1008, -1008]])


def test_padding_may_be_a_range_or_everything_or_written_as_unsigned() -> None:
    stored = np.array([[0, 1], [2, 30]], dtype=np.uint16)
    dataset = made(stored, PixelPaddingValue=0, PixelPaddingRangeLimit=2)
    np.testing.assert_array_equal(image_values(dataset), [[30, 30], [30, 30]])
    np.testing.assert_array_equal(image_values(made(stored * 0, PixelPaddingValue=0)), stored * 0)
    signed = np.array([[-2000, 1], [2, 3]], dtype=np.int16)
    dataset = made(signed)
    dataset.add_new(0x00280120, "US", 65536 - 2000)
    np.testing.assert_array_equal(image_values(dataset), [[1, 1], [2, 3]])


def test_a_palette_becomes_rgb_of_8_bits() -> None:
    ramp = np.arange(256, dtype=np.uint16)
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, entries in (("Red", ramp), ("Green", ramp[::-1]), ("Blue", ramp * 0)):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = (entries * 257).tobytes()
    found = image_values(made(**elements))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.stack([STORED, 255 - STORED, STORED * 0], axis=-1))
    assert stored_pixels(made(**elements)).shape == (2, 2)


def test_ybr_becomes_rgb() -> None:
    ybr = np.array([[[76, 85, 255], [150, 44, 21]], [[29, 255, 107], [128, 128, 128]]], np.uint8)
    dataset = made(
        ybr, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="YBR_FULL"
    )
    rgb = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [128, 128, 128]]]  # PS3.3 C.7.6.3.1.2
    np.testing.assert_allclose(image_values(dataset), rgb, atol=2)


def test_colours_of_16_bits_keep_their_upper_half() -> None:
    deep = np.array([[[0, 256, 65535], [512, 767, 1]]], dtype=np.uint16)
    dataset = made(deep, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB")
    np.testing.assert_array_equal(image_values(dataset), [[[0, 1, 255], [2, 2, 0]]])


def test_single_bits_are_unpacked() -> None:
    dataset = made()
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.Rows, dataset.Columns = 2, 8
    dataset.PixelData = bytes([0b00000101, 0b10000000])
    np.testing.assert_array_equal(
        image_values(dataset), [[1, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
    )


def test_the_operation_gives_spacing_and_stored_values(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(
        dicom_bytes(STORED, RescaleSlope="2", RescaleIntercept="0", ImagerPixelSpacing=["1", "2"])
    )
    assert decode_image(str(path)).facts["spacing_mm"] == [1.0, 2.0]
    np.testing.assert_array_equal(decode_image(str(path), transform="stored").array, STORED)
    assert decode_image(str(path), transform="picture").array.max() == 1
    path.write_bytes(dicom_bytes(STORED, PixelSpacing=["0", "nan"]))
    assert decode_image(str(path)).facts["spacing_mm"] is None


def test_a_frame_is_that_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for value in (1, 2):
        flat = np.full((4, 2), value, dtype=np.uint16)
        path.unlink(missing_ok=True)
        path.write_bytes(dicom_bytes(flat, Rows=2, NumberOfFrames=2))
        for frame in (0, 1):
            assert (decode_image(str(path), frame).array == value).all()


@given(begin=st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51"]), rest=st.binary(max_size=80))
def test_the_size_in_a_stream_of_any_bytes_is_read_or_unclear(begin: bytes, rest: bytes) -> None:
    found = codestream_size(begin + rest)
    assert found is None or len(found) == 3
