"""The Image Pixel module: an array of whole numbers to PixelData and what describes it.

Source: PS3.3 C.7.6.3.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GREY_TYPES = ("uint8", "uint16", "int16")


def set_grey_pixels(
    ds: "Dataset", pixels: NDArray[Any], *, bits_stored: int | None = None, inverted: bool = False
) -> None:
    """Write a grey image.

    Args:
        ds: Gets the module.
        pixels: uint8, uint16 or int16, shape (rows, columns).
        bits_stored: Bits that values use; all of the type's if None. Signed values use all.
        inverted: Store as MONOCHROME1, 2^bits_stored - 1 minus the value, so that a reader who
            minds it shows the same; unsigned only.

    Raises:
        ValueError: Another type or shape, or a value beyond `bits_stored`.
    """
    bits_allocated = 8 * pixels.dtype.itemsize
    signed = pixels.dtype.kind == "i"
    bits = bits_stored or bits_allocated
    if pixels.dtype.name not in GREY_TYPES or pixels.ndim != 2:
        raise ValueError(f"{pixels.dtype} pixels of {pixels.ndim} dimensions")
    if signed and (inverted or bits != bits_allocated):
        raise ValueError("signed pixels are neither inverted nor of fewer bits")
    if not signed and pixels.size and int(pixels.max()) >= 1 << bits:
        raise ValueError(f"a pixel does not fit into {bits} bits")
    if inverted:
        pixels = ((1 << bits) - 1 - pixels.astype(np.int64)).astype(pixels.dtype)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits_allocated, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    _set_bytes(ds, pixels)


def set_colour_pixels(ds: "Dataset", pixels: NDArray[np.uint8]) -> None:
    """Write an RGB image of shape (rows, columns, 3).

    Raises:
        ValueError: Another type or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"{pixels.dtype} pixels of shape {pixels.shape} are no RGB image")
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelRepresentation = 0
    _set_bytes(ds, pixels)


def _set_bytes(ds: "Dataset", pixels: NDArray[Any]) -> None:
    ds.Rows, ds.Columns = pixels.shape[:2]
    content = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
