"""Convolutions and transposed ones, in one to three dimensions, with groups.

A weight gradient pairs each position of the coarse side with a patch of the fine one. Of a
convolution the input is fine and the output's gradient coarse; of a transposed convolution it is
the other way round, and everything else is the same.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from fedward_client.training.per_sample.contributions import (
    BatchLayout,
    Contribution,
    DeferredProduct,
    KeptRows,
    kept_if_trainable,
    squared_norms_of_rows,
)
from fedward_client.training.per_sample.gram import gram_squared_norms

CONVOLUTIONS: tuple[type[nn.Module], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)

_LARGEST_KEPT_BYTES = 16 << 20
"""Per-patient gradients of one layer above this size are not kept, whatever they cost again."""

_FEW_CHANNELS = 8
"""Up to here oneDNN takes two to four times as long for an input's gradient as for an output."""

# Nanoseconds on one AVX-512 core, measured at batches of 16 and 64. Only their ratios matter.
_NS_OF_MULTIPLICATION = 0.012
_NS_OF_ROW_VALUE = 1.5
_NS_OF_GRAM_MULTIPLICATION = 0.086
_NS_OF_SHIFT = 1.2


@dataclass(frozen=True)
class Geometry:
    """What a convolution does, without its weights; `weight_shape` has the coarse side first.

    Where the weight is a function of the parameter, `to_parameter` turns gradients of the one,
    shape (..., *weight_shape), into gradients of the other. It must be linear, and the same for all
    patients.
    """

    weight_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    to_parameter: Callable[[Tensor], Tensor] | None = None

    @property
    def kernel(self) -> tuple[int, ...]:
        """Sizes along the spatial axes."""
        return self.weight_shape[2:]

    @property
    def few_channels_in(self) -> bool:
        """Whether `flipped_convolution` gives the input's gradient, and gives it sooner."""
        reach = zip(self.kernel, self.padding, self.dilation, strict=True)
        return (
            self.weight_shape[1] <= _FEW_CHANNELS
            and self.groups == 1
            and all(step == 1 for step in self.stride)
            and all(gap * (size - 1) >= padding for size, padding, gap in reach)
        )

    def flipped_convolution(self, grad_output: Tensor, weight: Tensor) -> Tensor:
        """Give the input's gradient as a convolution with the kernel turned round."""
        turned = weight.transpose(0, 1).flip(tuple(range(2, weight.ndim)))
        padding = [
            gap * (size - 1) - padding
            for size, padding, gap in zip(self.kernel, self.padding, self.dilation, strict=True)
        ]
        gradient: Tensor = torch.ops.aten.convolution.default(
            grad_output, turned, None, self.stride, padding, self.dilation,
            False, [0] * len(padding), 1,
        )  # fmt: skip
        return gradient

    def weight_gradient(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Give the parameter's gradient summed over examples."""
        gradient = self._library_gradient(fine, coarse, self.weight_shape, self.groups)
        return self.to_parameter(gradient) if self.to_parameter else gradient

    def weight_rows(self, fine: Tensor, coarse: Tensor, layout: BatchLayout) -> Tensor:
        """Give each patient's gradient of the parameter, shape (num_patients, values in it)."""
        num = layout.num_patients
        shape = (num * self.weight_shape[0], *self.weight_shape[1:])
        rows = self._library_gradient(
            layout.as_groups(fine), layout.as_groups(coarse), shape, num * self.groups
        )
        if self.to_parameter:
            rows = self.to_parameter(rows.view(num, *self.weight_shape))
        return rows.view(num, -1)

    def squared_norms(self, fine: Tensor, coarse: Tensor, layout: BatchLayout) -> Tensor:
        """Give squared norms by inner products of positions; where `prefers_gram` could say so."""
        return gram_squared_norms(
            fine, coarse, self.kernel, self.stride, self.padding, self.dilation, layout
        )

    def _library_gradient(
        self, fine: Tensor, coarse: Tensor, weight_shape: tuple[int, ...], groups: int
    ) -> Tensor:
        # Only the shape of the weights is read.
        weight = fine.new_empty(1).expand(weight_shape)
        gradient: Tensor = torch.ops.aten.convolution_backward.default(
            coarse, fine, weight, [0], self.stride, self.padding, self.dilation,
            False, [0] * len(self.stride), groups, (False, True, False),
        )[1]  # fmt: skip
        return gradient


class ConvolutionRule:
    """Outputs, input gradients and per-patient gradients of one convolution."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._transposed: bool = layer.transposed
        self._geometry = Geometry(
            tuple(layer.weight.shape),
            tuple(layer.stride),
            tuple(layer.padding),
            tuple(layer.dilation),
            layer.groups,
        )

    @staticmethod
    def unfit_because(layer: nn.Module) -> str:
        """Say what about a layer this rule cannot do; nothing where it can."""
        of_layer: Any = layer
        if of_layer.padding_mode != "zeros" or isinstance(of_layer.padding, str):
            return "pads otherwise than with a number of zeros"
        extra = zip(of_layer.output_padding, of_layer.stride, strict=True)
        if any(padding >= step for padding, step in extra):
            return "pads its output by a stride or more"
        return ""

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give the output, and what `backward` needs."""
        weight = self._layer.weight
        return self.convolve(inputs, weight), (inputs, weight)

    def convolve(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """Give the output with a weight that need not be the layer's own."""
        layer, geometry = self._layer, self._geometry
        output: Tensor = torch.ops.aten.convolution.default(
            inputs, weight, layer.bias, geometry.stride, geometry.padding,
            geometry.dilation, self._transposed, layer.output_padding, geometry.groups,
        )  # fmt: skip
        return output

    def backward(
        self,
        saved: tuple[Tensor, ...],
        grad_output: Tensor,
        layout: BatchLayout,
        *,
        needs_input: bool,
    ) -> tuple[Tensor | None, list[Contribution]]:
        """Give the input's gradient and the patients' parts."""
        inputs, weight = saved
        grad_input = self.input_gradient(inputs, weight, grad_output) if needs_input else None
        return grad_input, self.contributions(inputs, grad_output, layout)

    def contributions(
        self,
        inputs: Tensor,
        grad_output: Tensor,
        layout: BatchLayout,
        to_parameter: Callable[[Tensor], Tensor] | None = None,
    ) -> list[Contribution]:
        """Give the patients' parts; `to_parameter` as in `Geometry`."""
        geometry = dataclasses.replace(self._geometry, to_parameter=to_parameter)
        parts: list[Contribution] = []
        layer = self._layer
        if layer.weight.requires_grad:
            pair = (grad_output, inputs) if self._transposed else (inputs, grad_output)
            parts.append(weight_contribution(layer.weight, geometry, *pair, layout))
        if layer.bias is not None and layer.bias.requires_grad:
            sums = layout.as_groups(grad_output).flatten(2).sum((0, 2))
            parts += kept_if_trainable((layer.bias, sums))
        return parts

    def input_gradient(self, inputs: Tensor, weight: Tensor, grad_output: Tensor) -> Tensor:
        """Give the input's gradient with the weight that the forward pass had."""
        geometry = self._geometry
        if not self._transposed and inputs.device.type == "cpu" and geometry.few_channels_in:
            return geometry.flipped_convolution(grad_output, weight)
        gradient: Tensor = torch.ops.aten.convolution_backward.default(
            grad_output, inputs, weight, [0], geometry.stride, geometry.padding,
            geometry.dilation, self._transposed, self._layer.output_padding, geometry.groups,
            (True, False, False),
        )[0]  # fmt: skip
        return gradient


def weight_contribution(
    weight: nn.Parameter, geometry: Geometry, fine: Tensor, coarse: Tensor, layout: BatchLayout
) -> Contribution:
    """Form a convolution weight's per-patient gradients, or only their norms, by what is cheaper.

    The choice depends on shapes alone.
    """
    by_gram = prefers_gram(geometry, fine, coarse, layout)
    row_bytes = weight.numel() * weight.element_size()
    if not by_gram and row_bytes * layout.num_patients <= _LARGEST_KEPT_BYTES:
        return KeptRows(weight, geometry.weight_rows(fine, coarse, layout))
    gram_bytes = 8 * (layout.num_views * max(prod(fine.shape[2:]), prod(coarse.shape[2:]))) ** 2
    at_once = max(1, _LARGEST_KEPT_BYTES // (gram_bytes if by_gram else row_bytes))
    squares = [
        _squares_of(geometry, layout, fine, coarse, begin, at_once, by_gram=by_gram)
        for begin in range(0, layout.num_patients, at_once)
    ]
    return DeferredProduct(
        weight, torch.cat(squares), (fine, coarse), geometry.weight_gradient, layout
    )


def _squares_of(
    geometry: Geometry,
    layout: BatchLayout,
    fine: Tensor,
    coarse: Tensor,
    begin: int,
    at_once: int,
    *,
    by_gram: bool,
) -> Tensor:
    end = min(begin + at_once, layout.num_patients)
    part = BatchLayout(end - begin, layout.num_views)
    pair = layout.part(fine, begin, end), layout.part(coarse, begin, end)
    if by_gram:
        return geometry.squared_norms(*pair, part)
    return squared_norms_of_rows(geometry.weight_rows(*pair, part))


def prefers_gram(geometry: Geometry, fine: Tensor, coarse: Tensor, layout: BatchLayout) -> bool:
    """Estimate whether norms by inner products, with a sum afterwards, beat kept gradients.

    Never with groups, nor where the weight is a function of the parameter: inner products give
    norms of the weight's gradient, which may be far longer than the parameter's, and their
    difference is lost to rounding.
    """
    if geometry.groups > 1 or geometry.to_parameter is not None:
        return False
    views, kernel = layout.num_views, prod(geometry.kernel)
    num_coarse = views * prod(coarse.shape[2:])
    num_fine = num_coarse if kernel == 1 else views * prod(fine.shape[2:])
    row_values = prod(geometry.weight_shape)
    summing = _NS_OF_MULTIPLICATION * num_coarse * row_values
    rows = summing + _NS_OF_ROW_VALUE * row_values
    if row_values * fine.element_size() * layout.num_patients > _LARGEST_KEPT_BYTES:
        rows += summing  # they are formed, measured and given up
    multiplications = num_fine**2 * fine.shape[1] + num_coarse**2 * coarse.shape[1]
    gram = _NS_OF_GRAM_MULTIPLICATION * multiplications + _NS_OF_SHIFT * kernel * num_coarse**2
    return gram + summing < rows
