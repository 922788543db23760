"""Small series made with pydicom, sound ones and every bad kind that checks must find."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from fedward_client.dicom.header_facts import facts_of
from fedward_client.dicom.instance_facts import InstanceFacts

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
AXIAL_FEET_FIRST = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # rows from left to right: normal to the feet
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.96, 0.28, 0.0, -0.224, 0.768, 0.6)


def voxels(slices: int = 6, rows: int = 8, columns: int = 10, seed: int = 0) -> NDArray[np.int16]:
    """Stored values that no turned or shuffled copy equals."""
    random = np.random.default_rng(seed)
    return random.integers(0, 2000, (slices, rows, columns)).astype(np.int16)


def made_slices(
    stored: NDArray[Any],
    *,
    orientation: Sequence[float] = AXIAL,
    gap_mm: float = 2.5,
    pixel_mm: tuple[float, float] = (0.8, 0.7),
    origin_mm: Sequence[float] = (-30.0, -40.0, 100.0),
    tilt_degrees: float = 0.0,
    places: Sequence[float] | None = None,
    slopes: Sequence[float] | None = None,
    intercept: float = -1024.0,
    **elements: Any,
) -> list[FileDataset]:
    """Make CT slices along the normal, slice i at `origin + places[i] * gap`.

    Args:
        stored: Shape (slices, rows, columns), int16 or uint16.
        orientation: Cosines, ImageOrientationPatient.
        gap_mm: Between slices.
        pixel_mm: PixelSpacing.
        origin_mm: Of the first slice.
        tilt_degrees: Each slice is shifted along its columns, as a tilted gantry does.
        places: In gaps; 0, 1, 2 ... where not given.
        slopes: RescaleSlope of each slice; 1 where not given.
        intercept: RescaleIntercept.
        **elements: Further elements of all slices; None takes one away.
    """
    across, down = np.array(orientation[:3]), np.array(orientation[3:])
    step = np.cross(across, down) * gap_mm + down * gap_mm * np.tan(np.deg2rad(tilt_degrees))
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for index, plane in enumerate(stored):
        place = index if places is None else places[index]
        dataset = empty_instance(CTImageStorage)
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series, study
        dataset.FrameOfReferenceUID = frame
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = _decimals(np.array(origin_mm) + place * step)
        dataset.ImageOrientationPatient = _decimals(orientation)
        dataset.PixelSpacing = _decimals(pixel_mm)
        dataset.SliceThickness = _decimals([gap_mm])[0]
        dataset.RescaleSlope = str(1 if slopes is None else slopes[index])
        dataset.RescaleIntercept = str(intercept)
        set_pixels(dataset, plane)
        set_elements(dataset, elements)
        made.append(dataset)
    return made


def empty_instance(sop_class: str) -> FileDataset:
    """Make a file with identifiers and no image."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Made^Up", "P1", "CT"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240101", "120000", "1"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber, dataset.Manufacturer = None, "made"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return dataset


def set_pixels(dataset: Dataset, stored: NDArray[Any], photometric: str = "MONOCHROME2") -> None:
    """Store 16-bit pixels, shape (rows, columns) or (frames, rows, columns)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()


def set_elements(dataset: Dataset, elements: dict[str, Any]) -> None:
    """Set elements by keyword; None takes one away."""
    for keyword, value in elements.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)


def made_localizer(like: Dataset, **elements: Any) -> FileDataset:
    """Make a sagittal overview image in the series of `like`."""
    (made,) = made_slices(voxels(1, 12, 12), orientation=SAGITTAL, pixel_mm=(2.0, 2.0))
    made.SeriesInstanceUID, made.StudyInstanceUID = like.SeriesInstanceUID, like.StudyInstanceUID
    made.FrameOfReferenceUID = like.FrameOfReferenceUID
    made.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    set_elements(made, elements)
    return made


def made_enhanced(
    stored: NDArray[Any], order: Sequence[int], *, slopes: Sequence[float] | None = None
) -> FileDataset:
    """Make an enhanced CT whose frames lie in the file in `order`, with a slope for each slice."""
    slices = made_slices(stored, slopes=slopes)
    dataset = empty_instance(EnhancedCTImageStorage)
    dataset.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    dataset.NumberOfFrames = len(order)
    set_pixels(dataset, stored[list(order)])
    shared = Dataset()
    measures, directions = Dataset(), Dataset()
    measures.PixelSpacing = slices[0].PixelSpacing
    measures.SliceThickness = slices[0].SliceThickness
    directions.ImageOrientationPatient = slices[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [directions]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number, index in enumerate(order, start=1):
        content, position, transform, group = Dataset(), Dataset(), Dataset(), Dataset()
        content.StackID, content.InStackPositionNumber = "1", index + 1
        content.DimensionIndexValues = [1, index + 1]
        content.FrameAcquisitionNumber = number
        position.ImagePositionPatient = slices[index].ImagePositionPatient
        transform.RescaleSlope = slices[index].RescaleSlope
        transform.RescaleIntercept = slices[index].RescaleIntercept
        transform.RescaleType = "HU"
        group.FrameContentSequence, group.PlanePositionSequence = [content], [position]
        group.PixelValueTransformationSequence = [transform]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    _describe_dimensions(dataset)
    return dataset


def _describe_dimensions(dataset: Dataset) -> None:
    organisation = Dataset()
    organisation.DimensionOrganizationUID = generate_uid()
    dataset.DimensionOrganizationSequence = [organisation]
    dataset.DimensionIndexSequence = []
    for tag in (0x00209056, 0x00209057):  # StackID, InStackPositionNumber
        index = Dataset()
        index.DimensionOrganizationUID = organisation.DimensionOrganizationUID
        index.DimensionIndexPointer = tag
        index.FunctionalGroupPointer = 0x00209111
        dataset.DimensionIndexSequence.append(index)


def written(folder: Path, datasets: Sequence[Dataset]) -> list[str]:
    """Write one file each, named by their order here."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.dcm" for number in range(1, len(datasets) + 1)]
    for path, dataset in zip(paths, datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return [str(path) for path in paths]


def facts(datasets: Sequence[Dataset]) -> list[InstanceFacts]:
    """What an index would know of them; the locator is the number in this order."""
    return [facts_of(one, str(index), 0, 0, b"key") for index, one in enumerate(datasets)]


def _decimals(values: Sequence[float] | NDArray[np.float64]) -> list[str]:
    return [f"{float(value):.10g}"[:16] for value in values]
