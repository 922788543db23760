"""NIfTI, MetaImage and NRRD masks brought onto the grid of DICOM images.

Such a file says itself where it lies; it must be the very grid of the images, voxel on voxel,
perhaps turned or mirrored. One that says nothing (spacing 1, origin 0) is refused like any other
that lies elsewhere: which of its slices is which would be a guess.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.pixel_arrays import whole_numbers
from fedward_client.cohorts.source import (
    E_IMAGE_SHAPE,
    E_MASK_GEOMETRY,
    E_MASK_SHAPE,
    E_MASK_UNREADABLE,
    UnusableCaseError,
)
from fedward_client.cohorts.volume_source import open_volume
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.mask_target import MaskTarget, finished_mask, narrowed_mask, target_of
from fedward_client.dicom.volume_grid import Grid, grid_of, part_of_grid


def decode_volume_mask(
    mask: str,
    paths: Sequence[str],
    frame: int | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> Decoded:
    """Bring a mask file onto its series or image.

    Args:
        mask: The file; one that holds its pixels apart has them in the same folder.
        paths: Files of the series in any order, or of the one image.
        frame: As `target_of`.
        spacing_mm: Resample the mask as its volume was; not for single images.

    Returns:
        The mask with its own values, uint8 where they fit, shape and facts as those of its image.

    Raises:
        UnusableCaseError: `E_MASK_UNREADABLE`, `E_MASK_SHAPE`, `E_MASK_GEOMETRY`,
            `E_MASK_VALUE`, or what is wrong with the images.
    """
    target = target_of(paths, frame)
    values, lies_at = _read(Path(mask))
    placed = _flat(values, target) if lies_at is None else _in_space(values, lies_at, target)
    return finished_mask(narrowed_mask(placed), target, spacing_mm)


def _read(path: Path) -> tuple[NDArray[Any], Grid | None]:
    """Give whole numbers, shape (slices, rows, columns), and where they lie; None for 2-D files."""
    import SimpleITK

    try:
        resolved = path.resolve()
        reader = open_volume(resolved, resolved.parent, E_MASK_UNREADABLE)
        image = reader.Execute()
        array = np.asarray(SimpleITK.GetArrayFromImage(image))
    except (OSError, RuntimeError, ValueError):
        raise UnusableCaseError(E_MASK_UNREADABLE) from None
    except UnusableCaseError as error:
        code = E_MASK_SHAPE if error.code == E_IMAGE_SHAPE else error.code
        raise UnusableCaseError(code) from None
    values = whole_numbers(array, int(image.GetDimension()))
    if values.ndim == 2:
        return values[np.newaxis], None
    shape = (values.shape[0], values.shape[1], values.shape[2])
    return values, grid_of(shape, image.GetSpacing()[::-1], image.GetOrigin(), image.GetDirection())


def _flat(values: NDArray[Any], target: MaskTarget) -> NDArray[Any]:
    """A 2-D file has no place in the patient: it is taken as it lies, for a single image alone."""
    if target.is_volume or values.shape != target.shape:
        raise UnusableCaseError(E_MASK_SHAPE)
    return values


def _in_space(values: NDArray[Any], lies_at: Grid, target: MaskTarget) -> NDArray[Any]:
    if sorted(values.shape) != sorted(target.shape):
        raise UnusableCaseError(E_MASK_SHAPE)
    if target.grid is None:
        raise UnusableCaseError(E_MASK_GEOMETRY)
    _, turned = part_of_grid(target.grid, values, lies_at)
    if turned.shape != target.shape:
        raise UnusableCaseError(E_MASK_GEOMETRY)
    return turned
