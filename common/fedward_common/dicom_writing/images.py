"""Single images: X-ray-like ones, other grey ones, and photographs."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.dicom_writing.headers import Series, header_of
from fedward_common.dicom_writing.pixel_module import set_colour_pixels, set_grey_pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def xray_image(
    series: Series,
    sop_uid: str,
    pixels: NDArray[Any],
    *,
    instance_number: int = 1,
    bits_stored: int | None = None,
    inverted: bool = False,
    spacing_mm: tuple[float, float] | None = None,
    body_part: str = "",
) -> "Dataset":
    """Give a Computed Radiography image.

    Args:
        series: What it belongs to.
        sop_uid: SOPInstanceUID.
        pixels: uint8, uint16 or int16, shape (rows, columns).
        instance_number: Its place in the series.
        bits_stored: Bits that values use; all of the type's if None.
        inverted: Store as MONOCHROME1.
        spacing_mm: Between rows, then columns, at the detector (ImagerPixelSpacing).
        body_part: BodyPartExamined, such as `CHEST`.
    """
    from pydicom.uid import ComputedRadiographyImageStorage

    ds = header_of(series, "CR", ComputedRadiographyImageStorage, sop_uid, instance_number)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.BodyPartExamined, ds.ViewPosition = body_part, "PA" if body_part == "CHEST" else ""
    if spacing_mm is not None:
        ds.ImagerPixelSpacing = [decimal_string(value) for value in spacing_mm]
    set_grey_pixels(ds, pixels, bits_stored=bits_stored, inverted=inverted)
    return ds


def secondary_capture(
    series: Series,
    sop_uid: str,
    pixels: NDArray[Any],
    *,
    modality: str = "OT",
    instance_number: int = 1,
) -> "Dataset":
    """Give a grey Secondary Capture image, for whatever was not made by an X-ray machine.

    `pixels` are uint8, uint16 or int16, shape (rows, columns).
    """
    from pydicom.uid import SecondaryCaptureImageStorage

    ds = header_of(series, modality, SecondaryCaptureImageStorage, sop_uid, instance_number)
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType = "WSD"
    set_grey_pixels(ds, pixels)
    return ds


def photograph(
    series: Series, sop_uid: str, pixels: NDArray[np.uint8], *, instance_number: int = 1
) -> "Dataset":
    """Give a VL Photographic image, RGB of shape (rows, columns, 3), uncompressed."""
    from pydicom.uid import VLPhotographicImageStorage

    ds = header_of(series, "XC", VLPhotographicImageStorage, sop_uid, instance_number)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.AcquisitionContextSequence = []
    ds.LossyImageCompression = "00"
    set_colour_pixels(ds, pixels)
    return ds


def set_rescale(ds: "Dataset", slope: float, intercept: float, unit: str) -> None:
    """Say that a pixel stands for `slope * pixel + intercept`, in `unit` (`HU`, `US` ...).

    Raises:
        ValueError: The slope is zero, or a number has no decimal string.
    """
    if slope == 0:
        raise ValueError("a rescale slope of zero")
    ds.RescaleIntercept = decimal_string(intercept)
    ds.RescaleSlope = decimal_string(slope)
    ds.RescaleType = unit


def decimal_string(value: float) -> str:
    """Write a finite number as a DICOM decimal string: at most 16 characters, the nearest one.

    Raises:
        ValueError: NaN or infinite.
    """
    from pydicom.valuerep import format_number_as_ds

    return str(format_number_as_ds(float(value)))
