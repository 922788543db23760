"""Says whether the slices of a series are one volume, from their headers alone, and in which order.

A series is refused by code, never repaired. The order comes from the positions projected on the
slice normal; file names, instance and series numbers say nothing. Tolerances, with their reasons:

- directions within 0.1 degree: cosines of three decimals stay below, a voxel 300 mm away moves by
  half a millimetre;
- sideways shift over the whole stack at most half a pixel and half a degree (0.1 mm always passes,
  as much as rounded positions shift): no voxel is taken for its neighbour;
- gaps within 1 % of their mean (or 0.02 mm, positions rounded to 0.01 mm), and no slice further
  than a tenth of a gap from its place on the even grid;
- pixel spacings within 0.1 %: half a pixel over 512;
- a gap is a multiple of another within 5 %.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.volume_grid import Grid

Positions = NDArray[np.float64]  # (slices,), along the normal, in mm

MIN_SLICES = 2
SAME_GAP_SHARE = 0.01
SAME_GAP_MM = 0.02
_SAME_PLACE_MM = 0.01
_MAX_OFF_GRID_SHARE = 0.1
_MAX_TURN = float(np.deg2rad(0.1))
_MAX_TILT = float(np.tan(np.deg2rad(0.5)))
_MAX_SHIFT_PIXELS = 0.5
_ROUNDING_MM = 0.1
_SAME_SPACING_SHARE = 1e-3
_MULTIPLE_SHARE = 0.05
_MAX_COSINE_ERROR = 1e-2
# One gap cannot look irregular. Slices often leave half of their thickness between them, a
# slice that is missing leaves at least the whole.
_MAX_GAP_PER_THICKNESS = 1.75
# Words of `InstanceFacts.phase` that are one in any volume; a trigger time, an echo time and an
# acquisition number may differ from slice to slice.
_ONE_IN_A_VOLUME = ("temporal=", "echo=", "cardiac=", "b=")


def check_series(instances: Sequence[InstanceFacts]) -> tuple[InstanceFacts, ...]:
    """Sort the slices of one volume from feet to head.

    Slices that stand upright run from right to left or from front to back. One multi-frame file is
    given back as it is; its frames are checked when it is decoded.

    Raises:
        UnusableCaseError: `E_SERIES_EMPTY`, `E_NO_PIXEL_DATA`, `E_SERIES_MIXED`, `E_LOCALIZER`,
            `E_TOO_FEW_SLICES`, `E_NO_GEOMETRY`, `E_DUPLICATE_POSITION`, `E_MIXED_PHASES`,
            `E_GANTRY_TILT`, `E_MISSING_SLICE` or `E_IRREGULAR_SPACING`: the first that holds, in
            this order.
    """
    _require_pixels(instances)
    if any(one.number_of_frames != 1 for one in instances):
        if len(instances) == 1:
            return tuple(instances)
        raise UnusableCaseError("E_SERIES_MIXED")
    _refuse_localizers(instances)
    if len(instances) < MIN_SLICES:
        raise UnusableCaseError("E_TOO_FEW_SLICES")
    _require_geometry(instances)
    _require_one_direction(instances)
    _require_one_kind(instances)
    return _sorted_stack(instances)


def grid_of_series(series: Sequence[InstanceFacts]) -> Grid:
    """Give the grid of slices that `check_series` sorted, in their order.

    Slices are put on the even line through the first and the last, along the normal.
    """
    first = series[0]
    across, down = _unit_axes(first)
    normal = _normal_to_head(first)
    along = [float(np.dot(np.array(one.image_position_mm), normal)) for one in series]
    gap = (along[-1] - along[0]) / (len(series) - 1)
    row_mm, column_mm = first.pixel_spacing_mm or (0.0, 0.0)
    x, y, z = first.image_position_mm or (0.0, 0.0, 0.0)
    return Grid(
        (len(series), first.rows, first.columns),
        (x, y, z),
        (_scaled(normal, gap), _scaled(down, row_mm), _scaled(across, column_mm)),
    )


def grid_of_plane(plane: InstanceFacts) -> Grid | None:
    """Give the grid of one image, its slice 1 mm thick; None where the header places it nowhere."""
    try:
        _require_geometry([plane])
    except UnusableCaseError:
        return None
    across, down = _unit_axes(plane)
    row_mm, column_mm = plane.pixel_spacing_mm or (0.0, 0.0)
    x, y, z = plane.image_position_mm or (0.0, 0.0, 0.0)
    return Grid(
        (1, plane.rows, plane.columns),
        (x, y, z),
        (
            _scaled(_normal_to_head(plane), plane.slice_thickness_mm or 1.0),
            _scaled(down, row_mm),
            _scaled(across, column_mm),
        ),
    )


def _require_pixels(instances: Sequence[InstanceFacts]) -> None:
    if not any(one.has_pixels for one in instances):
        raise UnusableCaseError("E_SERIES_EMPTY")
    if not all(one.has_pixels for one in instances):
        raise UnusableCaseError("E_NO_PIXEL_DATA")


def _refuse_localizers(instances: Sequence[InstanceFacts]) -> None:
    if any("LOCALIZER" in one.image_type.upper() for one in instances):
        raise UnusableCaseError("E_LOCALIZER")


def _require_geometry(instances: Sequence[InstanceFacts]) -> None:
    for one in instances:
        sound = (
            _finite(one.image_position_mm, 3)
            and _finite(one.image_orientation, 6)
            and _finite(one.pixel_spacing_mm, 2)
            and min(one.pixel_spacing_mm or (0.0,)) > 0
        )
        if not sound:
            raise UnusableCaseError("E_NO_GEOMETRY")
        across, down = np.array(one.image_orientation, dtype=np.float64).reshape(2, 3)
        errors = (across @ across - 1, down @ down - 1, across @ down)
        if max(abs(float(error)) for error in errors) > _MAX_COSINE_ERROR:
            raise UnusableCaseError("E_NO_GEOMETRY")


def _require_one_direction(instances: Sequence[InstanceFacts]) -> None:
    across, down = _unit_axes(instances[0])
    for one in instances[1:]:
        axes = _unit_axes(one)
        if max(np.linalg.norm(axes[0] - across), np.linalg.norm(axes[1] - down)) > _MAX_TURN:
            raise UnusableCaseError("E_LOCALIZER")


def _require_one_kind(instances: Sequence[InstanceFacts]) -> None:
    kinds = {
        (
            one.rows,
            one.columns,
            one.samples_per_pixel,
            one.photometric_interpretation,
            one.series_instance_uid,
            one.frame_of_reference_uid,
        )
        for one in instances
    }
    spacings = np.array([one.pixel_spacing_mm for one in instances])
    if len(kinds) > 1 or np.any(np.ptp(spacings, axis=0) > _SAME_SPACING_SHARE * spacings[0]):
        raise UnusableCaseError("E_SERIES_MIXED")


def _sorted_stack(instances: Sequence[InstanceFacts]) -> tuple[InstanceFacts, ...]:
    places = np.array([one.image_position_mm for one in instances], dtype=np.float64)
    normal = _normal_to_head(instances[0])
    along = places @ normal
    order = np.argsort(along, kind="stable")
    stack = tuple(instances[int(index)] for index in order)
    along, places = along[order], places[order]
    sideways = places - places[0] - np.outer(along - along[0], normal)
    _refuse_shared_places(stack, along, sideways)
    _refuse_tilt(stack[0], along, sideways)
    _require_even_gaps(stack, along)
    _require_one_phase(stack)
    return stack


def _refuse_shared_places(
    stack: tuple[InstanceFacts, ...], along: Positions, sideways: NDArray[np.float64]
) -> None:
    groups: list[list[int]] = []
    for index in range(len(stack)):
        shared = groups and (
            along[index] - along[groups[-1][0]] <= _SAME_PLACE_MM
            and np.linalg.norm(sideways[index] - sideways[groups[-1][0]]) <= _ROUNDING_MM
        )
        if shared:
            groups[-1].append(index)
        else:
            groups.append([index])
    sizes = Counter(len(group) for group in groups)
    if set(sizes) == {1}:
        return
    told_apart = any(len({stack[index].phase for index in group}) > 1 for group in groups)
    repeated_as_a_whole = len(sizes) == 1 and len(groups) >= MIN_SLICES
    several = told_apart or repeated_as_a_whole
    raise UnusableCaseError("E_MIXED_PHASES" if several else "E_DUPLICATE_POSITION")


def _refuse_tilt(first: InstanceFacts, along: Positions, sideways: NDArray[np.float64]) -> None:
    shift = float(np.linalg.norm(sideways, axis=1).max())
    half_a_pixel = _MAX_SHIFT_PIXELS * min(first.pixel_spacing_mm or (0.0,))
    bearable = min(half_a_pixel, _MAX_TILT * float(along[-1] - along[0]))
    if shift > max(bearable, _ROUNDING_MM):
        raise UnusableCaseError("E_GANTRY_TILT")


def _require_even_gaps(stack: tuple[InstanceFacts, ...], along: Positions) -> None:
    if not _is_even(along):
        if _phases_explain(stack, along):
            raise UnusableCaseError("E_MIXED_PHASES")
        lacks = _leaves_whole_slices_out(np.diff(along), stack[0].spacing_between_slices_mm)
        raise UnusableCaseError("E_MISSING_SLICE" if lacks else "E_IRREGULAR_SPACING")
    _compare_with_declared(stack, float(along[-1] - along[0]) / (len(stack) - 1))


def _is_even(along: Positions) -> bool:
    gaps = np.diff(along)
    gap = float(gaps.mean())
    places = along[0] + gap * np.arange(len(along))
    return bool(
        gap > _SAME_PLACE_MM
        and np.all(np.abs(gaps - gap) <= max(SAME_GAP_SHARE * gap, SAME_GAP_MM))
        and np.all(np.abs(along - places) <= _MAX_OFF_GRID_SHARE * gap)
    )


def _phases_explain(stack: tuple[InstanceFacts, ...], along: Positions) -> bool:
    """Say whether the slices fall apart into phases at the same height, each of them even."""
    places_of: dict[str, list[float]] = defaultdict(list)
    for one, place in zip(stack, along, strict=True):
        places_of[one.phase].append(float(place))
    phases = list(places_of.values())  # by their lowest slice
    return any(above[0] < below[-1] for below, above in pairwise(phases)) and all(
        len(places) >= MIN_SLICES and _is_even(np.array(places)) for places in phases
    )


def _leaves_whole_slices_out(gaps: Positions, declared_mm: float | None) -> bool:
    units = [abs(declared_mm)] if declared_mm else []
    return any(_are_multiples(gaps, unit) for unit in (*units, float(gaps.min())))


def _are_multiples(gaps: Positions, unit: float) -> bool:
    times = gaps / unit
    return bool(
        np.all(np.rint(times) >= 1)
        and np.all(np.abs(times - np.rint(times)) <= _MULTIPLE_SHARE)
        and np.any(np.rint(times) >= 2)
    )


def _compare_with_declared(stack: tuple[InstanceFacts, ...], gap: float) -> None:
    """Refuse even gaps that the header says are too wide."""
    declared = abs(stack[0].spacing_between_slices_mm or 0.0)
    thickness = stack[0].slice_thickness_mm or 0.0
    if declared and abs(gap - declared) <= _MULTIPLE_SHARE * declared:
        return
    # some scanners write the space that is left between slices instead
    fits = abs(gap - declared - thickness) <= SAME_GAP_SHARE * gap
    left = 0 < declared < thickness and fits
    if declared and not left and _are_multiples(np.array([gap]), declared):
        raise UnusableCaseError("E_MISSING_SLICE")
    if left or len(stack) > MIN_SLICES:
        return
    if not thickness:
        raise UnusableCaseError("E_NO_GEOMETRY")
    if gap > _MAX_GAP_PER_THICKNESS * thickness:
        raise UnusableCaseError("E_MISSING_SLICE")


def _require_one_phase(stack: tuple[InstanceFacts, ...]) -> None:
    phases = {
        tuple(word for word in one.phase.split(";") if word.startswith(_ONE_IN_A_VOLUME))
        for one in stack
    }
    if len(phases) > 1:
        raise UnusableCaseError("E_MIXED_PHASES")


def _unit_axes(one: InstanceFacts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions in which columns and rows are counted, at right angles and of length 1."""
    across, down = np.array(one.image_orientation, dtype=np.float64).reshape(2, 3)
    across = across / np.linalg.norm(across)
    down = down - (down @ across) * across
    return across, down / np.linalg.norm(down)


def _normal_to_head(one: InstanceFacts) -> NDArray[np.float64]:
    """The normal that runs to the head; of upright slices to the left or to the back."""
    normal = np.cross(*_unit_axes(one))
    return normal if normal[int(np.argmax(np.abs(normal)))] > 0 else -normal


def _finite(values: tuple[float, ...] | None, length: int) -> bool:
    return values is not None and len(values) == length and bool(np.all(np.isfinite(values)))


def _scaled(unit: NDArray[np.float64], length: float) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in unit * length)
    return (x, y, z)
