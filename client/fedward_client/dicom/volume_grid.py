"""Where the voxels of an array lie in the patient, and how arrays are brought onto one grid.

Arrays have the axes (slices, rows, columns); positions are those of DICOM (LPS): x grows to the
patient's left, y to the back, z to the head, in mm. Nothing here interpolates: an array either lies
on a grid, voxel on voxel, perhaps turned and mirrored, or it is refused.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import E_MASK_GEOMETRY, UnusableCaseError

Triple = tuple[float, float, float]

# In voxels, at every corner: rounded headers stay far below, half a voxel would be a guess.
MAX_OFF_GRID_VOXELS = 0.25
_FAR_AWAY = 1e6


@dataclass(frozen=True)
class Grid:
    """The voxel centres of one array.

    Args:
        shape: (slices, rows, columns).
        origin_mm: Centre of voxel [0, 0, 0].
        steps_mm: From a voxel to the next slice, the next row, the next column.
    """

    shape: tuple[int, int, int]
    origin_mm: Triple
    steps_mm: tuple[Triple, Triple, Triple]

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """Matrix (4, 4) from (slice, row, column, 1) to (x, y, z, 1)."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(self.steps_mm).T
        matrix[:3, 3] = self.origin_mm
        return matrix

    @property
    def spacing_mm(self) -> Triple:
        """Between slices, rows, columns."""
        lengths = np.linalg.norm(np.array(self.steps_mm), axis=1)
        return (float(lengths[0]), float(lengths[1]), float(lengths[2]))

    @property
    def direction(self) -> tuple[float, ...]:
        """9 cosines as SimpleITK has them: columns of the matrix are column, row, slice axis."""
        units = np.array(self.steps_mm) / np.array(self.spacing_mm)[:, np.newaxis]
        return tuple(float(value) for value in units[::-1].T.ravel())

    def facts(self) -> dict[str, list[float]]:
        """Give spacing, origin and direction as JSON values."""
        return {
            "spacing_mm": list(self.spacing_mm),
            "origin_mm": list(self.origin_mm),
            "direction": list(self.direction),
        }


def grid_of(
    shape: tuple[int, int, int],
    spacing_mm: Any,
    origin_mm: Any,
    direction: Any,
) -> Grid:
    """Make a grid of spacing (slices, rows, columns), origin (x, y, z) and 9 cosines."""
    units = np.asarray(direction, dtype=np.float64).reshape(3, 3).T[::-1]
    steps = units * np.asarray(spacing_mm, dtype=np.float64)[:, np.newaxis]
    return Grid(
        shape, _triple(origin_mm), (_triple(steps[0]), _triple(steps[1]), _triple(steps[2]))
    )


def turned_to_lps(array: NDArray[Any], grid: Grid) -> tuple[NDArray[Any], Grid]:
    """Turn and mirror so that slices run to the head, rows to the back, columns to the left.

    The axis nearest to each direction is found as SimpleITK's `DICOMOrient` does, so that files
    read through it (`cohorts/volume_source.py`) agree.

    Args:
        array: Shape (slices, rows, columns), or with channels last.
        grid: Of `array`.

    Returns:
        A view, and its grid.
    """
    letters = _letters(grid)
    order, signs = [], []
    for pair in ("SI", "PA", "LR"):
        axis = next(index for index, letter in enumerate(letters) if letter in pair)
        order.append(axis)
        signs.append(1 if letters[axis] == pair[0] else -1)
    steps = [np.array(grid.steps_mm[axis]) * sign for axis, sign in zip(order, signs, strict=True)]
    origin = np.array(grid.origin_mm)
    for axis, sign in zip(order, signs, strict=True):
        if sign < 0:
            origin = origin + np.array(grid.steps_mm[axis]) * (grid.shape[axis] - 1)
    turned = array.transpose(*order, *range(3, array.ndim))
    turned = turned[tuple(slice(None, None, sign) for sign in signs)]
    return turned, Grid(
        (turned.shape[0], turned.shape[1], turned.shape[2]),
        _triple(origin),
        (_triple(steps[0]), _triple(steps[1]), _triple(steps[2])),
    )


def _letters(grid: Grid) -> str:
    """Letter of the side that each axis (slices, rows, columns) runs to."""
    import SimpleITK

    name: str = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(grid.direction)
    return name[::-1]


def part_of_grid(
    grid: Grid, array: NDArray[Any], lies_at: Grid
) -> tuple[tuple[slice, slice, slice], NDArray[Any]]:
    """Find which voxels of a grid an array stands for.

    Args:
        grid: Of the image.
        array: Shape (slices, rows, columns).
        lies_at: Grid of `array`; along an axis of one voxel only its position counts.

    Returns:
        The part of the grid as slices, and the array turned to fit them (a view).

    Raises:
        UnusableCaseError: `E_MASK_GEOMETRY`: it leaves the grid or lies between its voxels.
    """
    to_index = np.linalg.inv(grid.affine) @ lies_at.affine
    if not np.all(np.abs(to_index) < _FAR_AWAY):  # neither is NaN
        raise UnusableCaseError(E_MASK_GEOMETRY)
    axes, signs = _matching_axes(to_index[:3, :3], lies_at.shape)
    first = np.rint(to_index[:3, 3]).astype(int)
    parts: list[slice] = [slice(0)] * 3
    for axis, (target, sign) in enumerate(zip(axes, signs, strict=True)):
        last = first[target] + sign * (lies_at.shape[axis] - 1)
        low, high = min(first[target], last), max(first[target], last)
        if low < 0 or high >= grid.shape[target]:
            raise UnusableCaseError(E_MASK_GEOMETRY)
        parts[target] = slice(int(low), int(high) + 1)
    _require_on_voxels(to_index, lies_at.shape, axes, signs, first)
    mirrored = array[tuple(slice(None, None, sign) for sign in signs)]
    return (parts[0], parts[1], parts[2]), mirrored.transpose(np.argsort(axes))


def _matching_axes(
    linear: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[list[int], list[int]]:
    """Axis of the grid that each axis runs along, and in which sense."""
    longest_first = sorted(range(3), key=lambda axis: shape[axis] == 1)
    axes, signs = [0, 0, 0], [1, 1, 1]
    free = [0, 1, 2]
    for axis in longest_first:
        target = max(free, key=lambda candidate: abs(linear[candidate, axis]))
        free.remove(target)
        axes[axis] = target
        signs[axis] = 1 if linear[target, axis] >= 0 or shape[axis] == 1 else -1
    return axes, signs


def _require_on_voxels(
    to_index: NDArray[np.float64],
    shape: tuple[int, ...],
    axes: list[int],
    signs: list[int],
    first: NDArray[Any],
) -> None:
    """Compare the eight corners with the voxels they are taken for."""
    corners = np.array(np.meshgrid(*[(0, length - 1) for length in shape], indexing="ij"))
    corners = corners.reshape(3, -1)
    found = to_index[:3, :3] @ corners + to_index[:3, 3:]
    wanted = np.repeat(first[:, np.newaxis].astype(np.float64), corners.shape[1], axis=1)
    for axis, (target, sign) in enumerate(zip(axes, signs, strict=True)):
        wanted[target] += sign * corners[axis]
    if not np.all(np.abs(found - wanted) <= MAX_OFF_GRID_VOXELS):
        raise UnusableCaseError(E_MASK_GEOMETRY)


def _triple(values: Any) -> Triple:
    return (float(values[0]), float(values[1]), float(values[2]))
