"""Convolutions with standardised weights: a plain one's rule, seen from the parameter.

What is clipped is the gradient of the parameter, for that is what is released. The weight in use
depends on the parameter alone, so its derivative is one linear map, the same for every patient: it
is applied to each patient's gradient before norms are taken, or once to a weighted sum of them.
"""

import functools
from typing import Any

from torch import Tensor, nn

from fedward_client.training.per_sample.contributions import BatchLayout, Contribution
from fedward_client.training.per_sample.convolutions import ConvolutionRule
from fedward_common.models.standardised import (
    StandardisedConv2d,
    StandardisedConv3d,
    standardise,
    through_standardisation,
)

STANDARDISED_CONVOLUTIONS: tuple[type[nn.Module], ...] = (StandardisedConv2d, StandardisedConv3d)


class StandardisedConvolutionRule:
    """Outputs, input gradients and per-patient gradients of one such convolution."""

    def __init__(self, layer: Any) -> None:
        self._layer, self._plain = layer, ConvolutionRule(layer)

    @staticmethod
    def unfit_because(layer: nn.Module) -> str:
        """Say what about a layer this rule cannot do; nothing where it can."""
        return ConvolutionRule.unfit_because(layer)

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give the output, and what `backward` needs."""
        weight, scale = standardise(self._layer.weight)
        return self._plain.convolve(inputs, weight), (inputs, weight, scale)

    def backward(
        self,
        saved: tuple[Tensor, ...],
        grad_output: Tensor,
        layout: BatchLayout,
        *,
        needs_input: bool,
    ) -> tuple[Tensor | None, list[Contribution]]:
        """Give the input's gradient and the patients' parts."""
        inputs, weight, scale = saved
        plain = self._plain
        grad_input = plain.input_gradient(inputs, weight, grad_output) if needs_input else None
        to_parameter = functools.partial(through_standardisation, standardised=weight, scale=scale)
        return grad_input, plain.contributions(inputs, grad_output, layout, to_parameter)
