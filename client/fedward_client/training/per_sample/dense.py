"""Linear layers and PReLU."""

from typing import Any

import torch
from torch import Tensor, nn

from fedward_client.training.per_sample.contributions import (
    BatchLayout,
    Contribution,
    DeferredProduct,
    KeptRows,
    kept_if_trainable,
)


class LinearRule:
    """A linear layer over the last axis of (examples, ..., features)."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    @staticmethod
    def unfit_because(layer: nn.Module) -> str:
        """Nothing."""
        return ""

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give the output, and what `backward` needs."""
        layer = self._layer
        return nn.functional.linear(inputs, layer.weight, layer.bias), (inputs, layer.weight)

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
        parts: list[Contribution] = []
        if self._layer.weight.requires_grad:
            parts.append(_of_weight(self._layer.weight, inputs, grad_output, layout))
        if self._layer.bias is not None:
            sums = _by_patient(grad_output, layout).sum(1)
            parts += kept_if_trainable((self._layer.bias, sums))
        return (grad_output @ weight if needs_input else None), parts


class PReLURule:
    """PReLU with one slope, or one for each channel."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    @staticmethod
    def unfit_because(layer: nn.Module) -> str:
        """Nothing."""
        return ""

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give the output, and what `backward` needs."""
        return torch.prelu(inputs, self._layer.weight), (inputs, self._layer.weight)

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
        if weight.numel() == 1 and inputs.device.type == "cpu":
            grad_input, of_values = _one_slope(inputs, grad_output, weight.item())
        else:
            shaped = weight.view(-1, *[1] * (inputs.ndim - 2))
            grad_input, of_values = torch.ops.aten._prelu_kernel_backward(
                grad_output, inputs, shaped
            )
        channels = weight.numel()  # 1 or the input's
        by_view = of_values.view(layout.num_views, layout.num_patients, channels, -1)
        sums = by_view.sum(3).sum(0)
        return (grad_input if needs_input else None), kept_if_trainable(
            (self._layer.weight, sums.view(layout.num_patients, -1))
        )


def _one_slope(inputs: Tensor, grad_output: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Give the gradient of the input, and each value's part in that of the slope.

    The library's PReLU takes five times as long on a CPU as its leaky ReLU, which is the same.
    """
    grad_input = torch.ops.aten.leaky_relu_backward.default(grad_output, inputs, slope, False)
    return grad_input, inputs.clamp_max(0).mul_(grad_output)


def _of_weight(
    weight: nn.Parameter, inputs: Tensor, grad_output: Tensor, layout: BatchLayout
) -> Contribution:
    """Multiply positions where they are few, else form the gradients."""
    by_patient = _by_patient(inputs, layout), _by_patient(grad_output, layout)
    num_positions = by_patient[0].shape[1]
    if num_positions**2 > weight.numel():
        rows = torch.bmm(by_patient[1].transpose(1, 2), by_patient[0])
        return KeptRows(weight, rows.flatten(1))
    # In float64, for the reason that `gram` gives.
    grams = [torch.bmm(values, values.transpose(1, 2)) for values in map(Tensor.double, by_patient)]
    squares = (grams[0] * grams[1]).sum((1, 2))
    return DeferredProduct(weight, squares, (inputs, grad_output), _weight_gradient, layout)


def _by_patient(values: Tensor, layout: BatchLayout) -> Tensor:
    """Give (V * P, ..., features) as (P, positions of all views, features)."""
    by_view = values.reshape(layout.num_views, layout.num_patients, -1, values.shape[-1])
    return by_view.transpose(0, 1).flatten(1, 2)


def _weight_gradient(inputs: Tensor, grad_output: Tensor) -> Tensor:
    return grad_output.flatten(0, -2).t() @ inputs.flatten(0, -2)
