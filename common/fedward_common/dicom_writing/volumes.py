"""A volume as the slices of a CT or MR series, with its whole geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedward_common.dicom_writing.headers import Series, header_of
from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_common.dicom_writing.images import decimal_string, set_rescale
from fedward_common.dicom_writing.pixel_module import set_grey_pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

VolumeModality = Literal["CT", "MR"]
Vector3 = tuple[float, float, float]

_AXIAL: tuple[Vector3, Vector3, Vector3] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_MAX_SKEW = 1e-4  # of a dot product of directions; PS3.3 C.7.6.2.1.1 wants them orthogonal


@dataclass(frozen=True)
class VolumeGeometry:
    """Where a volume of shape (slices, rows, columns) lies, in the patient's LPS coordinates.

    Args:
        spacing_mm: Between slices, rows and columns.
        origin_mm: Centre of the first voxel: x, y, z.
        directions: Unit vectors along which columns, rows and slices are counted up.

    Raises:
        ValueError: A spacing is not above 0, or the directions are not orthogonal and
            right-handed, as image planes of DICOM are.
    """

    spacing_mm: Vector3
    origin_mm: Vector3 = (0.0, 0.0, 0.0)
    directions: tuple[Vector3, Vector3, Vector3] = _AXIAL

    def __post_init__(self) -> None:
        if not all(np.isfinite(value) and value > 0 for value in self.spacing_mm):
            raise ValueError("a spacing is not above 0")
        along_columns, along_rows, along_slices = np.asarray(self.directions, dtype=np.float64)
        skew = np.abs(np.cross(along_columns, along_rows) - along_slices).max()
        if abs(along_columns @ along_rows) > _MAX_SKEW or skew > _MAX_SKEW:
            raise ValueError("the directions are not orthogonal and right-handed")

    def position_of_slice(self, number: int) -> NDArray[np.float64]:
        """Give the centre of a slice's first pixel, (x, y, z) in mm."""
        step = self.spacing_mm[0] * np.asarray(self.directions[2], dtype=np.float64)
        return np.asarray(self.origin_mm, dtype=np.float64) + number * step


@dataclass(frozen=True)
class SliceDetails:
    """What a machine says of every slice of a series.

    Args:
        slope: RescaleSlope.
        intercept: RescaleIntercept.
        thickness_mm: SliceThickness; the distance of slices where None.
        kernel: ConvolutionKernel of a CT; "" leaves it out.
        window: WindowCenter and WindowWidth, if any.
        body_part: BodyPartExamined.
    """

    slope: float = 1.0
    intercept: float = 0.0
    thickness_mm: float | None = None
    kernel: str = ""
    window: tuple[float, float] | None = None
    body_part: str = ""


def volume_slices(
    series: Series,
    modality: VolumeModality,
    sop_uids: Sequence[str],
    pixels: NDArray[Any],
    geometry: VolumeGeometry,
    details: SliceDetails | None = None,
) -> list["Dataset"]:
    """Give one data set a slice, in the order of the array.

    Args:
        series: What they belong to; the frame of reference is that of its study.
        modality: Decides the SOP class.
        sop_uids: One for each slice.
        pixels: uint8, uint16 or int16, shape (slices, rows, columns).
        geometry: Where they lie.
        details: What the machine says of them.

    Raises:
        ValueError: Another number of UIDs than of slices, or pixels of another type or shape.
    """
    if pixels.ndim != 3 or len(sop_uids) != len(pixels):
        raise ValueError(f"{len(sop_uids)} UIDs for pixels of shape {pixels.shape}")
    details = details or SliceDetails()
    return [
        _slice(series, modality, sop_uid, image, geometry, details, number)
        for number, (sop_uid, image) in enumerate(zip(sop_uids, pixels, strict=True))
    ]


def _slice(
    series: Series,
    modality: VolumeModality,
    sop_uid: str,
    pixels: NDArray[Any],
    geometry: VolumeGeometry,
    details: SliceDetails,
    number: int,
) -> "Dataset":
    from pydicom.uid import CTImageStorage, MRImageStorage

    sop_class = CTImageStorage if modality == "CT" else MRImageStorage
    ds = header_of(series, modality, sop_class, sop_uid, number + 1)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "M"]
    if details.body_part:
        ds.BodyPartExamined = details.body_part
    _set_machine(ds, modality, details)
    _set_plane(ds, series, geometry, details, number)
    set_grey_pixels(ds, pixels)
    if modality == "CT" or (details.slope, details.intercept) != (1.0, 0.0):
        set_rescale(ds, details.slope, details.intercept, "HU" if modality == "CT" else "US")
    if details.window is not None:
        ds.WindowCenter, ds.WindowWidth = (decimal_string(value) for value in details.window)
    return ds


def _set_machine(ds: "Dataset", modality: VolumeModality, details: SliceDetails) -> None:
    ds.PatientPosition = "HFS"
    ds.PositionReferenceIndicator = ""
    if modality == "CT":
        ds.KVP = "120"
        if details.kernel:
            ds.ConvolutionKernel = details.kernel
        return
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "NONE", ""
    ds.MRAcquisitionType = "3D"
    ds.RepetitionTime, ds.EchoTime, ds.InversionTime = "9", "4", ""
    ds.EchoTrainLength = ""


def _set_plane(
    ds: "Dataset", series: Series, geometry: VolumeGeometry, details: SliceDetails, number: int
) -> None:
    between_slices, between_rows, between_columns = geometry.spacing_mm
    cosines = (*geometry.directions[0], *geometry.directions[1])
    thickness = between_slices if details.thickness_mm is None else details.thickness_mm
    ds.FrameOfReferenceUID = derived_uid(series.study.study_uid, "frame of reference")
    ds.ImagePositionPatient = [decimal_string(v) for v in geometry.position_of_slice(number)]
    ds.ImageOrientationPatient = [decimal_string(value) for value in cosines]
    ds.PixelSpacing = [decimal_string(between_rows), decimal_string(between_columns)]
    ds.SliceThickness = decimal_string(thickness)
    ds.SpacingBetweenSlices = decimal_string(between_slices)
