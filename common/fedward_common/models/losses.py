"""Losses by name, one value for each example, so that a patient's gradient can be bounded.

No example's loss depends on another example: class weights multiply and are not renormalised over
the batch. What is not annotated has no part in an example's loss nor in its gradient; an example
without any annotation has a loss of 0. Logits may come in half precision; losses are computed in
float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.job.job_file import LossSection, TaskSection

LossPerExample = Callable[[Tensor, Tensor], Tensor]
LossPerTarget = Callable[[Tensor, Tensor], Tensor]
"""Of logits and targets, a loss for each target: image, pixel, or finding of an image."""

_SMALLEST_DOUBT = 1e-7


def build_loss(
    loss: LossSection, task: TaskSection, *, partly_annotated: bool = False
) -> LossPerExample:
    """Build the job's loss.

    Args:
        loss: The job's.
        task: The job's.
        partly_annotated: Whether targets may be `NOT_ANNOTATED`, in masks `NOT_ANNOTATED_VOXEL`.
            Where none is, the way without is shorter and gives the same. Findings of a multi-label
            task always may.

    Returns:
        A function of logits, shape (n, num_classes) or (n, num_classes, *spatial), and of int64
        targets, shape (n,) or (n, *spatial), in a multi-label task (n, num_classes), that gives
        losses of shape (n,): means over the annotated pixels or findings, in Dice over the
        foreground classes.
    """
    if task.multi_label:
        return _mean_of_annotated(build_finding_loss(loss), NOT_ANNOTATED)
    if loss.name == "dice":
        return dice(len(task.classes), partly_annotated=partly_annotated)
    per_target = _per_target(loss)
    unknown = NOT_ANNOTATED_VOXEL if task.kind == "segmentation" else NOT_ANNOTATED
    mean = _mean_of_annotated(per_target, unknown) if partly_annotated else _mean_of(per_target)
    if loss.name == "dice-cross-entropy":
        return _sum_of(dice(len(task.classes), partly_annotated=partly_annotated), mean)
    return mean


def build_finding_loss(loss: LossSection) -> LossPerTarget:
    """Build the loss of each finding of a multi-label task, shape (n, num_classes).

    Where the target is `NOT_ANNOTATED` the number means nothing.
    """
    weights = _weights_of(loss)
    if loss.name == "focal":
        return binary_focal(loss.gamma, weights)
    return binary_cross_entropy(loss.label_smoothing, weights)


def _per_target(loss: LossSection) -> LossPerTarget:
    weights = _weights_of(loss)
    if loss.name == "focal":
        return focal(loss.gamma, weights)
    return cross_entropy(loss.label_smoothing, weights)


def cross_entropy(label_smoothing: float, weights: Tensor | None) -> LossPerTarget:
    """Give softmax cross-entropy; with weights, each pixel or image counts its class's weight."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits.float(),
            target,
            weight=_on_device_of(logits, weights),
            reduction="none",
            label_smoothing=label_smoothing,
        )

    return loss


def focal(gamma: float, weights: Tensor | None) -> LossPerTarget:
    """Give -w (1 - p)^gamma log p of the true class's softmax probability p.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 5, with softmax for more than two classes.
    """

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        log_p = -functional.cross_entropy(logits.float(), target, reduction="none")
        values = _focused(log_p, gamma)
        on_device = _on_device_of(logits, weights)
        return values if on_device is None else values * on_device[target]

    return loss


def binary_cross_entropy(label_smoothing: float, weights: Tensor | None) -> LossPerTarget:
    """Give each finding's sigmoid cross-entropy times its class's weight.

    Smoothing by s moves targets from 0 and 1 to s / 2 and 1 - s / 2, as softmax of two classes has
    it.
    """

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            logits.float(),
            target * (1 - label_smoothing) + label_smoothing / 2,
            weight=_on_device_of(logits, weights),
            reduction="none",
        )

    return loss


def binary_focal(gamma: float, weights: Tensor | None) -> LossPerTarget:
    """Give -w (1 - p)^gamma log p, p the sigmoid probability of what is true of each finding.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 4; w is the class's, present or absent.
    """

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        log_p = -functional.binary_cross_entropy_with_logits(
            logits.float(), target.float(), reduction="none"
        )
        values = _focused(log_p, gamma)
        on_device = _on_device_of(logits, weights)
        return values if on_device is None else values * on_device

    return loss


def _focused(log_p: Tensor, gamma: float) -> Tensor:
    # Above 0, so that the gradient of the power stays finite when the class is certain.
    doubt = (-torch.expm1(log_p)).clamp_min(_SMALLEST_DOUBT)
    return -doubt.pow(gamma) * log_p


def dice(num_classes: int, *, partly_annotated: bool = False) -> LossPerExample:
    """Give 1 - soft Dice of each image, mean over the classes from 1 on; class 0 is background.

    A structure that is absent and not predicted costs nothing (MONAI's smoothing of 1e-5). One that
    is absent and predicted costs 1 with next to no gradient: where structures are often absent,
    `dice-cross-entropy` learns and this alone hardly does.

    Source: Milletari et al. 2016, arXiv:1606.04797, without squares, as MONAI's `DiceLoss`.
    """
    from monai.losses.dice import DiceLoss  # MONAI takes 2 s to import

    of_classes = DiceLoss(include_background=False, softmax=not partly_annotated, reduction="none")

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        scores = logits.float()
        if partly_annotated:
            annotated = target != NOT_ANNOTATED_VOXEL
            scores = scores.softmax(dim=1) * annotated[:, None]
            target = target.masked_fill(~annotated, 0)
        one_hot = functional.one_hot(target, num_classes).movedim(-1, 1).float()
        values: Tensor = of_classes(scores, one_hot)
        return _mean_per_example(values)

    return loss


def _weights_of(loss: LossSection) -> Tensor | None:
    return torch.tensor(loss.class_weights) if loss.class_weights else None


def _sum_of(first: LossPerExample, second: LossPerExample) -> LossPerExample:
    return lambda logits, target: first(logits, target) + second(logits, target)


def _on_device_of(logits: Tensor, weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.to(logits.device)


def _mean_of(per_target: LossPerTarget) -> LossPerExample:
    return lambda logits, target: _mean_per_example(per_target(logits, target))


def _mean_per_example(values: Tensor) -> Tensor:
    """Average everything but the first axis."""
    return values if values.ndim == 1 else values.flatten(1).mean(1)


def _mean_of_annotated(per_target: LossPerTarget, unknown: int) -> LossPerExample:
    """Average over the targets that are not `unknown`; 0 and without gradient where all are."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        masked = target == unknown
        values = per_target(logits, target.masked_fill(masked, 0)).masked_fill(masked, 0.0)
        rows = len(values)
        num_annotated = (~masked).reshape(rows, -1).sum(1)
        return values.reshape(rows, -1).sum(1) / num_annotated.clamp_min(1)

    return loss
