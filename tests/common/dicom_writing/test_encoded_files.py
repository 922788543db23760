import hashlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.common.dicom_writing.made_datasets import grey, made_series, one_of_each, read_back

from fedward_common.dicom_writing.encoded_files import Encoding, file_bytes
from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_common.dicom_writing.images import xray_image

ENCODINGS: tuple[Encoding, ...] = ("none", "rle", "jpeg-ls", "jpeg-2000")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("dtype", "bits", "inverted"),
    [(np.uint8, 8, False), (np.uint16, 12, True), (np.uint16, 16, False), (np.int16, 16, False)],
)
def test_pixels_come_back_as_they_were(
    encoding: Encoding, dtype: type, bits: int, inverted: bool
) -> None:
    rows, columns = np.indices((33, 35))  # an odd number of bytes as uint8
    pixels: NDArray[Any] = ((rows * columns * 5) % (1 << min(bits, 15))).astype(dtype)
    if dtype is np.int16:
        pixels = pixels - dtype(1024)
    ds = xray_image(made_series(), derived_uid(1), pixels, bits_stored=bits, inverted=inverted)
    back = read_back(ds, encoding).pixel_array
    np.testing.assert_array_equal((1 << bits) - 1 - back if inverted else back, pixels)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_compressing_leaves_the_data_set_as_it_is(encoding: Encoding) -> None:
    ds = xray_image(made_series(), derived_uid(1), grey(32, 32), bits_stored=12)
    before = file_bytes(ds)
    file_bytes(ds, encoding)
    assert file_bytes(ds) == before


@pytest.mark.parametrize("kind", list(one_of_each()))
def test_the_same_arguments_give_the_same_bytes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hashlib.sha256(file_bytes(one_of_each()[kind])).hexdigest()
    # Neither a later moment nor other random UIDs may show.
    monkeypatch.setattr("pydicom.uid.generate_uid", lambda *_, **__: "1.2.3")
    assert hashlib.sha256(file_bytes(one_of_each()[kind])).hexdigest() == first


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_data_set_without_pixels_can_be_written(encoding: Encoding) -> None:
    ds = one_of_each()["xray"]
    del ds.PixelData
    assert "PixelData" not in read_back(ds, encoding)
