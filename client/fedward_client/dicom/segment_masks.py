"""DICOM SEG to one mask whose values are the segments' numbers, on the grid of its images.

Each frame is put where its own position and direction say, voxel on voxel; slices without a frame
stay 0. Where neither the images nor the segments have a place in space (projection X-ray,
ultrasound), the reference to the image decides. Overlapping segments are refused, for a voxel would
need two values: say which are drawn, and as what. Fractional segments are taken only where each
voxel is wholly in or out: a threshold would be a guess.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import (
    E_MASK_GEOMETRY,
    E_MASK_UNREADABLE,
    E_MASK_VALUE,
    UnusableCaseError,
)
from fedward_client.dicom.bounded_reading import silenced_dicom
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.header_facts import facts_of
from fedward_client.dicom.header_values import items_along, text_of, uid_of
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.mask_target import (
    E_MASK_REFERENCE,
    MaskTarget,
    finished_mask,
    mask_of_numbers,
    paint,
    read_mask_dataset,
    require_reference,
    target_of,
)
from fedward_client.dicom.segment_meanings import Meanings, values_to_draw
from fedward_client.dicom.series_geometry import grid_of_plane
from fedward_client.dicom.series_layout import frames_of_header
from fedward_client.dicom.volume_grid import Grid, part_of_grid

_SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_SAME_SLICE_VOXELS = 0.5


@dataclass(frozen=True)
class _SegmentFrame:
    """One frame: its number in the file from 1, its segment (0 in a label map), its place."""

    number: int
    segment: int
    grid: Grid | None
    sources: tuple[tuple[str, int], ...]


def decode_seg_mask(
    mask: str,
    paths: Sequence[str],
    frame: int | None = None,
    values: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | None = None,
    meanings: Meanings | None = None,
) -> Decoded:
    """Bring a SEG onto its series or image.

    Args:
        mask: The SEG.
        paths: Files of the series in any order, or of the one image.
        frame: As `target_of`.
        values: Segment numbers to take; all if None. The others become 0.
        spacing_mm: Resample the mask as its volume was; not for single images.
        meanings: What segments are drawn as, by number or SegmentLabel; their own numbers if None.

    Returns:
        The mask, uint8 (uint16 from value 256 on), shape and facts as those of its image.

    Raises:
        UnusableCaseError: `E_MASK_UNREADABLE`, `E_MASK_REFERENCE`, `E_MASK_GEOMETRY`,
            `E_MASK_SHAPE`, `E_MASK_VALUE`, `E_LABEL_UNMAPPED` (a segment that has frames, of which
            `meanings` says nothing), or what is wrong with the images.
    """
    target = target_of(paths, frame)
    dataset = read_mask_dataset(mask)
    facts = _segmentation_facts(dataset)
    try:
        with silenced_dicom():
            frames = list(_frames_of(dataset, facts))
            value_of = values_to_draw(_labels(dataset, frames, meanings), meanings, values)
            _require_reference(dataset, facts, target, frames)
            painted = mask_of_numbers(target.shape, list(value_of.values()))
            decoded = _FrameDecoder(dataset)
            for one in frames:
                _put(painted, target, one, decoded, value_of)
    except (UnusableCaseError, MemoryError):
        raise
    except Exception:  # pydicom and highdicom raise anything on a damaged file
        raise UnusableCaseError(E_MASK_UNREADABLE) from None
    return finished_mask(painted, target, spacing_mm)


def _segmentation_facts(dataset: Any) -> InstanceFacts:
    try:
        facts = facts_of(dataset, "", 0, 0, b"")
    except UnusableCaseError:
        raise UnusableCaseError(E_MASK_UNREADABLE) from None
    if facts.sop_class_uid not in _SEGMENTATION_CLASSES:
        raise UnusableCaseError(E_MASK_UNREADABLE)
    return facts


def _frames_of(dataset: Any, facts: InstanceFacts) -> Iterator[_SegmentFrame]:
    is_label_map = dataset.SegmentationType == "LABELMAP"
    shared = dataset.SharedFunctionalGroupsSequence[0]
    try:
        planes = frames_of_header(dataset, facts)
    except UnusableCaseError:
        raise UnusableCaseError(E_MASK_UNREADABLE) from None
    for index, plane in enumerate(planes):
        group = dataset.PerFrameFunctionalGroupsSequence[index]
        segment = 0
        if not is_label_map:
            items = group.get("SegmentIdentificationSequence")
            items = items or shared.SegmentIdentificationSequence
            segment = int(items[0].ReferencedSegmentNumber)
        yield _SegmentFrame(index + 1, segment, grid_of_plane(plane), _sources(group))


def _sources(group: Any) -> tuple[tuple[str, int], ...]:
    """Images, and frames from 1 of them (0: none named), that a frame was drawn on."""
    return tuple(
        (uid_of(item, "ReferencedSOPInstanceUID"), number)
        for item in items_along(group, "DerivationImageSequence", "SourceImageSequence")
        for number in _frame_numbers(item)
    )


def _frame_numbers(item: Any) -> list[int]:
    numbers = item.get("ReferencedFrameNumber")
    if numbers is None or numbers == "":
        return [0]
    return [int(number) for number in np.atleast_1d(numbers)]


def _labels(
    dataset: Any, frames: Sequence[_SegmentFrame], meanings: Meanings | None
) -> dict[int, str]:
    """Label of each segment by its number; where labels decide, only of those that have frames."""
    labels = {
        int(one.SegmentNumber): text_of(one, "SegmentLabel") for one in dataset.SegmentSequence
    }
    has_frames = {one.segment for one in frames}
    return {
        number: label
        for number, label in labels.items()
        if number and (meanings is None or 0 in has_frames or number in has_frames)
    }


def _require_reference(
    dataset: Any, facts: InstanceFacts, target: MaskTarget, frames: Sequence[_SegmentFrame]
) -> None:
    ours = {uid for uid, _ in target.slice_of}
    series = {uid for uid in facts.referenced_series.split("\\") if uid}
    drawn_on = _listed_instances(dataset) | {uid for one in frames for uid, _ in one.sources}
    if drawn_on & ours:
        series.add(target.series_uid)
    elif drawn_on and not (series and target.is_volume):
        raise UnusableCaseError(E_MASK_REFERENCE)  # it names images, and they are others
    require_reference(target, series, facts.frame_of_reference_uid)


def _listed_instances(dataset: Any) -> set[str]:
    return {
        uid_of(instance, "ReferencedSOPInstanceUID")
        for series in dataset.get("ReferencedSeriesSequence") or ()
        for instance in series.get("ReferencedInstanceSequence") or ()
    }


class _FrameDecoder:
    """Decodes frames of a SEG one at a time."""

    def __init__(self, dataset: Any) -> None:
        import highdicom

        self._segmentation = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
        self._full = int(dataset.get("MaximumFractionalValue") or 1)
        self._is_label_map = dataset.SegmentationType == "LABELMAP"
        self._is_fractional = dataset.SegmentationType == "FRACTIONAL"

    def labels(self, one: _SegmentFrame) -> NDArray[Any]:
        """Give the frame's values as numbers of segments, shape (rows, columns)."""
        stored = np.asarray(self._segmentation.get_stored_frame(one.number))
        if self._is_label_map:
            return stored
        if self._is_fractional and np.any((stored != 0) & (stored != self._full)):
            raise UnusableCaseError(E_MASK_VALUE)
        return np.where(stored != 0, np.int32(one.segment), np.int32(0))


def _put(
    mask: NDArray[Any],
    target: MaskTarget,
    one: _SegmentFrame,
    decoder: _FrameDecoder,
    value_of: Mapping[int, int],
) -> None:
    if one.segment and one.segment not in value_of:
        return
    place = _place_of(target, one)
    if place is None:
        return
    part, lies_at = place
    labels = decoder.labels(one)[np.newaxis]
    if target.grid is not None and lies_at is not None:
        part, labels = part_of_grid(target.grid, labels, lies_at)
    if mask[part].shape != labels.shape:
        raise UnusableCaseError("E_MASK_SHAPE")
    for number in value_of.keys() & {int(value) for value in np.unique(labels)}:
        paint(mask[part], labels == number, value_of[number])


def _place_of(
    target: MaskTarget, one: _SegmentFrame
) -> tuple[tuple[slice, slice, slice], Grid | None] | None:
    """Say where a frame belongs: a slice of the target by name, and its grid if both have one.

    None for a frame of another image where the target is a single one.
    """
    named = [
        index
        for (uid, number), index in target.slice_of.items()
        if any(uid == source and (number == 0 or at in (0, number)) for source, at in one.sources)
    ]
    if not target.is_volume and not named and (one.sources or _is_elsewhere(target, one)):
        return None
    whole = slice(None)
    if target.grid is not None and one.grid is not None:
        return (whole, whole, whole), one.grid
    if len(named) != 1:
        raise UnusableCaseError(E_MASK_GEOMETRY)
    return (slice(named[0], named[0] + 1), whole, whole), None


def _is_elsewhere(target: MaskTarget, one: _SegmentFrame) -> bool:
    """Say whether a frame lies on another slice than the single image."""
    if target.grid is None or one.grid is None:
        return False
    inverse = np.linalg.inv(target.grid.affine)
    place = inverse @ np.array([*one.grid.origin_mm, 1.0])
    return bool(abs(place[0]) > _SAME_SLICE_VOXELS)
