"""From a source's pixels to what the model sees; pure, the same at every site.

Constants come from the job or from the image itself, never from a site's statistics. Order:
channels, intensity, size; so padding has the value of the darkest normalised pixel.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedward_client.cohorts.source import E_IMAGE_SHAPE, UnusableCaseError
from fedward_common.job.job_file import DataSection

if TYPE_CHECKING:
    from fedward_client.cohorts.source import FloatImage

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_BLOCK_VALUES = 1 << 20


def prepare_image(image: "FloatImage", data: DataSection) -> "FloatImage":
    """Do all of it: shape (1 or 3, *spatial) in, (data.channels, *data.image_size) out."""
    return fit_image(normalise(match_channels(image, data.channels), data), data)


def match_channels(image: "FloatImage", channels: int) -> "FloatImage":
    """Bring an image to the job's channels: luminance of colour, or grey three times.

    Raises:
        UnusableCaseError: `E_IMAGE_SHAPE`: neither the image nor the job has 1 or 3 channels.
    """
    if image.shape[0] == channels:
        return image
    if (image.shape[0], channels) == (3, 1):
        grey = np.tensordot(_LUMINANCE, image, axes=1)
        return np.asarray(grey[np.newaxis], dtype=np.float32)
    if (image.shape[0], channels) == (1, 3):
        return np.repeat(image, 3, axis=0)
    raise UnusableCaseError(E_IMAGE_SHAPE)


def normalise(image: "FloatImage", data: DataSection) -> "FloatImage":
    """Map intensities as `data` says; the shape stays.

    `"window"`: clipped to the window, 0..1, minus `mean`, over `std`. `"per-image"`: mean 0 and
    standard deviation 1 over all pixels and channels together, so colour stays colour; an image of
    one value becomes zeros.
    """
    pixels = np.ascontiguousarray(image).reshape(-1)
    result = np.zeros(pixels.shape, dtype=np.float32)
    if data.intensity == "window":
        low, high = data.window
        for where, scaled in _scaled_blocks(pixels, low, high):
            result[where] = (np.clip(scaled, 0.0, 1.0) - data.mean) / data.std
        return result.reshape(image.shape)
    lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest != highest:
        # shifted and scaled first: a tiny spread on a large value keeps its digits
        total = sum(float(block.sum()) for _, block in _scaled_blocks(pixels, lowest, highest))
        mean = total / pixels.size
        squares = (np.square(b - mean).sum() for _, b in _scaled_blocks(pixels, lowest, highest))
        deviation = math.sqrt(sum(map(float, squares)) / pixels.size)
        for where, scaled in _scaled_blocks(pixels, lowest, highest):
            result[where] = (scaled - mean) / deviation
    return result.reshape(image.shape)


def _scaled_blocks(
    pixels: NDArray[Any], low: float, high: float
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Map low..high to 0..1 in float64, block by block: a whole image would take gigabytes."""
    for begin in range(0, pixels.size, _BLOCK_VALUES):
        where = slice(begin, begin + _BLOCK_VALUES)
        yield where, (pixels[where].astype(np.float64) - low) / (high - low)


def fit_image(image: "FloatImage", data: DataSection) -> "FloatImage":
    """Bring an image to the job's size.

    `"resize"` interpolates linearly, edges aligned; `"crop-or-pad"` keeps the centre and pads with
    the image's minimum.

    Args:
        image: Shape (channels, *spatial).
        data: The job's data section.

    Returns:
        Shape (channels, *data.image_size), contiguous; untouched where the size fits already.
    """
    if data.fit == "crop-or-pad":
        fitted = _crop_or_pad(image, data.image_size, image.min())
    else:
        fitted = np.stack([_resize(channel, data.image_size, linear=True) for channel in image])
    return np.ascontiguousarray(fitted, dtype=np.float32)


def fit_mask(mask: NDArray[np.uint8], data: DataSection) -> NDArray[np.uint8]:
    """Bring a mask to the job's size: nearest neighbour, or crop and pad with 0.

    Args:
        mask: Class ids, shape (*spatial).
        data: The job's data section.

    Returns:
        Shape (*data.image_size); no value that `mask` (or the padding) does not have.
    """
    if data.fit == "crop-or-pad":
        fitted = _crop_or_pad(mask, data.image_size, 0)
    else:
        fitted = _resize(mask, data.image_size, linear=False)
    return np.ascontiguousarray(fitted, dtype=np.uint8)


def undo_fit(
    fitted: NDArray[np.float32], size: Sequence[int], data: DataSection, padding: float
) -> NDArray[np.float32]:
    """Bring one channel of a model's answer back to the size its image had before `fit_image`.

    Args:
        fitted: Shape (*data.image_size).
        size: Of the image, before.
        data: The job's data section.
        padding: What stands where the image was cropped away.

    Returns:
        Shape (*size), interpolated linearly, or padded and cropped.
    """
    if data.fit == "crop-or-pad":
        return np.asarray(_crop_or_pad(fitted, size, padding), dtype=np.float32)
    return np.asarray(_resize(fitted, size, linear=True), dtype=np.float32)


def _resize(array: NDArray[Any], size: Sequence[int], *, linear: bool) -> NDArray[Any]:
    """Resample one channel so that its outer edges, not its outer centres, stay where they are."""
    import SimpleITK

    if array.shape == tuple(size):
        return array
    steps = [old / new for old, new in zip(array.shape, size, strict=True)]
    resample = SimpleITK.ResampleImageFilter()
    resample.SetSize([int(n) for n in reversed(size)])
    resample.SetOutputSpacing(list(reversed(steps)))
    resample.SetOutputOrigin([(step - 1) / 2 for step in reversed(steps)])
    resample.SetInterpolator(SimpleITK.sitkLinear if linear else SimpleITK.sitkNearestNeighbor)
    resample.SetUseNearestNeighborExtrapolator(True)
    resample.SetOutputDirection([float(v) for v in np.eye(array.ndim).ravel()])
    resized = resample.Execute(SimpleITK.GetImageFromArray(np.ascontiguousarray(array)))
    return np.asarray(SimpleITK.GetArrayFromImage(resized))


def _crop_or_pad(array: NDArray[Any], size: Sequence[int], padding: Any) -> NDArray[Any]:
    """Crop or pad the last axes; an odd remainder goes to the end."""
    result = np.full((*array.shape[: array.ndim - len(size)], *size), padding, dtype=array.dtype)
    source: tuple[slice, ...] = (slice(None),) * (array.ndim - len(size))
    target = source
    for old, new in zip(array.shape[-len(size) :], size, strict=True):
        kept = min(old, new)
        source += (slice((old - kept) // 2, (old - kept) // 2 + kept),)
        target += (slice((new - kept) // 2, (new - kept) // 2 + kept),)
    result[target] = array[source]
    return result
