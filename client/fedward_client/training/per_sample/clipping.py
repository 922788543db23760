"""The sum of the patients' gradients, each clipped to a norm, by one forward and one backward."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from fedward_client.training.per_sample.contributions import (
    BatchLayout,
    Contribution,
    with_small_ones_joined,
)
from fedward_client.training.per_sample.layer_rules import LayerRule, rule_for
from fedward_common.errors import TrainingError


class PatientClipping:
    """Watches a module's layers while it is entered, and sums clipped gradients.

    Args:
        module: Without layers that `unfit_layers` names. Parameters that need no gradient are left
            out, those that do are clipped together, to one norm over all of them.
    """

    def __init__(self, module: nn.Module) -> None:
        self._watched = [
            _WatchedLayer(name, layer, self)
            for name, layer in module.named_modules()
            if any(p.requires_grad for p in layer.parameters(recurse=False))
        ]
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._layout = BatchLayout(0, 1)
        self._parts: list[Contribution] = []
        self._seen: set[str] = set()

    def __enter__(self) -> Self:
        for watched in self._watched:
            watched.layer.forward = watched
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for watched in self._watched:
            del watched.layer.forward

    def add_clipped_sum(
        self,
        losses: Callable[[], Tensor],
        layout: BatchLayout,
        clipping_norm: float,
        gradients: dict[Parameter, Tensor],
    ) -> Tensor:
        """Add the patients' gradients, each shrunk to L2 norm `clipping_norm` at most.

        A patient's gradient is that of the mean loss of its views. One that is not finite, or
        whose squared norm is not, counts as zero: nothing is raised or shown that would tell.

        Args:
            losses: Runs the module; gives a loss for each example, shape (V * P,).
            layout: How the examples are laid out.
            clipping_norm: Above 0. Rounding may lift a clipped norm by a factor of 1 + 1e-5.
            gradients: The sums so far, which are added to; a parameter without one gets one.

        Returns:
            Whether each patient's norm was within the clipping norm, shape (P,). Of one patient:
            it must not leave without noise.

        Raises:
            TrainingError: A layer ran twice, or a gradient went past the layers' rules.
        """
        self._layout = layout
        try:
            (losses().sum() / layout.num_views).backward()  # type: ignore[no-untyped-call]  # torch's own
            self._verify_nothing_bypassed()
            return self._add_weighted(clipping_norm, gradients)
        finally:
            self._parts.clear()
            self._seen.clear()

    @torch.no_grad()
    def _add_weighted(self, clipping_norm: float, gradients: dict[Parameter, Tensor]) -> Tensor:
        parts = with_small_ones_joined(self._parts)
        self._parts.clear()
        weights, within = _weights_of(parts, clipping_norm)
        while parts:  # each is given up as soon as it was added
            part = parts.pop()
            for parameter, total in zip(part.parameters, part.weighted_sums(weights), strict=True):
                so_far = gradients.get(parameter)
                gradients[parameter] = total if so_far is None else so_far.add_(total)
        return within

    def begin_layer(self, name: str) -> None:
        """Note that a layer runs; a second time in one pass is refused.

        Squared norms of the two uses would not add up to the norm of their sum.
        """
        if name in self._seen:
            raise TrainingError(
                f"layer {name} runs twice in one pass, which private training cannot clip",
                hint="use two layers, or train without differential privacy",
                code="LAYER_USED_TWICE",
            )
        self._seen.add(name)

    def take(
        self, rule: LayerRule, saved: tuple[Tensor, ...], grad_output: Tensor, *, needs_input: bool
    ) -> Tensor | None:
        """Keep what a layer contributes; give its input's gradient."""
        if grad_output.shape[0] != self._layout.num_patients * self._layout.num_views:
            raise TrainingError(
                f"a layer saw {grad_output.shape[0]} rows; {self._layout.num_views} views of "
                f"{self._layout.num_patients} patients are needed as its first axis",
                hint="a model may not move patients to another axis",
                code="LAYER_MIXES_PATIENTS",
            )
        grad_input, parts = rule.backward(saved, grad_output, self._layout, needs_input=needs_input)
        self._parts += parts
        return grad_input

    def _verify_nothing_bypassed(self) -> None:
        if any(parameter.grad is not None for parameter in self._parameters):
            raise TrainingError(
                "a parameter got a gradient that no layer's rule has seen, so it is not clipped",
                hint="a model may use parameters only through the layers that own them",
                code="LAYER_MIXES_PATIENTS",
            )


def _weights_of(parts: list[Contribution], clipping_norm: float) -> tuple[Tensor, Tensor]:
    """Give each patient's clip factor, and whether its norm was within the clipping norm."""
    squares = torch.stack([part.squared_norms() for part in parts]).sum(0)
    norms = squares.clamp_min(0.0).sqrt()  # inner products may round to just below 0
    usable = norms.isfinite()
    if not bool(usable.all()):
        for part in parts:
            part.silence(~usable)
    weights = (clipping_norm / norms).clamp_max(1.0).where(usable, 0.0)
    return weights, usable & (norms <= clipping_norm)


class _WatchedLayer:
    """Stands in for a layer's `forward`."""

    def __init__(self, name: str, layer: nn.Module, clipping: PatientClipping) -> None:
        self.layer: Any = layer
        self._name, self._rule, self._clipping = name, rule_for(layer), clipping
        self._parameters = list(layer.parameters(recurse=False))

    def __call__(self, inputs: Tensor) -> Tensor:
        self._clipping.begin_layer(self._name)
        output: Tensor = _Watched.apply(  # type: ignore[no-untyped-call]  # torch's own
            self._rule, self._clipping, inputs, *self._parameters
        )
        return output


class _Watched(torch.autograd.Function):
    """One layer in autograd's graph. Its parameters are inputs so that it is differentiated."""

    @staticmethod
    def forward(
        ctx: Any, rule: LayerRule, clipping: PatientClipping, inputs: Tensor, *parameters: Parameter
    ) -> Tensor:
        output, saved = rule.forward(inputs)
        ctx.save_for_backward(*saved)
        ctx.rule, ctx.clipping = rule, clipping
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        grad_input = ctx.clipping.take(
            ctx.rule, ctx.saved_tensors, grad_output, needs_input=ctx.needs_input_grad[2]
        )
        return None, None, grad_input, *[None] * (len(ctx.needs_input_grad) - 3)
