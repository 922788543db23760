"""RTSTRUCT contours to one mask whose values are the ROI numbers, on the grid of its images.

Only closed planar contours have an area; points and open lines are passed over. Contours of one ROI
on one slice go by the even-odd rule, so that a contour inside another is a hole. A contour that
lies off every slice by more than half a slice, across several slices, or beside the image, is
refused, and so are ROIs that overlap, for a voxel would need two values: say which are drawn, and
as what. Of the others no contour is looked at.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import (
    E_MASK_GEOMETRY,
    E_MASK_UNREADABLE,
    UnusableCaseError,
)
from fedward_client.dicom.bounded_reading import silenced_dicom
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.filled_contours import filled
from fedward_client.dicom.header_facts import facts_of
from fedward_client.dicom.header_values import text_of, uid_of
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.mask_target import (
    MaskTarget,
    finished_mask,
    mask_of_numbers,
    paint,
    read_mask_dataset,
    require_reference,
    target_of,
)
from fedward_client.dicom.segment_meanings import Meanings, values_to_draw

Points = NDArray[np.float64]  # (points, 3): slice, row, column

_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_MAX_OFF_SLICE = 0.5
_VALUES_OF_A_LINE = 2 * 3
_SAME_HEIGHT = 0.1  # in slices; contours further apart do not cut holes into each other


def decode_rtstruct_mask(
    mask: str,
    paths: Sequence[str],
    frame: int | None = None,
    values: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | None = None,
    meanings: Meanings | None = None,
) -> Decoded:
    """Bring the contours of an RTSTRUCT onto its series or image.

    Args:
        mask: The RTSTRUCT.
        paths: Files of the series in any order, or of the one image.
        frame: As `target_of`.
        values: ROI numbers to take; all if None.
        spacing_mm: Resample the mask as its volume was; not for single images.
        meanings: What ROIs are drawn as, by number or ROIName; their own numbers if None.

    Returns:
        The mask, uint8 (uint16 from value 256 on), shape and facts as those of its image.

    Raises:
        UnusableCaseError: `E_MASK_UNREADABLE`, `E_MASK_REFERENCE`, `E_MASK_GEOMETRY`,
            `E_MASK_VALUE`, `E_LABEL_UNMAPPED` (an ROI that encloses something, of which `meanings`
            says nothing), or what is wrong with the images.
    """
    target = target_of(paths, frame)
    dataset = read_mask_dataset(mask)
    facts = _structure_facts(dataset)
    try:
        with silenced_dicom():
            contours = _closed_contours(dataset)
            value_of = values_to_draw(_names(dataset, contours, meanings), meanings, values)
            frames = _frames_of_reference(dataset, value_of)
            for uid in frames or {facts.frame_of_reference_uid}:
                require_reference(target, _referenced_series(facts), uid)
            painted = mask_of_numbers(target.shape, list(value_of.values()))
            for number, value in value_of.items():
                points = [_points(contour) for contour in contours.get(number, ())]
                _draw(painted, target, value, points)
    except (UnusableCaseError, MemoryError):
        raise
    except Exception:  # pydicom raises anything on a damaged file
        raise UnusableCaseError(E_MASK_UNREADABLE) from None
    return finished_mask(painted, target, spacing_mm)


def _structure_facts(dataset: Any) -> InstanceFacts:
    try:
        facts = facts_of(dataset, "", 0, 0, b"")
    except UnusableCaseError:
        raise UnusableCaseError(E_MASK_UNREADABLE) from None
    if facts.sop_class_uid != _STRUCTURE_SET:
        raise UnusableCaseError(E_MASK_UNREADABLE)
    return facts


def _referenced_series(facts: InstanceFacts) -> set[str]:
    return {uid for uid in facts.referenced_series.split("\\") if uid}


def _names(
    dataset: Any, contours: Mapping[int, Sequence[Any]], meanings: Meanings | None
) -> dict[int, str]:
    """Name of each ROI by its number; where names decide, only of those that enclose something."""
    names = {int(roi.ROINumber): text_of(roi, "ROIName") for roi in dataset.StructureSetROISequence}
    return {n: name for n, name in names.items() if meanings is None or contours.get(n)}


def _frames_of_reference(dataset: Any, numbers: Collection[int]) -> set[str]:
    return {
        uid_of(roi, "ReferencedFrameOfReferenceUID")
        for roi in dataset.StructureSetROISequence
        if int(roi.ROINumber) in numbers
    }


def _closed_contours(dataset: Any) -> dict[int, list[Any]]:
    """Contours that enclose something, by ROI; a structure set without any is refused."""
    found: dict[int, list[Any]] = {}
    for roi in dataset.ROIContourSequence:
        found.setdefault(int(roi.ReferencedROINumber), []).extend(
            contour
            for contour in roi.get("ContourSequence") or ()
            if text_of(contour, "ContourGeometricType").upper() in _CLOSED
            and _num_values(contour) > _VALUES_OF_A_LINE
        )
    if not any(found.values()):
        raise UnusableCaseError(E_MASK_UNREADABLE)
    return found


def _num_values(contour: Any) -> int:
    value = contour.get_item("ContourData").value
    return value.count(b"\\") + 1 if isinstance(value, bytes) else len(value or ())


def _points(contour: Any) -> Points:
    points = _numbers(contour).reshape(-1, 3)
    if not np.isfinite(points).all():
        raise UnusableCaseError(E_MASK_UNREADABLE)
    return points


def _numbers(contour: Any) -> Points:
    """ContourData, many thousand decimals, without making an object of each."""
    value = contour.get_item("ContourData").value
    if isinstance(value, bytes):
        return np.array(value.strip(b" \0").split(b"\\")).astype(np.float64)
    return np.array(value, dtype=np.float64)


def _draw(mask: NDArray[Any], target: MaskTarget, number: int, contours: Sequence[Points]) -> None:
    if not contours:
        return
    if target.grid is None:
        raise UnusableCaseError(E_MASK_GEOMETRY)
    to_index = np.linalg.inv(target.grid.affine)
    on_slice: dict[int, list[Points]] = defaultdict(list)
    for contour in contours:
        points = contour @ to_index[:3, :3].T + to_index[:3, 3]
        index = _slice_of(points, target)
        if index is not None:
            _require_on_image(points, target)
            on_slice[index].append(points)
    for index, several in on_slice.items():
        heights = np.concatenate([points[:, 0] for points in several])
        if np.ptp(heights) > _SAME_HEIGHT and len(several) > 1:
            raise UnusableCaseError(E_MASK_GEOMETRY)
        inside = filled([points[:, 1:] for points in several], target.shape[1:])
        paint(mask[index], inside, number)


def _slice_of(points: Points, target: MaskTarget) -> int | None:
    """The slice a contour lies on; None for one of another slice where the image is single."""
    heights = points[:, 0]
    index = int(np.rint((heights.min() + heights.max()) / 2))
    if not target.is_volume and np.all(np.abs(heights) > _MAX_OFF_SLICE):
        return None
    off = float(np.abs(heights - index).max())
    if not 0 <= index < target.shape[0] or off > _MAX_OFF_SLICE:
        raise UnusableCaseError(E_MASK_GEOMETRY)
    return index


def _require_on_image(points: Points, target: MaskTarget) -> None:
    """A contour may be cut by the image's border, but not lie beside the image."""
    low, high = points[:, 1:].min(axis=0), points[:, 1:].max(axis=0)
    if np.any(high < -0.5) or np.any(low > np.array(target.shape[1:]) - 0.5):
        raise UnusableCaseError(E_MASK_GEOMETRY)
