"""A series, or one multi-frame file, decoded to a volume.

The order of slices and their grid are those of `series_layout.py`; each slice has its own modality
transform applied, and none is windowed. The volume is turned to LPS like the volumes of
`cohorts/volume_source.py`: slices run from feet to head, rows from front to back, columns from the
patient's right to left. One slice is decoded at a time, so that memory holds the volume, a turned
copy of it at the end, and one slice. A slice of padding alone gets the smallest value of the rest
of the volume.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.dicom.bounded_reading import read_instance
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.native_stack import NativeStack
from fedward_client.dicom.pixel_decoding import slice_values
from fedward_client.dicom.resampling import resampled_volume
from fedward_client.dicom.series_layout import SeriesLayout, layout_of
from fedward_client.dicom.volume_grid import turned_to_lps


def decode_series(paths: Sequence[str], spacing_mm: Sequence[float] | None = None) -> Decoded:
    """Decode one series.

    Args:
        paths: Its files in any order.
        spacing_mm: Resample linearly to this spacing of slices, rows and columns.

    Returns:
        Shape (slices, rows, columns), colour with (3,) after it; whole numbers where all are whole
        (int16 where they fit), else float32. Facts: `spacing_mm` (slices, rows, columns),
        `origin_mm` (x, y, z of the first voxel), `direction` (9 cosines, as SimpleITK has them).

    Raises:
        UnusableCaseError: As `layout_of` or `image_values`; `E_IMAGE_TOO_LARGE`.
    """
    layout = layout_of(paths)
    stack = NativeStack(len(layout.slices))
    padded = []
    for index, (values, is_padding) in enumerate(_slices_of(layout)):
        stack.put(index, values)
        if is_padding:
            padded.append(index)
    if padded:
        _fill_slices(stack.array, padded)
    volume, grid = turned_to_lps(stack.array, layout.grid)
    if spacing_mm is not None:
        volume, grid = resampled_volume(volume, grid, spacing_mm)
    return Decoded(np.ascontiguousarray(volume), grid.facts(), layout.instances)


def _fill_slices(volume: NDArray[Any], padded: Sequence[int]) -> None:
    """Give slices of padding alone the smallest value of the others, if there are any."""
    real = [one.min() for index, one in enumerate(volume) if index not in padded]
    if real:
        volume[list(padded)] = min(real)


def _slices_of(layout: SeriesLayout) -> Iterator[tuple[NDArray[Any], bool]]:
    if layout.frames is None:
        for one in layout.slices:
            yield slice_values(read_instance(Path(one.locator)))
        return
    dataset = read_instance(Path(layout.slices[0].locator))
    for frame in layout.frames:
        yield slice_values(dataset, frame)
