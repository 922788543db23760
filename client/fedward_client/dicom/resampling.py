"""Volumes and masks brought to another voxel spacing with SimpleITK.

Direction and centre of the field of view stay; what is asked for is the spacing. Volumes are
interpolated linearly, without smoothing first; of a mask the nearest voxel is taken, so that no
value appears that it did not have.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.pixel_arrays import MAX_VALUES
from fedward_client.cohorts.source import E_IMAGE_SHAPE, E_IMAGE_TOO_LARGE, UnusableCaseError
from fedward_client.dicom.volume_grid import Grid, grid_of

_MIN_SPACING_MM = 1e-3
_MAX_SPACING_MM = 1e3


def resampled_volume(
    volume: NDArray[Any], grid: Grid, spacing_mm: Sequence[float]
) -> tuple[NDArray[np.float32], Grid]:
    """Interpolate a volume linearly, values float32.

    Args:
        volume: Shape (slices, rows, columns).
        grid: Of `volume`.
        spacing_mm: Wanted, between slices, rows, columns.

    Returns:
        The new volume and its grid.

    Raises:
        UnusableCaseError: `E_IMAGE_SHAPE` for colour or a spacing that cannot be;
            `E_IMAGE_TOO_LARGE`.
    """
    return _resampled(volume.astype(np.float32, copy=False), grid, spacing_mm, linear=True)


def resampled_mask(
    mask: NDArray[Any], grid: Grid, spacing_mm: Sequence[float]
) -> tuple[NDArray[Any], Grid]:
    """Take the nearest value of a mask; arguments, grid and errors as `resampled_volume`."""
    return _resampled(mask, grid, spacing_mm, linear=False)


def _resampled(
    array: NDArray[Any], grid: Grid, spacing_mm: Sequence[float], *, linear: bool
) -> tuple[NDArray[Any], Grid]:
    wanted = _grid_with_spacing(grid, spacing_mm)
    if array.shape != grid.shape:
        raise UnusableCaseError(E_IMAGE_SHAPE)
    return brought_onto(wanted, array, grid, linear=linear), wanted


def brought_onto(
    wanted: Grid, array: NDArray[Any], grid: Grid, *, linear: bool = True
) -> NDArray[Any]:
    """Take an array's values at the voxel centres of another grid; edges keep theirs beyond.

    Args:
        wanted: The other grid.
        array: Shape (slices, rows, columns).
        grid: Of `array`.
        linear: Interpolate; else the nearest voxel is taken.

    Returns:
        Of the shape of `wanted` and the type of `array`.
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetSize(wanted.shape[::-1])
    resampler.SetOutputSpacing(wanted.spacing_mm[::-1])
    resampler.SetOutputOrigin(wanted.origin_mm)
    resampler.SetOutputDirection(wanted.direction)
    resampler.SetInterpolator(SimpleITK.sitkLinear if linear else SimpleITK.sitkNearestNeighbor)
    # half a voxel beyond the outermost centres still is the image's
    resampler.SetUseNearestNeighborExtrapolator(True)
    return np.asarray(SimpleITK.GetArrayFromImage(resampler.Execute(image)))


def _grid_with_spacing(grid: Grid, spacing_mm: Sequence[float]) -> Grid:
    wanted = np.asarray(spacing_mm, dtype=np.float64)
    sound = wanted.shape == (3,) and np.all(
        (wanted >= _MIN_SPACING_MM) & (wanted < _MAX_SPACING_MM)
    )
    if not sound:
        raise UnusableCaseError(E_IMAGE_SHAPE)
    present = np.asarray(grid.spacing_mm)
    lengths = np.asarray(grid.shape) * present
    shape = np.maximum(1, np.rint(lengths / wanted))
    if float(np.prod(shape)) > MAX_VALUES:
        raise UnusableCaseError(E_IMAGE_TOO_LARGE)
    units = np.array(grid.steps_mm) / present[:, np.newaxis]
    # from the old first centre to the new one, along each axis: the middles stay together
    inward = ((np.asarray(grid.shape) - 1) * present - (shape - 1) * wanted) / 2
    origin = np.asarray(grid.origin_mm) + inward @ units
    slices, rows, columns = (int(length) for length in shape)
    return grid_of((slices, rows, columns), wanted, origin, units[::-1].T.ravel())
