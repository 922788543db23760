"""One DICOM file to one array, with pydicom and GDCM, nothing of its header let out.

Compressed pixels are decoded in a child process: GDCM aborts on some damaged files.

Texts of pydicom's exceptions, warnings and log lines quote header values, patient names among them:
all three are swallowed here and replaced by a code.
"""

import contextlib
import logging
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.forked_decoding import decoded_in_child
from fedward_client.cohorts.source import E_IMAGE_SHAPE, E_IMAGE_TOO_LARGE, UnusableCaseError

_MAX_FILE_BYTES = 512 * 1024 * 1024
_MAX_INFLATED_BYTES = 512 * 1024 * 1024
_MAX_VALUES = 64_000_000
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "jpeg_ls", "gdcm")


@contextlib.contextmanager
def silenced_dicom() -> Iterator[None]:
    """Let no text of the DICOM libraries through while a file is read.

    Their loggers stay silent for good: switching them back could let another thread's line out.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False  # lines of its children stop here too
        logger.handlers = [logging.NullHandler()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def header_value(path: Path, keyword: str, unreadable: str) -> str:
    """Give one element of a file's header as text; empty where it is absent.

    Raises:
        UnusableCaseError: `unreadable`, or `E_IMAGE_TOO_LARGE`.
    """
    from pydicom import dcmread

    try:
        with silenced_dicom():
            _require_bearable(path)
            header = dcmread(path, stop_before_pixels=True, specific_tags=[keyword])
            value = getattr(header, keyword, None)
            return "" if value is None else str(value).strip()
    except UnusableCaseError:
        raise
    except Exception:  # pydicom raises anything on a damaged file, RecursionError included
        raise UnusableCaseError(unreadable) from None


def decode_dicom(path: Path, unreadable: str) -> NDArray[Any]:
    """Decode one single-frame image.

    Returns:
        Values after the modality transform (RescaleSlope, RescaleIntercept or its table), bright
        is always high (MONOCHROME1 is inverted within its stored range); shape (rows, columns), or
        (rows, columns, 3) as RGB for colour (palettes in 8 bits).

    Raises:
        UnusableCaseError: `unreadable`; `E_IMAGE_SHAPE` for several frames; `E_IMAGE_TOO_LARGE`.
    """
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    dataset, pixels = _read(path, unreadable)
    try:
        with silenced_dicom():
            photometric = str(dataset.PhotometricInterpretation)
            if photometric == "PALETTE COLOR":
                colours = np.asarray(apply_color_lut(pixels, dataset))
                # PS3.3 C.7.6.3.1.6: 16-bit entries span the full range; RGB here is 0..255
                return colours >> 8 if colours.dtype == np.uint16 else colours
            if photometric == "MONOCHROME1":
                pixels = _inverted(pixels, dataset)
            if photometric.startswith("MONOCHROME"):
                pixels = apply_modality_lut(pixels, dataset)
            return np.asarray(pixels)
    except Exception:
        raise UnusableCaseError(unreadable) from None


def decode_dicom_mask(path: Path, unreadable: str) -> NDArray[Any]:
    """Decode one single-frame image as stored, without any transform.

    Raises:
        UnusableCaseError: As `decode_dicom`.
    """
    return _read(path, unreadable)[1]


def _read(path: Path, unreadable: str) -> tuple[Any, NDArray[Any]]:
    from pydicom import dcmread

    try:
        with silenced_dicom():
            _require_bearable(path)
            dataset = dcmread(path)
            _require_single_frame(dataset)
            return dataset, _stored_pixels(dataset)
    except UnusableCaseError:
        raise
    except Exception:
        raise UnusableCaseError(unreadable) from None


def _stored_pixels(dataset: Any) -> NDArray[Any]:
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return np.asarray(dataset.pixel_array)
    return decoded_in_child(lambda: np.asarray(dataset.pixel_array), _MAX_VALUES)


def _require_single_frame(dataset: Any) -> None:
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise UnusableCaseError(E_IMAGE_SHAPE)
    palette = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    samples = 3 if palette else int(dataset.get("SamplesPerPixel") or 1)
    if int(dataset.Rows) * int(dataset.Columns) * samples > _MAX_VALUES:
        raise UnusableCaseError(E_IMAGE_TOO_LARGE)


def _require_bearable(path: Path) -> None:
    """Refuse a file that is too large, also once inflated, before pydicom reads it whole."""
    from pydicom.filereader import (
        _read_command_set_elements,
        _read_file_meta_info,
        read_preamble,
    )

    if path.stat().st_size > _MAX_FILE_BYTES:
        raise UnusableCaseError(E_IMAGE_TOO_LARGE)
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return
        file.seek(0)
        # as dcmread goes, which inflates from here: the group length of the header may lie
        read_preamble(file, force=False)
        meta = _read_file_meta_info(file)
        _read_command_set_elements(file)
        if meta.get("TransferSyntaxUID") == _DEFLATED:
            _require_bearable_inflated(file.read())


def _require_bearable_inflated(deflated: bytes) -> None:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # PS3.5 section A.5: no zlib header
    block, total = inflater.decompress(deflated, 1 << 20), 0
    while block:
        total += len(block)
        if total > _MAX_INFLATED_BYTES:
            raise UnusableCaseError(E_IMAGE_TOO_LARGE)
        block = inflater.decompress(inflater.unconsumed_tail, 1 << 20)


def _inverted(pixels: NDArray[Any], dataset: Any) -> NDArray[Any]:
    if pixels.dtype.kind not in "iu":
        return -pixels
    bits = int(dataset.BitsStored)
    # lowest + highest storable value: 2^bits - 1 unsigned, -1 in two's complement
    ends = -1 if pixels.dtype.kind == "i" else (1 << bits) - 1
    return ends - pixels.astype(np.int64)
