"""Group, instance and layer norm: statistics of one example each, so a patient stands alone."""

from typing import Any

import torch
from torch import Tensor, nn

from fedward_client.training.per_sample.contributions import (
    BatchLayout,
    Contribution,
    kept_if_trainable,
)

CHANNEL_NORMS: tuple[type[nn.Module], ...] = (
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


class ChannelNormRule:
    """Group norm; instance norm is group norm with a group for each channel.

    Seen as (V, P * C, ...) with P times the groups, the library's own backward gives the input's
    gradient and per-patient scales and shifts at once.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        of_group = isinstance(layer, nn.GroupNorm)
        self._groups: int = layer.num_groups if of_group else layer.num_features

    @staticmethod
    def unfit_because(layer: nn.Module) -> str:
        """Say what about a layer this rule cannot do; nothing where it can."""
        keeps = getattr(layer, "track_running_stats", False)
        return "keeps running statistics of patients" if keeps else ""

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give the output, and what `backward` needs."""
        layer, inputs = self._layer, inputs.contiguous()
        num_examples, channels = inputs.shape[:2]
        output, mean, inverse_deviation = torch.ops.aten.native_group_norm(
            inputs, layer.weight, layer.bias, num_examples, channels,
            inputs[0, 0].numel(), self._groups, layer.eps,
        )  # fmt: skip
        return output, (inputs, mean, inverse_deviation, layer.weight)

    def backward(
        self,
        saved: tuple[Tensor, ...],
        grad_output: Tensor,
        layout: BatchLayout,
        *,
        needs_input: bool,
    ) -> tuple[Tensor | None, list[Contribution]]:
        """Give the input's gradient and the patients' parts."""
        inputs, mean, inverse_deviation, weight = saved
        patients, views = layout.num_patients, layout.num_views
        grad_input, scales, shifts = torch.ops.aten.native_group_norm_backward(
            layout.as_groups(grad_output), layout.as_groups(inputs),
            mean.view(views, -1), inverse_deviation.view(views, -1), weight.repeat(patients),
            views, patients * weight.numel(), inputs[0, 0].numel(), patients * self._groups,
            (needs_input, True, True),
        )  # fmt: skip
        parts = kept_if_trainable((self._layer.weight, scales), (self._layer.bias, shifts))
        return (grad_input.view_as(inputs) if needs_input else None), parts


class LayerNormRule:
    """Layer norm over the last axes of (examples, ..., *normalised)."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    @staticmethod
    def unfit_because(layer: nn.Module) -> str:
        """Nothing."""
        return ""

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give the output, and what `backward` needs."""
        layer = self._layer
        output, mean, inverse_deviation = torch.ops.aten.native_layer_norm(
            inputs, layer.normalized_shape, layer.weight, layer.bias, layer.eps
        )
        return output, (inputs, mean, inverse_deviation)

    def backward(
        self,
        saved: tuple[Tensor, ...],
        grad_output: Tensor,
        layout: BatchLayout,
        *,
        needs_input: bool,
    ) -> tuple[Tensor | None, list[Contribution]]:
        """Give the input's gradient and the patients' parts."""
        inputs, mean, inverse_deviation = saved
        layer = self._layer
        grad_input = None
        if needs_input:
            grad_input = torch.ops.aten.native_layer_norm_backward(
                grad_output, inputs, layer.normalized_shape, mean, inverse_deviation,
                layer.weight, layer.bias, (True, False, False),
            )[0]  # fmt: skip
        normalised = (inputs - mean) * inverse_deviation
        rows = [
            values.reshape(layout.num_views, layout.num_patients, -1, layer.weight.numel()).sum(
                (0, 2)
            )
            for values in (grad_output * normalised, grad_output)
        ]
        parts = kept_if_trainable((layer.weight, rows[0]), (layer.bias, rows[1]))
        return grad_input, parts
