"""The image that a mask is brought onto: a series, or one image, or one frame of a file.

A mask of a series comes turned to LPS as its volume is (`series_volume.py`); a mask of a single
image comes as the image lies, shape (rows, columns).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_IMAGE_TOO_LARGE,
    E_MASK_GEOMETRY,
    E_MASK_UNREADABLE,
    E_MASK_VALUE,
    UnusableCaseError,
)
from fedward_client.dicom.bounded_reading import read_instance
from fedward_client.dicom.decoded import Decoded, InstanceName
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.resampling import resampled_mask
from fedward_client.dicom.series_geometry import grid_of_plane
from fedward_client.dicom.series_layout import frame_facts, header_facts_of, layout_of, name_of
from fedward_client.dicom.volume_grid import Grid, turned_to_lps

E_MASK_REFERENCE = "E_MASK_REFERENCE"
_FILE_CODES = (E_FILE_NOT_FOUND, "E_NOT_A_FILE", "E_FILE_UNREADABLE", E_IMAGE_TOO_LARGE)
_MAX_NUMBER = 65535


@dataclass(frozen=True)
class MaskTarget:
    """What a mask must fit.

    Args:
        grid: Slices, rows and columns as the slices lie; None for an image whose header places
            it nowhere.
        shape: (slices, rows, columns); one slice for a single image.
        is_volume: A series, so the mask is turned to LPS.
        slice_of: Slice by (SOPInstanceUID, frame from 1); frame 0 for single-frame files.
        series_uid: SeriesInstanceUID.
        frame_of_reference_uid: "" where the header has none.
        instances: The image files.
    """

    grid: Grid | None
    shape: tuple[int, int, int]
    is_volume: bool
    slice_of: dict[tuple[str, int], int] = field(repr=False)
    series_uid: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    instances: tuple[InstanceName, ...] = field(repr=False)


def target_of(paths: Sequence[str], frame: int | None = None) -> MaskTarget:
    """Read from the headers what a mask must fit.

    Args:
        paths: Files of a series in any order; or the file of one image.
        frame: Of a multi-frame file taken as single images, the frame from 0.

    Raises:
        UnusableCaseError: As `layout_of`; `E_IMAGE_SHAPE` where there is no such frame.
    """
    if len(paths) == 1:
        facts = header_facts_of(paths[0])
        if frame is not None or facts.number_of_frames == 1:
            return _target_of_image(facts, frame)
    layout = layout_of(paths)
    numbers = layout.frames or [-1] * len(layout.slices)
    keys = [
        (one.sop_instance_uid, number + 1)
        for one, number in zip(layout.slices, numbers, strict=True)
    ]
    return MaskTarget(
        layout.grid,
        layout.grid.shape,
        True,
        {key: index for index, key in enumerate(keys)},
        layout.slices[0].series_instance_uid,
        layout.slices[0].frame_of_reference_uid,
        layout.instances,
    )


def read_mask_dataset(path: str) -> Any:
    """Read a SEG or RTSTRUCT with undecoded pixels.

    Raises:
        UnusableCaseError: `E_MASK_UNREADABLE`, whatever is wrong with it; as they are the codes of
            a file that is missing, no file, or too large.
    """
    try:
        return read_instance(Path(path))
    except UnusableCaseError as error:
        if error.code in _FILE_CODES:
            raise
        raise UnusableCaseError(E_MASK_UNREADABLE) from None


def require_reference(target: MaskTarget, series: set[str], frame_of_reference: str) -> None:
    """Check that a mask was made for these images.

    Args:
        target: The images.
        series: SeriesInstanceUIDs that the mask refers to; empty where it names none.
        frame_of_reference: The mask's FrameOfReferenceUID, "" where it has none.

    Raises:
        UnusableCaseError: `E_MASK_REFERENCE`: it names other series alone, or another frame of
            reference, or nothing at all that the images have.
    """
    ours = target.frame_of_reference_uid
    same_frame = bool(ours) and frame_of_reference == ours
    elsewhere = bool(ours) and bool(frame_of_reference) and not same_frame
    named = target.series_uid in series if series else same_frame
    if elsewhere or not named:
        raise UnusableCaseError(E_MASK_REFERENCE)


def mask_of_numbers(shape: tuple[int, int, int], numbers: Sequence[int]) -> NDArray[Any]:
    """Make an empty mask whose type holds the numbers of segments or ROIs.

    Raises:
        UnusableCaseError: `E_MASK_VALUE`: a number is not between 1 and 65535, which a mask's
            value must be, 0 being no segment.
    """
    if any(not 1 <= number <= _MAX_NUMBER for number in numbers):
        raise UnusableCaseError(E_MASK_VALUE)
    small = max(numbers, default=0) <= np.iinfo(np.uint8).max
    return np.zeros(shape, dtype=np.uint8 if small else np.uint16)


def narrowed_mask(values: NDArray[Any]) -> NDArray[Any]:
    """Give whole numbers as uint8, or the smallest type that holds them."""
    low, high = int(values.min()), int(values.max())
    kinds = (np.uint8, np.int16, np.uint16, np.int32, np.int64)
    fitting = (kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return values.astype(next(fitting, values.dtype), copy=False)


def paint(part: NDArray[Any], inside: NDArray[np.bool_], number: int) -> None:
    """Write a number into a part of the mask where nothing else stands.

    Raises:
        UnusableCaseError: `E_MASK_VALUE`: two segments or ROIs overlap, so that no single value
            says what the voxel is.
    """
    before = part[inside]
    if np.any((before != 0) & (before != number)):
        raise UnusableCaseError(E_MASK_VALUE)
    part[inside] = number


def _target_of_image(facts: InstanceFacts, frame: int | None) -> MaskTarget:
    plane: InstanceFacts | None = facts
    number = 0
    if facts.number_of_frames != 1:
        number = (frame or 0) + 1
        if not 1 <= number <= facts.number_of_frames:
            raise UnusableCaseError("E_IMAGE_SHAPE")
        plane = _frame_or_none(facts, number)
    return MaskTarget(
        None if plane is None else grid_of_plane(plane),
        (1, facts.rows, facts.columns),
        False,
        {(facts.sop_instance_uid, number): 0},
        facts.series_instance_uid,
        facts.frame_of_reference_uid,
        (name_of(facts),),
    )


def _frame_or_none(facts: InstanceFacts, number: int) -> InstanceFacts | None:
    """The frame's own facts; None for a file, say of ultrasound, that describes no frames."""
    try:
        return frame_facts(facts)[number - 1]
    except UnusableCaseError as error:
        if error.code == "E_NO_GEOMETRY":
            return None
        raise


def finished_mask(
    mask: NDArray[Any], target: MaskTarget, spacing_mm: Sequence[float] | None
) -> Decoded:
    """Bring a mask of the target's shape into the order that callers get.

    Returns:
        The mask, turned to LPS and resampled to `spacing_mm` where it is a volume, or of shape
        (rows, columns).

    Raises:
        UnusableCaseError: `E_MASK_GEOMETRY`: a spacing was asked of a single image.
    """
    if not target.is_volume or target.grid is None:
        if spacing_mm is not None:
            raise UnusableCaseError(E_MASK_GEOMETRY)
        spacing = None if target.grid is None else list(target.grid.spacing_mm[1:])
        return Decoded(np.ascontiguousarray(mask[0]), {"spacing_mm": spacing}, target.instances)
    turned, grid = turned_to_lps(mask, target.grid)
    if spacing_mm is not None:
        turned, grid = resampled_mask(turned, grid, spacing_mm)
    return Decoded(np.ascontiguousarray(turned), grid.facts(), target.instances)
