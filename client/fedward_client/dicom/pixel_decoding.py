"""From a data set to arrays: pixels as stored, values of the modality, or a picture.

Everything compressed goes through native decoders with open memory-safety reports: call these
functions in a worker of `decode_pool`, unless the file was made by Fedward itself.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.pixel_arrays import MAX_VALUES
from fedward_client.cohorts.source import (
    E_IMAGE_UNREADABLE,
    E_NON_FINITE_PIXELS,
    UnusableCaseError,
)
from fedward_client.dicom.bounded_reading import E_DECODER_MEMORY, silenced_dicom
from fedward_client.dicom.codestream_size import require_codestreams_fit
from fedward_client.dicom.frame_values import (
    modality_values,
    narrowed,
    padding_mask,
    without_padding,
)
from fedward_client.dicom.picture_values import shown_values
from fedward_client.dicom.pixel_format import (
    E_TRANSFER_SYNTAX,
    PixelFormat,
    pixel_format_of,
)


def stored_pixels(
    dataset: Any, frame: int | None = None, *, max_values: int = MAX_VALUES
) -> NDArray[Any]:
    """Decode pixels as they are stored; colour as RGB, a palette as its indices.

    Args:
        dataset: From `bounded_reading.read_instance`.
        frame: From 0; all if None.
        max_values: More are refused before anything is decoded.

    Returns:
        Shape (rows, columns) or (rows, columns, 3), after (frames,) where all of several frames
        were asked for; in the byte order of this machine.

    Raises:
        UnusableCaseError: As `pixel_format_of`; `E_IMAGE_UNREADABLE`; `E_DECODER_MEMORY`.
    """
    with _only_codes():
        return _decoded(dataset, pixel_format_of(dataset, frame, max_values), frame)


def image_values(
    dataset: Any,
    frame: int | None = None,
    *,
    apply_voi: bool = False,
    max_values: int = MAX_VALUES,
) -> NDArray[Any]:
    """Decode an image to what it means.

    Grey values are those of the modality (rescale or table, for each frame its own), bright always
    high: MONOCHROME1 is turned upside down within its stored range. Padding gets the smallest
    value of the rest of its frame. Colour, palettes included, is RGB in 8 bits.

    Args:
        dataset: From `bounded_reading.read_instance`.
        frame: From 0; all if None.
        apply_voi: Grey as a person would see it, float32 from 0 (black) to 1 (white), through the
            VOI table or window of the header, or from lowest to highest value where none is usable.
        max_values: More are refused before anything is decoded.

    Returns:
        Shape as `stored_pixels`. Grey as int16 where all values are whole and fit, else int32 or
        int64, else float32; colour as uint8.

    Raises:
        UnusableCaseError: As `stored_pixels`; `E_RESCALE_INVALID`; `E_NON_FINITE_PIXELS`.
    """
    with _only_codes():
        layout = pixel_format_of(dataset, frame, max_values)
        stored = _decoded(dataset, layout, frame)
        if not layout.is_grey:
            return _colours(stored, dataset, layout)
        if frame is not None or layout.frames == 1:
            return _grey(stored, dataset, frame or 0, layout, apply_voi)
        frames = [
            _grey(one, dataset, number, layout, apply_voi) for number, one in enumerate(stored)
        ]
        return narrowed(np.stack(frames))


def slice_values(dataset: Any, frame: int | None = None) -> tuple[NDArray[Any], bool]:
    """Decode one slice of a volume as `image_values` does; say too whether it is padding alone.

    Args:
        dataset: Of one frame, or of several.
        frame: From 0; None where there is one alone.

    Raises:
        UnusableCaseError: As `image_values`.
    """
    with _only_codes():
        layout = pixel_format_of(dataset, frame, MAX_VALUES)
        stored = _decoded(dataset, layout, frame)
        if not layout.is_grey:
            return _colours(stored, dataset, layout), False
        values = _grey(stored, dataset, frame or 0, layout, apply_voi=False)
        padding = padding_mask(stored, dataset, layout)
        return values, padding is not None and bool(padding.all())


@contextlib.contextmanager
def _only_codes() -> Iterator[None]:
    try:
        with silenced_dicom():
            yield
    except UnusableCaseError:
        raise
    except MemoryError:
        raise UnusableCaseError(E_DECODER_MEMORY) from None
    except Exception:  # decoders raise anything on damaged pixels, and quote the header
        raise UnusableCaseError(E_IMAGE_UNREADABLE) from None


def _decoded(dataset: Any, layout: PixelFormat, frame: int | None) -> NDArray[Any]:
    from pydicom.pixels import get_decoder

    decoder = get_decoder(layout.transfer_syntax)
    if layout.plugin and layout.plugin not in decoder.available_plugins:
        raise UnusableCaseError(E_TRANSFER_SYNTAX)
    require_codestreams_fit(dataset, layout, frame)
    if layout.plugin == "gdcm":
        _silence_gdcm()
    pixels, _ = decoder.as_array(
        dataset,
        index=frame,
        raw=False,  # YBR becomes RGB
        decoding_plugin=layout.plugin,
        allow_excess_frames=False,
    )
    several = frame is None and layout.frames > 1
    expected = (layout.frames,) * several + (layout.rows, layout.columns)
    if layout.samples > 1:
        expected += (layout.samples,)
    if pixels.shape != expected:
        raise UnusableCaseError(E_IMAGE_UNREADABLE)
    return np.asarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def _silence_gdcm() -> None:
    import gdcm

    for switch_off in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
        switch_off()


def _colours(stored: NDArray[Any], dataset: Any, layout: PixelFormat) -> NDArray[Any]:
    """Give RGB in 8 bits; deeper colours keep their upper bits."""
    if layout.photometric == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        # PS3.3 section C.7.6.3.1.6: 16-bit entries span the full range
        colours = np.asarray(apply_color_lut(stored, dataset))[..., :3]
        shift = 8 if colours.dtype == np.uint16 else 0
    else:
        colours, shift = stored, max(layout.bits_stored - 8, 0)
    if layout.signed and layout.photometric != "PALETTE COLOR":
        raise UnusableCaseError(E_IMAGE_UNREADABLE)  # PS3.3 section C.7.6.3.1.2: colour is unsigned
    return (colours >> shift).astype(np.uint8)


def _grey(
    stored: NDArray[Any], dataset: Any, frame: int, layout: PixelFormat, apply_voi: bool
) -> NDArray[Any]:
    if not np.isfinite(stored).all():
        raise UnusableCaseError(E_NON_FINITE_PIXELS)
    padding = padding_mask(stored, dataset, layout)
    if apply_voi:
        values = shown_values(stored, dataset, frame, layout, padding)
    else:
        with np.errstate(over="ignore"):
            values = modality_values(stored, dataset, frame, layout)
    if not np.isfinite(values).all():
        raise UnusableCaseError(E_NON_FINITE_PIXELS)
    return narrowed(without_padding(values, padding))
