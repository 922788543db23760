"""Random changes to a whole batch at once, the same for an image and its mask.

Flips and shifts alone move whole pixels and are exact. With rotation or scale, all geometry is one
interpolation: linear for images, nearest for masks, so that what is not annotated stays so. What
comes in from outside repeats the image's border, and is background in masks. Volumes are rotated
within their slices only, since the distance between slices is seldom that between pixels.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from fedward_common.job.job_file import AugmentationSection

_AXIS_FROM_LAST = {"left-right": 1, "up-down": 2, "front-back": 3}


@torch.no_grad()
def augment(
    images: Tensor, masks: Tensor | None, section: AugmentationSection, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Change each image of a batch at random, and its mask with it.

    A flip has probability 1/2 along each of its axes; shift, angle, scale and intensity are
    uniform up to their bound, in both directions.

    Args:
        images: Float, shape (n, channels, *spatial), two or three spatial axes.
        masks: Class ids, shape (n, *spatial), or None.
        section: The job's augmentation.
        generator: On the same device as the images.

    Returns:
        Images and masks of the same shapes and dtypes; the inputs themselves where nothing is on.
    """
    if section.rotate_degrees or section.scale:
        images, masks = _resample(images, masks, section, generator)
    elif section.flip or section.shift:
        images, masks = _move_pixels(images, masks, section, generator)
    if section.intensity:
        factors = 1 + section.intensity * _symmetric((images.shape[0],), generator)
        images = images * factors.view(-1, *[1] * (images.ndim - 1)).to(images.dtype)
    if section.noise:
        noise = torch.empty_like(images).normal_(0, section.noise, generator=generator)
        images = images + noise
    return images, masks


def _symmetric(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in [-1, 1)."""
    return 2 * torch.rand(shape, generator=generator, device=generator.device) - 1


def _flip_signs(
    num_images: int, num_axes: int, section: AugmentationSection, generator: torch.Generator
) -> Tensor:
    """Give -1 where an image is flipped along an axis and 1 where not, shape (n, num_axes)."""
    signs = torch.ones(num_images, num_axes, device=generator.device)
    for name in section.flip:
        heads = torch.rand(num_images, generator=generator, device=generator.device) < 0.5
        signs[heads, num_axes - _AXIS_FROM_LAST[name]] = -1
    return signs


def _move_pixels(
    images: Tensor, masks: Tensor | None, section: AugmentationSection, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Flip and shift by whole pixels, as one gather."""
    num_images, channels, *spatial = images.shape
    flipped = _flip_signs(num_images, len(spatial), section, generator) < 0
    index = torch.zeros(num_images, *[1] * len(spatial), dtype=torch.long, device=images.device)
    inside = torch.ones_like(index, dtype=torch.bool)
    for axis, length in enumerate(spatial):
        bound = round(section.shift * length)
        shift = torch.randint(
            -bound, bound + 1, (num_images, 1), generator=generator, device=images.device
        )
        source = torch.arange(length, device=images.device) - shift
        source = torch.where(flipped[:, axis, None], length - 1 - source, source)
        along_axis = [num_images, *[1] * axis, length, *[1] * (len(spatial) - axis - 1)]
        inside = inside & ((source >= 0) & (source < length)).view(along_axis)
        index = index * length + source.clamp(0, length - 1).view(along_axis)
    flat = index.flatten(1)
    moved = images.flatten(2).gather(2, flat[:, None].expand(-1, channels, -1))
    if masks is not None:
        masks = masks.flatten(1).gather(1, flat).view_as(masks) * inside
    return moved.view_as(images), masks


def _resample(
    images: Tensor, masks: Tensor | None, section: AugmentationSection, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Flip, shift, rotate and scale in one interpolation."""
    maps = _affine_maps(images.shape[0], tuple(images.shape[2:]), section, generator)
    grid = functional.affine_grid(maps.to(images.dtype), list(images.shape), align_corners=False)
    moved = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    if masks is None:
        return moved, None
    as_images = masks[:, None].to(images.dtype)
    moved_masks = functional.grid_sample(
        as_images, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved, moved_masks[:, 0].round().to(masks.dtype)


def _affine_maps(
    num_images: int,
    spatial: tuple[int, ...],
    section: AugmentationSection,
    generator: torch.Generator,
) -> Tensor:
    """Give maps from output to input, shape (n, dims, dims + 1).

    In torch's coordinates: -1 to 1 along each side, the last axis first. A rotation is one in
    pixels, so it keeps shapes where sides differ.
    """
    dims = len(spatial)
    radians = math.radians(section.rotate_degrees) * _symmetric((num_images,), generator)
    factors = 1 + section.scale * _symmetric((num_images,), generator)
    sides = torch.tensor(spatial[::-1], dtype=torch.float32, device=generator.device)
    linear = torch.eye(dims, device=generator.device).repeat(num_images, 1, 1)
    cosine, sine = radians.cos(), radians.sin()
    linear[:, 0, 0] = linear[:, 1, 1] = cosine
    linear[:, 0, 1], linear[:, 1, 0] = -sine, sine
    linear = linear * (sides[None, :] / sides[:, None]) / factors[:, None, None]
    signs = _flip_signs(num_images, dims, section, generator).flip(1)
    shifts = 2 * section.shift * _symmetric((num_images, dims), generator)
    return torch.cat([linear * signs[:, :, None], shifts[:, :, None]], dim=2)
