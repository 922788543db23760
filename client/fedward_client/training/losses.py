"""Losses by name, one value for each example, so that a patient's gradient can be bounded.

No example's loss depends on another example: class weights multiply and are not renormalised over
the batch. Logits may come in half precision; losses are computed in float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fedward_common.job.job_file import LossSection, TaskSection

LossPerExample = Callable[[Tensor, Tensor], Tensor]

_SMALLEST_DOUBT = 1e-7


def build_loss(loss: LossSection, task: TaskSection) -> LossPerExample:
    """Build the job's loss.

    Returns:
        A function of logits, shape (n, num_classes) or (n, num_classes, *spatial), and of int64
        targets, shape (n,) or (n, *spatial), that gives losses of shape (n,). Over masks,
        cross-entropy and focal are means over pixels; Dice is a mean over foreground classes.
    """
    weights = torch.tensor(loss.class_weights) if loss.class_weights else None
    if loss.name == "focal":
        return focal(loss.gamma, weights)
    if loss.name == "dice":
        return dice(len(task.classes))
    if loss.name == "dice-cross-entropy":
        return _sum_of(dice(len(task.classes)), cross_entropy(0.0, weights))
    return cross_entropy(loss.label_smoothing, weights)


def cross_entropy(label_smoothing: float, weights: Tensor | None) -> LossPerExample:
    """Give softmax cross-entropy; with weights, each pixel or image counts its class's weight."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        values = functional.cross_entropy(
            logits.float(),
            target,
            weight=_on_device_of(logits, weights),
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return _mean_per_example(values)

    return loss


def focal(gamma: float, weights: Tensor | None) -> LossPerExample:
    """Give -w (1 - p)^gamma log p of the true class's softmax probability p.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 5, with softmax for more than two classes.
    """

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        log_p = -functional.cross_entropy(logits.float(), target, reduction="none")
        # Above 0, so that the gradient of the power stays finite when the class is certain.
        doubt = (-torch.expm1(log_p)).clamp_min(_SMALLEST_DOUBT)
        values = -doubt.pow(gamma) * log_p
        on_device = _on_device_of(logits, weights)
        if on_device is not None:
            values = values * on_device[target]
        return _mean_per_example(values)

    return loss


def dice(num_classes: int) -> LossPerExample:
    """Give 1 - soft Dice of each image, mean over the classes from 1 on; class 0 is background.

    A structure that is absent and not predicted costs nothing (MONAI's smoothing of 1e-5). One that
    is absent and predicted costs 1 with next to no gradient: where structures are often absent,
    `dice-cross-entropy` learns and this alone hardly does.

    Source: Milletari et al. 2016, arXiv:1606.04797, without squares, as MONAI's `DiceLoss`.
    """
    from monai.losses.dice import DiceLoss  # MONAI takes 2 s to import

    of_classes = DiceLoss(include_background=False, softmax=True, reduction="none")

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        one_hot = functional.one_hot(target, num_classes).movedim(-1, 1).float()
        values: Tensor = of_classes(logits.float(), one_hot)
        return _mean_per_example(values)

    return loss


def _sum_of(first: LossPerExample, second: LossPerExample) -> LossPerExample:
    return lambda logits, target: first(logits, target) + second(logits, target)


def _on_device_of(logits: Tensor, weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.to(logits.device)


def _mean_per_example(values: Tensor) -> Tensor:
    """Average everything but the first axis."""
    return values if values.ndim == 1 else values.flatten(1).mean(1)
