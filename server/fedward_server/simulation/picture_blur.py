"""A Gaussian blur within each picture of a stack."""

import math

import numpy as np

from fedward_server.simulation.phantom_anatomy import FloatArray


def blurred(images: FloatArray, sigma: float) -> FloatArray:
    """Blur by `sigma` pixels, shape (n, rows, columns); the border pixel goes on beyond it."""
    reach = max(1, math.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (1, 2):
        width = [(0, 0), (0, 0), (0, 0)]
        width[axis] = (reach, reach)
        padded, size = np.pad(images, width, mode="edge"), images.shape[axis]
        shifted = (padded.take(range(i, i + size), axis=axis) for i in range(len(weights)))
        images = sum(
            (w * image for w, image in zip(weights, shifted, strict=True)), np.zeros_like(images)
        )
    return images
