"""SEG and RTSTRUCT made for small series, as other programs would write them."""

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import RTStructureSetStorage, generate_uid
from tests.client.dicom import made_series as made

Contour = NDArray[np.float64]  # (points, 3), mm


def made_seg(
    images: Sequence[Dataset],
    mask: NDArray[Any],
    kind: str = "BINARY",
    labels: Mapping[int, str] | None = None,
    **options: Any,
) -> Segmentation:
    """Make a SEG with highdicom.

    Args:
        images: Slices, or one image.
        mask: Shape (slices, rows, columns) of segment numbers, or with a last axis of segments.
        kind: SegmentationType.
        labels: SegmentLabel by number.
        **options: Passed on.
    """
    count = mask.shape[3] if mask.ndim == 4 else int(max(1, mask.max()))
    return Segmentation(
        source_images=list(images),
        pixel_array=mask,
        segmentation_type=kind,
        segment_descriptions=[
            _description(number + 1, (labels or {}).get(number + 1)) for number in range(count)
        ],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="made",
        manufacturer_model_name="made",
        software_versions="1",
        device_serial_number="1",
        **options,
    )


def _description(number: int, label: str | None) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=label or f"segment {number}",
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Lung,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def made_rtstruct(
    images: Sequence[Dataset],
    contours: Mapping[int, Sequence[Contour]],
    geometric_type: str = "CLOSED_PLANAR",
    names: Mapping[int, str] | None = None,
) -> FileDataset:
    """Make a structure set whose ROIs have the contours given, and names, by ROI number."""
    dataset = made.empty_instance(RTStructureSetStorage)
    dataset.Modality = "RTSTRUCT"
    dataset.StructureSetLabel = "made"
    frame = images[0].FrameOfReferenceUID
    dataset.ReferencedFrameOfReferenceSequence = [_reference(images)]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, several in contours.items():
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, (names or {}).get(number, "roi")
        roi.ReferencedFrameOfReferenceUID = frame
        roi.ROIGenerationAlgorithm = "MANUAL"
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [_contour(points, geometric_type) for points in several]
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    return dataset


def _reference(images: Sequence[Dataset]) -> Dataset:
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ContourImageSequence = []
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = images[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _contour(points: Contour, geometric_type: str) -> Dataset:
    contour = Dataset()
    contour.ContourGeometricType = geometric_type
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{value:.6f}" for value in points.ravel()]
    return contour
