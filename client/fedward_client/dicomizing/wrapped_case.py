"""One case of a source as DICOM data sets: an image or a series, and its mask as SEG."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicomizing.stored_pixels import StoredPixels, stored_pixels
from fedward_common.annotation import NOT_ANNOTATED_VOXEL
from fedward_common.dicom_writing.headers import Equipment, Patient, Series, Study
from fedward_common.dicom_writing.identifiers import derived_date, derived_time, derived_uid
from fedward_common.dicom_writing.images import (
    photograph,
    secondary_capture,
    set_rescale,
    xray_image,
)
from fedward_common.dicom_writing.segmentations import segmentation
from fedward_common.dicom_writing.volumes import SliceDetails, VolumeGeometry, volume_slices

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from fedward_client.cohorts.source import FloatImage

NOT_ANNOTATED_NAME = "not annotated"

_EQUIPMENT = Equipment("Fedward", "dicomize")
_XRAY_MODALITIES = ("CR", "DX", "RG", "XR", "CXR")


@dataclass(frozen=True)
class CaseToWrap:
    """One case, read.

    Args:
        place: What its UIDs follow from.
        patient_id: PatientID.
        image: Shape (channels, *spatial).
        mask: Class ids or `NOT_ANNOTATED_VOXEL`, shape (*spatial), if any.
        geometry: Of a volume.
    """

    place: tuple[str | int, ...] = field(repr=False)
    patient_id: str = field(repr=False)
    image: "FloatImage" = field(repr=False)
    mask: NDArray[np.uint8] | None = field(repr=False)
    geometry: VolumeGeometry | None


@dataclass(frozen=True)
class WrappedCase:
    """What one case became.

    Attributes:
        images: One image, or the slices of a series.
        seg: The mask.
        largest_error: Of a pixel's value.
    """

    images: tuple["Dataset", ...]
    seg: "Dataset | None"
    largest_error: float


def wrap_case(case: CaseToWrap, modality: str, class_names: Sequence[str]) -> WrappedCase:
    """Make the data sets of one case.

    Args:
        case: The case.
        modality: As the job names it; it chooses the kind of DICOM image.
        class_names: By id, the background first; for the mask.

    Raises:
        UnusableCaseError: `E_PIXEL_FORMAT`: colour that is not 8 bits, or a colour volume.
    """
    patient = Patient(case.patient_id, _name_of(case.patient_id, case.place))
    study_uid = derived_uid(*case.place)
    study = Study(study_uid, derived_date(study_uid), derived_time(study_uid), "")
    series = Series(patient, study, _EQUIPMENT, derived_uid(study_uid, "images"))
    if case.image.shape[0] == 3:
        images, error = [_colour(case.image, series)], 0.0
    elif case.geometry is not None:
        images, error = _volume(stored_pixels(case.image[0]), series, modality, case.geometry)
    else:
        images, error = _grey(stored_pixels(case.image[0]), series, modality)
    seg = None
    if case.mask is not None:
        seg_series = Series(patient, study, _EQUIPMENT, derived_uid(study_uid, "mask"), 100, "Mask")
        uid = derived_uid(seg_series.series_uid, "seg")
        names = (*class_names, NOT_ANNOTATED_NAME)
        mask = np.where(case.mask == NOT_ANNOTATED_VOXEL, len(class_names), case.mask)
        kept = names if mask.max() == len(class_names) else names[:-1]
        seg = segmentation(images, seg_series, uid, mask.astype(np.uint8), kept)
    return WrappedCase(tuple(images), seg, error)


def _name_of(patient_id: str, place: tuple[str | int, ...]) -> str:
    """Invent a name, the same for all images of a patient and nobody else's."""
    return f"Dicomized^P{derived_uid(place[0], place[1], patient_id)[-12:]}"


def _colour(image: "FloatImage", series: Series) -> "Dataset":
    whole = np.array_equal(image, np.rint(image)) and image.min() >= 0 and image.max() <= 255
    if image.ndim != 3 or not whole:
        raise UnusableCaseError("E_PIXEL_FORMAT")
    pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1)).astype(np.uint8)
    return photograph(series, derived_uid(series.series_uid, 0), pixels)


def _grey(stored: StoredPixels, series: Series, modality: str) -> tuple[list["Dataset"], float]:
    uid = derived_uid(series.series_uid, 0)
    pixels: NDArray[Any] = stored.pixels
    if modality.upper() in _XRAY_MODALITIES:
        ds = xray_image(series, uid, pixels)
    else:
        ds = secondary_capture(series, uid, pixels, modality=_code_string(modality))
    if (stored.slope, stored.intercept) != (1.0, 0.0):
        set_rescale(ds, stored.slope, stored.intercept, "US")
    return [ds], stored.largest_error


def _volume(
    stored: StoredPixels, series: Series, modality: str, geometry: VolumeGeometry
) -> tuple[list["Dataset"], float]:
    uids = [derived_uid(series.series_uid, number) for number in range(len(stored.pixels))]
    details = SliceDetails(stored.slope, stored.intercept)
    kind = cast(Any, "CT" if modality.upper() == "CT" else "MR")
    return volume_slices(series, kind, uids, stored.pixels, geometry, details), stored.largest_error


def _code_string(modality: str) -> str:
    """Give the modality if DICOM can hold it, else `OT`."""
    upper = modality.upper()
    plain = upper.isascii() and upper.replace("_", "").isalnum() and len(upper) <= 16
    return upper if plain else "OT"
