"""Each site's own optimizer, made anew every round, and the penalties that act beside the loss."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer

from fedward_common.job.job_file import OptimizerSection


def build_optimizer(
    section: OptimizerSection, parameters: Iterable[Parameter], learning_rate: float
) -> Optimizer:
    """Build the optimizer, without state, over `parameters`.

    `fused` runs one kernel over all tensors, on the CPU as on CUDA: half of Adam's time.
    """
    if section.name == "adam":
        return Adam(parameters, lr=learning_rate, fused=True)
    if section.name == "adamw":
        return AdamW(parameters, lr=learning_rate, weight_decay=section.weight_decay, fused=True)
    return SGD(parameters, lr=learning_rate, momentum=section.momentum, fused=True)


def let_go(optimizer: Optimizer) -> None:
    """Free gradients and moments at the end of a round.

    Torch's optimizers hold themselves in a cycle: with Adam three models of memory would stay until
    some later collection, beside those of the next round.
    """
    optimizer.zero_grad(set_to_none=True)
    optimizer.state.clear()


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def add_penalty_gradients(parameters: Iterable[Parameter], l1: float, l2: float) -> None:
    """Add the gradient of `l1 * sum|w| + l2 / 2 * sum w^2` over weights with more than one axis.

    Biases and the scales of norms are left alone. Added to gradients, not to the loss: it stays
    out of whatever a patient's gradient goes through.
    """
    if l1 == 0 and l2 == 0:
        return
    with torch.no_grad():
        for parameter in parameters:
            gradient: Tensor | None = parameter.grad
            if gradient is None or parameter.ndim < 2:
                continue
            if l1:
                gradient.add_(parameter.sign(), alpha=l1)
            if l2:
                gradient.add_(parameter, alpha=l2)
