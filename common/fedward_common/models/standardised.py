"""Convolutions whose weights are standardised in every pass (weight standardisation).

Each output channel's weights get mean 0 and variance 1 before they are used, which smooths the loss
where batch norm cannot be had. The parameter stays as it is: it is what travels, what is averaged,
and what gets noise.

Source: Qiao et al. 2019, arXiv:1903.10520, equation 5.
"""

import torch
from torch import Tensor, nn

SMALLEST_VARIANCE = 1e-6
"""Added to each channel's variance, so that equal weights divide by something."""


def standardise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Give each output channel mean 0 and variance 1.

    Args:
        weight: Shape (outputs, ...); all axes but the first belong to one output channel.

    Returns:
        The standardised weight, shaped as `weight`, and by what each channel was multiplied after
        its mean was subtracted, shape (outputs, 1, ...).
    """
    axes = tuple(range(1, weight.ndim))
    centred = weight - weight.mean(axes, keepdim=True)
    variance = centred.square().mean(axes, keepdim=True)
    scale = torch.rsqrt(variance + SMALLEST_VARIANCE)
    return centred * scale, scale


def through_standardisation(gradient: Tensor, standardised: Tensor, scale: Tensor) -> Tensor:
    """Turn gradients of the standardised weight into gradients of the weight.

    With n weights w of a channel and u what they became, du/dw = scale (I - 1 1'/n - u u'/n): a
    symmetric matrix that depends on the weight alone, the same for every patient. So it may be
    applied to each patient's gradient or to a weighted sum of them.

    Args:
        gradient: Shape (..., *weight's shape).
        standardised: As `standardise` gives it.
        scale: As `standardise` gives it.
    """
    axes = tuple(range(1 - standardised.ndim, 0))
    along = (gradient * standardised).mean(axes, keepdim=True)
    return (gradient - gradient.mean(axes, keepdim=True) - standardised * along) * scale


class StandardisedConv2d(nn.Conv2d):
    """A 2-D convolution with standardised weights; parameters are named as a plain one's."""

    def forward(self, images: Tensor) -> Tensor:
        """Convolve with the standardised weight."""
        result: Tensor = self._conv_forward(images, standardise(self.weight)[0], self.bias)
        return result


class StandardisedConv3d(nn.Conv3d):
    """A 3-D convolution with standardised weights; parameters are named as a plain one's."""

    def forward(self, images: Tensor) -> Tensor:
        """Convolve with the standardised weight."""
        result: Tensor = self._conv_forward(images, standardise(self.weight)[0], self.bias)
        return result
