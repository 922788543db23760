import numpy as np
import pytest
from tests.common.dicom_writing.made_datasets import grey, made_series, one_of_each, read_back

from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_common.dicom_writing.images import decimal_string, photograph, set_rescale, xray_image


def test_a_photograph_comes_back_in_its_colours() -> None:
    pixels = grey(5, 7, 3, dtype=np.uint8, below=256)
    back = read_back(photograph(made_series(), derived_uid(1), pixels))
    np.testing.assert_array_equal(back.pixel_array, pixels)
    assert back.Modality == "XC"


def test_an_inverted_image_says_so() -> None:
    ds = xray_image(made_series(), derived_uid(1), grey(4, 4), bits_stored=12, inverted=True)
    assert ds.PhotometricInterpretation == "MONOCHROME1"
    assert one_of_each()["xray"].PhotometricInterpretation == "MONOCHROME2"


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (grey(4, 4), {"bits_stored": 8}),
        (grey(4, 4, dtype=np.int16), {"inverted": True}),
        (grey(4, 4, dtype=np.int16), {"bits_stored": 12}),
        (grey(4, 4, dtype=np.int32), {}),
        (grey(4, 4, dtype=np.float32), {}),
        (grey(2, 4, 4), {}),
    ],
)
def test_pixels_that_cannot_be_written_are_refused(pixels: object, options: dict) -> None:
    with pytest.raises(ValueError, match="pixel"):
        xray_image(made_series(), derived_uid(1), pixels, **options)  # type: ignore[arg-type]


def test_a_slope_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="slope"):
        set_rescale(one_of_each()["xray"], 0.0, 0.0, "US")


@pytest.mark.parametrize("value", [1 / 3, -1e-9 / 7, 1.7e6 / 7, 123456789.123456789, 0.0])
def test_a_decimal_string_is_short_and_near(value: float) -> None:
    text = decimal_string(value)
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=1e-9)
