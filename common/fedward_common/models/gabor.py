"""Fixed oriented filters and one trainable linear layer, for private training of few parameters.

Noise is added to every parameter, so a network whose features need no training keeps more of them
at a small epsilon. The filters follow from the options alone: they are no parameters and no
buffers, so they neither travel nor get noise. An image's brightness and contrast leave no trace.

Source: Tramer and Boneh 2021, arXiv:2011.11660 (fixed features under differential privacy); first
order scattering, Bruna and Mallat 2013, arXiv:1203.1513.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedward_common.models.model_options import GaborOptions, gabor_radius, gabor_sigma

_FREQUENCY = 3 * math.pi / 4  # of the finest filters, in radians a pixel
_SMALLEST_SQUARE = 1e-12  # keeps the slope of the modulus finite where nothing answers
_SMALLEST_VARIANCE = 0.01  # of a map: what barely varies over an image is not blown up


def morlet(scale: int, angle: float, slant: float) -> NDArray[np.complex128]:
    """Give one Morlet filter, a complex wave under a Gaussian, of mean 0.

    Args:
        scale: 0 for the finest; each further one is twice as large and half as frequent.
        angle: Of the wave, in radians.
        slant: Length of the Gaussian along the wave over its length across.

    Returns:
        Shape (2 r + 1, 2 r + 1) with r the scale's `gabor_radius`.

    Source: Andreux et al. 2020, arXiv:1812.11214 (Kymatio), and its constants.
    """
    radius, sigma = gabor_radius(scale), gabor_sigma(scale)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    gaussian = np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
    wave = gaussian * np.exp(1j * _FREQUENCY / 2**scale * along)
    centred = wave - gaussian * (wave.sum() / gaussian.sum())
    result: NDArray[np.complex128] = centred * slant / (2 * math.pi * sigma**2)
    return result


class FilterBank(nn.Module):
    """The image itself and what each filter answers, as means over the cells of a grid.

    Args:
        options: How many filters, and the grid.
    """

    def __init__(self, options: GaborOptions) -> None:
        super().__init__()
        self._grid = options.grid
        # A plain list: buffers would travel with the weights, and private training refuses them.
        self._kernels = [
            _kernels_of(scale, options.orientations) for scale in range(options.scales)
        ]

    def forward(self, images: Tensor) -> Tensor:
        """Give shape (n, channels * (1 + scales * orientations), grid, grid)."""
        self._kernels = [kernels.to(images) for kernels in self._kernels]
        maps = [images, *(_moduli(images, k, 2**j) for j, k in enumerate(self._kernels))]
        return torch.cat([functional.adaptive_avg_pool2d(m, self._grid) for m in maps], dim=1)


def build_gabor(
    options: GaborOptions, spatial_dims: int, channels: int, num_classes: int
) -> nn.Module:
    """Build norm of the image, filter bank, norm of each map, and a linear head that begins at 0.

    The default has 1,252 parameters for one channel and two classes.
    """
    maps = channels * (1 + options.scales * options.orientations)
    model = nn.Sequential()
    model.add_module("image_norm", nn.GroupNorm(1, channels, affine=False))
    model.add_module("filters", FilterBank(options))
    model.add_module("norm", nn.GroupNorm(maps, maps, eps=_SMALLEST_VARIANCE, affine=False))
    model.add_module("flatten", nn.Flatten())
    head = nn.Linear(maps * options.grid**2, num_classes)
    # The loss is convex, so chance has nothing to break; zero is no more than noise would allow.
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model.add_module("head", head)
    return model


def _kernels_of(scale: int, orientations: int) -> Tensor:
    """Real parts, then imaginary ones, shape (2 * orientations, 1, side, side)."""
    angles = [math.pi * number / orientations for number in range(orientations)]
    filters = np.stack([morlet(scale, angle, 4 / orientations) for angle in angles])
    # Rounded from float64, so that machines whose exponentials differ last agree on the filters.
    parts: NDArray[Any] = np.concatenate([filters.real, filters.imag]).astype(np.float32)
    return torch.from_numpy(parts)[:, None]


def _moduli(images: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Modulus of each filter's answer in each channel, on every `stride`-th pixel."""
    number, channels = images.shape[:2]
    radius = kernels.shape[-1] // 2
    padded = functional.pad(images, (radius,) * 4, mode="reflect").flatten(0, 1)[:, None]
    real, imaginary = functional.conv2d(padded, kernels, stride=stride).chunk(2, dim=1)
    moduli = (real.square() + imaginary.square() + _SMALLEST_SQUARE).sqrt()
    return moduli.reshape(number, channels * moduli.shape[1], *moduli.shape[2:])
