"""Where the slices of a series lie, read from its files' headers: their order, and their grid.

A multi-frame file (enhanced CT, MR, PET) is a series whose slices are its frames. They go through
the same checks as single files: position and direction of each frame decide, never the order in
which frames lie in the file.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.bounded_reading import read_header, silenced_dicom
from fedward_client.dicom.decoded import InstanceName
from fedward_client.dicom.header_facts import WANTED_KEYWORDS, facts_of
from fedward_client.dicom.header_values import finite, text_of, value_of, vector
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.series_geometry import (
    SAME_GAP_MM,
    SAME_GAP_SHARE,
    check_series,
    grid_of_series,
)
from fedward_client.dicom.volume_grid import Grid

_PER_FRAME = "PerFrameFunctionalGroupsSequence"
_SHARED = "SharedFunctionalGroupsSequence"
_MAX_MM = 100_000.0
# 1 - cosine; over one thin gap rounded positions turn by degrees, `check_series` bounds the shift
_PERPENDICULAR_TOLERANCE = 0.01
# As `header_facts` words what tells images at one place apart
_PHASE_PLACES = {
    "temporal": ("FrameContentSequence", "TemporalPositionIndex"),
    "echo": ("MREchoSequence", "EffectiveEchoTime"),
    "cardiac": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    "b": ("MRDiffusionSequence", "DiffusionBValue"),
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber"),
}
_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")


@dataclass(frozen=True)
class SeriesLayout:
    """The slices of one volume from feet to head, not yet turned to LPS.

    Args:
        slices: One for each slice; `locator` is its file's path.
        frames: Of a multi-frame file the frame of each slice, from 0; None for single files.
        grid: Of the slices in this order.
    """

    slices: tuple[InstanceFacts, ...] = field(repr=False)
    frames: tuple[int, ...] | None
    grid: Grid

    @property
    def instances(self) -> tuple[InstanceName, ...]:
        """Name each file, in the order of its first slice."""
        return tuple(dict.fromkeys(name_of(one) for one in self.slices))


def name_of(facts: InstanceFacts) -> InstanceName:
    """Name an instance as decoders do."""
    return InstanceName(facts.sop_instance_uid, facts.series_instance_uid)


def layout_of(paths: Sequence[str]) -> SeriesLayout:
    """Read the headers of a series and put its slices in order.

    Raises:
        UnusableCaseError: As `check_series`, or what makes a header unreadable.
    """
    instances = [header_facts_of(path) for path in paths]
    series = check_series(instances)
    if len(series) == 1:
        return _layout_of_frames(series[0])
    return SeriesLayout(series, None, _confirmed_grid(series))


def header_facts_of(path: str) -> InstanceFacts:
    """Read the facts of one file; its path is the locator."""
    header = read_header(Path(path), WANTED_KEYWORDS)
    return facts_of(header, path, 0, 0, b"")  # nobody asks for the person here


def frame_facts(facts: InstanceFacts) -> list[InstanceFacts]:
    """Read what `frames_of_header` gives from the file that `facts` are of."""
    return frames_of_header(read_header(Path(facts.locator), (_PER_FRAME, _SHARED)), facts)


def frames_of_header(header: Any, facts: InstanceFacts) -> list[InstanceFacts]:
    """Give a multi-frame file's frames in its order, each as if it were a file of its own.

    Raises:
        UnusableCaseError: `E_NO_GEOMETRY` where the file describes no single frames.
    """
    try:
        with silenced_dicom():
            frames = list(value_of(header, _PER_FRAME) or ())
            shared = list(value_of(header, _SHARED) or ())
            if len(frames) != facts.number_of_frames:
                raise UnusableCaseError("E_NO_GEOMETRY")
            return [_one_frame(facts, (frame, *shared)) for frame in frames]
    except UnusableCaseError:
        raise
    except Exception:  # pydicom raises anything on a damaged sequence
        raise UnusableCaseError("E_HEADER_UNREADABLE") from None


def _layout_of_frames(facts: InstanceFacts) -> SeriesLayout:
    frames = frame_facts(facts)
    number_of = {id(frame): number for number, frame in enumerate(frames)}
    series = check_series(frames)
    order = tuple(number_of[id(frame)] for frame in series)
    return SeriesLayout(series, order, _confirmed_grid(series))


def _confirmed_grid(series: Sequence[InstanceFacts]) -> Grid:
    """Let highdicom judge the stack too: it must find the same order and the same spacing."""
    from highdicom.spatial import get_volume_positions

    grid = grid_of_series(series)
    gap = grid.spacing_mm[0]
    with silenced_dicom():
        spacing, order = get_volume_positions(
            [one.image_position_mm or () for one in series],
            series[0].image_orientation or (),
            atol=max(SAME_GAP_SHARE * gap, SAME_GAP_MM),
            perpendicular_tol=_PERPENDICULAR_TOLERANCE,
        )
    upwards = list(range(len(series)))
    same_order = order in (upwards, upwards[::-1])
    if spacing is None or not same_order or abs(spacing - gap) > SAME_GAP_SHARE * gap:
        raise UnusableCaseError("E_IRREGULAR_SPACING")
    return grid


def _one_frame(facts: InstanceFacts, groups: Sequence[Any]) -> InstanceFacts:
    frame_type = next((text for key in _FRAME_TYPES if (text := _text(groups, key))), "")
    position = _value(groups, "PlanePositionSequence", "ImagePositionPatient")
    directions = _value(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _value(groups, "PixelMeasuresSequence", "PixelSpacing")
    return dataclasses.replace(
        facts,
        number_of_frames=1,
        image_type=frame_type or facts.image_type,
        image_position_mm=vector(position, 3, -_MAX_MM, _MAX_MM),
        image_orientation=vector(directions, 6, -1.01, 1.01),
        pixel_spacing_mm=vector(spacing, 2, 1e-6, _MAX_MM),
        slice_thickness_mm=_measure(groups, "SliceThickness"),
        spacing_between_slices_mm=_measure(groups, "SpacingBetweenSlices"),
        phase=_phase(groups),
    )


def _phase(groups: Sequence[Any]) -> str:
    found = ((word, _value(groups, *place)) for word, place in _PHASE_PLACES.items())
    numbers = ((word, finite(value, -1e9, 1e9)) for word, value in found)
    return ";".join(f"{word}={number:g}" for word, number in numbers if number is not None)


def _measure(groups: Sequence[Any], keyword: str) -> float | None:
    number = finite(_value(groups, "PixelMeasuresSequence", keyword), -_MAX_MM, _MAX_MM)
    return abs(number) if number else None


def _text(groups: Sequence[Any], sequence: str) -> str:
    item = _item(groups, sequence)
    return "" if item is None else text_of(item, "FrameType").upper()


def _value(groups: Sequence[Any], sequence: str, keyword: str) -> Any:
    item = _item(groups, sequence)
    return None if item is None else value_of(item, keyword)


def _item(groups: Sequence[Any], sequence: str) -> Any:
    """The macro of the frame itself, else the one that all frames share (PS3.3 C.7.6.16)."""
    for group in groups:
        items = value_of(group, sequence)
        if items:
            return items[0]
    return None
