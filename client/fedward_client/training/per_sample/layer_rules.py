"""Which layers have a rule, and why a module may not be trained privately."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedward_client.training.per_sample.contributions import BatchLayout, Contribution
from fedward_client.training.per_sample.convolutions import CONVOLUTIONS, ConvolutionRule
from fedward_client.training.per_sample.dense import LinearRule, PReLURule
from fedward_client.training.per_sample.norms import CHANNEL_NORMS, ChannelNormRule, LayerNormRule
from fedward_client.training.per_sample.standardised_convolutions import (
    STANDARDISED_CONVOLUTIONS,
    StandardisedConvolutionRule,
)

_RULE_PARAMETERS = {"weight", "bias"}


class LayerRule(Protocol):
    """One kind of layer: its output, its input's gradient, and its part in patients' gradients."""

    @staticmethod
    def unfit_because(layer: nn.Module) -> str:
        """Say what about a layer this rule cannot do; nothing where it can."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Give the output, and what `backward` needs."""

    def backward(
        self,
        saved: tuple[Tensor, ...],
        grad_output: Tensor,
        layout: BatchLayout,
        *,
        needs_input: bool,
    ) -> tuple[Tensor | None, list[Contribution]]:
        """Give the input's gradient, where asked for, and the parts of trainable parameters."""


LAYER_RULES: Mapping[type[nn.Module], Any] = {
    **dict.fromkeys(CONVOLUTIONS, ConvolutionRule),
    **dict.fromkeys(STANDARDISED_CONVOLUTIONS, StandardisedConvolutionRule),
    **dict.fromkeys(CHANNEL_NORMS, ChannelNormRule),
    nn.LayerNorm: LayerNormRule,
    nn.Linear: LinearRule,
    nn.PReLU: PReLURule,
}
"""By exact type: a subclass may compute something else."""


def rule_for(layer: nn.Module) -> LayerRule:
    """Give a layer its rule; `unfit_layers` has found none amiss."""
    rule: LayerRule = LAYER_RULES[type(layer)](layer)
    return rule


def unfit_layers(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Give name and reason of each layer that mixes patients, or that no rule covers."""
    owners: dict[int, str] = {}
    for name, layer in module.named_modules():
        shown = f"{name or 'the model itself'} ({type(layer).__name__})"
        reason = _reason_against(layer)
        if reason:
            yield shown, reason
        for parameter in layer.parameters(recurse=False):
            if id(parameter) in owners:
                yield shown, f"shares a parameter with {owners[id(parameter)]}"
            owners[id(parameter)] = shown


def _reason_against(layer: nn.Module) -> str:
    if isinstance(layer, _BatchNorm):
        return "takes its statistics over all patients of a batch"
    if getattr(layer, "track_running_stats", False):
        return "keeps running statistics of patients"
    if next(layer.buffers(recurse=False), None) is not None:
        return "holds a buffer, which leaves the site without noise"
    names = {name for name, _ in layer.named_parameters(recurse=False)}
    if not names:
        return ""
    rule = LAYER_RULES.get(type(layer))
    if rule is None or not names <= _RULE_PARAMETERS:
        return "has parameters whose per-patient gradients are not known"
    reason: str = rule.unfit_because(layer)
    return reason
