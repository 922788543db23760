"""A mask on a series' own images: one plane for each image or frame, as they are stored."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.pixel_arrays import channels_first
from fedward_client.cohorts.source import E_MASK_GEOMETRY, UnusableCaseError
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.resampling import brought_onto
from fedward_client.dicom.series_layout import layout_of
from fedward_client.dicom.volume_grid import Grid, grid_of, part_of_grid
from fedward_client.prediction.network_answer import (
    Classification,
    called_classes,
    class_probabilities,
    segment,
)
from fedward_client.prediction.source_series import SourceSeries
from fedward_client.prediction.trained_model import TrainedModel

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage
    from fedward_client.dicom.decode_pool import DecodePool

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class PlacedMask:
    """Class ids on the planes of some images.

    Args:
        planes: Shape (planes, rows, columns).
        images: The image of each plane; one file alone where its frames are the planes, in order.
        voxel_mm3: Of the volume that the planes make; None where they make none.
        no_volume_code: Why they make none.
    """

    planes: NDArray[np.uint8] = field(repr=False)
    images: tuple[InstanceFacts, ...] = field(repr=False)
    voxel_mm3: float | None = None
    no_volume_code: str = ""


def segment_series(
    model: TrainedModel, series: SourceSeries, pool: "DecodePool", spacing_mm: Spacing | None
) -> PlacedMask:
    """Segment a series: a 3-D model its volume, a 2-D model each image for itself.

    Args:
        model: Of a segmentation.
        series: What to segment.
        pool: Decodes.
        spacing_mm: What the volumes were resampled to in training, if they were.

    Raises:
        UnusableCaseError: The series is no volume, or an image cannot be used.
    """
    if model.job.data.spatial_dims == 3:
        return _segment_volume(model, series, pool, spacing_mm)
    images = _require_planes_of_one_file(series.images)
    masks = [segment(model, image) for image in _images_of(images, pool)]
    if len({mask.shape for mask in masks}) != 1:
        raise UnusableCaseError("E_SERIES_MIXED")
    return _with_voxels_of_a_volume(PlacedMask(np.stack(masks), images))


def classify_series(
    model: TrainedModel, series: SourceSeries, pool: "DecodePool", spacing_mm: Spacing | None
) -> Classification:
    """Classify a series: a 3-D model its volume, a 2-D model the mean of its images."""
    if model.job.data.spatial_dims == 3:
        volume, _ = _volume_of(series, pool, spacing_mm)
        return called_classes(model, [class_probabilities(model, volume)])
    images = _images_of(series.images, pool)
    return called_classes(model, [class_probabilities(model, image) for image in images])


def _with_voxels_of_a_volume(mask: PlacedMask) -> PlacedMask:
    """Single images have a volume only where the checks of volumes find one."""
    try:
        layout = layout_of([one.locator for one in mask.images])
    except UnusableCaseError as error:
        return dataclasses.replace(mask, no_volume_code=error.code)
    return dataclasses.replace(mask, voxel_mm3=math.prod(layout.grid.spacing_mm))


def _require_planes_of_one_file(images: tuple[InstanceFacts, ...]) -> tuple[InstanceFacts, ...]:
    """Frames of one file, or files of one frame: a mask refers to either."""
    if len(images) > 1 and any(one.number_of_frames != 1 for one in images):
        raise UnusableCaseError("E_SERIES_MIXED")
    return images


def _images_of(images: tuple[InstanceFacts, ...], pool: "DecodePool") -> "Iterator[FloatImage]":
    """Decode every frame of every file, in order."""
    orders = [
        ("image", {"path": one.locator, "frame": frame if one.number_of_frames > 1 else None})
        for one in images
        for frame in range(max(1, one.number_of_frames))
    ]
    for answer in pool.map(orders):
        if isinstance(answer, UnusableCaseError):
            raise answer
        yield channels_first(answer.array, 2)


def _volume_of(
    series: SourceSeries, pool: "DecodePool", spacing_mm: Spacing | None
) -> tuple["FloatImage", Grid]:
    """Decode a volume as training saw it; give it with its grid."""
    arguments: dict[str, Any] = {"paths": [str(path) for path in series.paths]}
    if spacing_mm is not None:
        arguments["spacing_mm"] = list(spacing_mm)
    decoded = pool.run("series", **arguments)
    image = channels_first(decoded.array, 3)
    shape = (image.shape[1], image.shape[2], image.shape[3])
    facts = decoded.facts
    return image, grid_of(shape, facts["spacing_mm"], facts["origin_mm"], facts["direction"])


def _segment_volume(
    model: TrainedModel, series: SourceSeries, pool: "DecodePool", spacing_mm: Spacing | None
) -> PlacedMask:
    layout = layout_of([str(path) for path in series.paths])
    image, grid = _volume_of(series, pool, spacing_mm)
    if spacing_mm is None:
        mask, mask_grid = segment(model, image), grid
    else:
        mask_grid = layout.grid
        mask = segment(model, image, lambda share: brought_onto(mask_grid, share, grid))
    _, planes = part_of_grid(layout.grid, mask, mask_grid)
    if planes.shape != layout.grid.shape:
        raise UnusableCaseError(E_MASK_GEOMETRY)
    voxel_mm3 = math.prod(layout.grid.spacing_mm)
    if layout.frames is None:
        return PlacedMask(np.ascontiguousarray(planes), layout.slices, voxel_mm3)
    in_file = np.empty_like(planes)
    in_file[list(layout.frames)] = planes
    return PlacedMask(in_file, layout.slices[:1], voxel_mm3)
