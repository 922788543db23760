"""Masks as DICOM SEG, through highdicom, without its clock and its random UIDs.

The segment number is the class id, and SegmentLabel its name; class 0, the background, is where no
segment is.
"""

import copy
import datetime
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.dicom_writing.headers import UTF_8, Equipment, Series
from fedward_common.dicom_writing.identifiers import derived_uid

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.dataset import Dataset

_CODING_SCHEME = "99FEDWARD"
_PIXEL_DATA = 0x7FE00010


def segmentation(
    sources: Sequence["Dataset"],
    series: Series,
    sop_uid: str,
    mask: NDArray[np.uint8],
    class_names: Sequence[str],
) -> "Dataset":
    """Give the SEG of an image or of a series, one binary segment a class.

    Args:
        sources: The image, the slices in the mask's order, or one multi-frame image; pixels are
            not looked at.
        series: Of the segmentation itself, in the study of its source.
        sop_uid: SOPInstanceUID.
        mask: Class ids, shape (rows, columns) or (slices, rows, columns); it may be empty.
        class_names: Names of the classes by id; the first is the background.

    Raises:
        ValueError: The mask has another shape than its source, or an unknown class.
    """
    stack = mask[np.newaxis] if mask.ndim == 2 else mask
    num_frames = sum(int(source.get("NumberOfFrames", 1)) for source in sources)
    if stack.shape != (num_frames, int(sources[0].Rows), int(sources[0].Columns)):
        raise ValueError(f"a mask of shape {mask.shape} for {num_frames} frames")
    if int(stack.max()) >= len(class_names):
        raise ValueError("the mask has a class without a name")
    study = series.study
    moment = datetime.datetime.strptime(study.date + study.time, "%Y%m%d%H%M%S")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote headers
        seg = binary_segmentation(
            [_in_utf_8(sources[0]), *sources[1:]],  # patient and study: the first's
            stack,
            [_segment(number, name) for number, name in enumerate(class_names) if number],
            series.equipment,
            series_instance_uid=series.series_uid,
            series_number=series.number,
            sop_instance_uid=sop_uid,
            content_label="MASK",
            content_creator_name="",
            series_description=series.description or None,
            content_date=moment.date(),
            content_time=moment.time(),
        )
    _without_clock_and_chance(seg, moment, sop_uid)
    return seg


def binary_segmentation(
    sources: Sequence["Dataset"],
    planes: NDArray[np.uint8],
    segments: Sequence["SegmentDescription"],
    equipment: Equipment,
    **attributes: Any,
) -> "Dataset":
    """Give a SEG with one binary segment for each class; planes without any are left out of it.

    Args:
        sources: The images, or one multi-frame image; pixels are not looked at.
        planes: Segment numbers, shape (planes, rows, columns), in the sources' order.
        segments: One for each number.
        equipment: What made it.
        **attributes: Further ones, as highdicom names them: its series and itself at least.

    Raises:
        ValueError, AttributeError, TypeError: The headers lack what a segmentation needs.
    """
    from highdicom.seg import Segmentation, SegmentationTypeValues

    return Segmentation(
        source_images=sources,
        pixel_array=planes,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        instance_number=1,
        omit_empty_frames=bool(planes.any()),  # a SEG has a frame at least
        **equipment.device,
        **attributes,
    )


def _in_utf_8(source: "Dataset") -> "Dataset":
    """Copy the header, in one character set: highdicom knows no extended ones.

    A copy, for a SEG shares the elements of its source's patient and study.
    """
    from pydicom.dataset import Dataset

    twin = Dataset()
    header = {tag: element for tag, element in source.items() if tag != _PIXEL_DATA}
    twin.update(copy.deepcopy(header))
    twin.SpecificCharacterSet = UTF_8
    return twin


def _segment(number: int, name: str) -> "SegmentDescription":
    """Describe one class; the code is Fedward's own, for a job may name anything."""
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=CodedConcept(f"CLASS-{number}", _CODING_SCHEME, name[:64]),
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
    )


def _without_clock_and_chance(seg: "Dataset", moment: datetime.datetime, sop_uid: str) -> None:
    """Replace what highdicom takes from the clock and from random numbers."""
    day, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    organization = derived_uid(sop_uid, "dimension organization")

    def fix(_: "Dataset", element: object) -> None:
        keyword = getattr(element, "keyword", "")
        if keyword == "DimensionOrganizationUID":
            element.value = organization  # type: ignore[attr-defined]
        elif keyword == "ContributionDateTime":
            element.value = day + time  # type: ignore[attr-defined]
        elif keyword == "InstanceCreationDate":
            element.value = day  # type: ignore[attr-defined]
        elif keyword == "InstanceCreationTime":
            element.value = time  # type: ignore[attr-defined]

    seg.walk(fix)
