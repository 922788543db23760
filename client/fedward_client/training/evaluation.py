"""Evaluation of a network on one split of a job view, as sums that merge."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fedward_client.cohorts.source import Split
from fedward_client.cohorts.views.job_view import JobView
from fedward_client.training.local_training import pick_device
from fedward_client.training.losses import LossPerTarget, build_finding_loss, build_loss
from fedward_common.evaluation.cases import dice_per_structure
from fedward_common.evaluation.sums import (
    Sums,
    empty_sums,
    sums_of_classification,
    sums_of_multi_label,
    sums_of_segmentation,
)
from fedward_common.job.job_file import Job

# Bounds the memory of one forward pass: about this many pixels of input at once.
_PIXELS_AT_ONCE = 1 << 18


def evaluate_split(module: torch.nn.Module, job: Job, view: JobView, split: Split) -> Sums:
    """Evaluate on every annotated case of a split; no augmentation, no dropout.

    Returns:
        Sums over patients; empty sums where the split has none.

    Raises:
        UnusableUpdateError: The network's output is not finite.
    """
    groups = view.cases_by_patient(split)
    if not groups:
        return empty_sums(job.task)
    cases = np.concatenate(groups)
    patients = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    module.eval()
    with torch.inference_mode():
        if job.task.kind == "segmentation":
            return _segmentation(module, job, view, cases, patients)
        if job.task.multi_label:
            return _multi_label(module, job, view, cases, patients)
        return _classification(module, job, view, cases, patients)


def predict(
    module: torch.nn.Module, view: JobView, cases: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.device]:
    """Give logits of some cases, on the device they were computed on."""
    device = pick_device()
    images = torch.from_numpy(np.ascontiguousarray(view.images[cases])).to(device)
    return module(images).float(), device


def _judged_batches(
    module: torch.nn.Module,
    loss_of: LossPerTarget,
    view: JobView,
    cases: NDArray[np.int64],
    truth: NDArray[np.int64] | NDArray[np.int8] | NDArray[np.uint8],
) -> Iterator[tuple[torch.Tensor, torch.Tensor, NDArray[np.float64]]]:
    """Yield logits, target and the losses of each case, a batch of `cases` at a time."""
    size = max(1, _PIXELS_AT_ONCE // int(np.prod(view.images.shape[1:])))
    for at in range(0, len(cases), size):
        batch = cases[at : at + size]
        logits, device = predict(module, view, batch)
        target = torch.from_numpy(truth[batch].astype(np.int64)).to(device)
        yield logits, target, loss_of(logits, target).double().cpu().numpy()


def _classification(
    module: torch.nn.Module,
    job: Job,
    view: JobView,
    cases: NDArray[np.int64],
    patients: NDArray[np.int64],
) -> Sums:
    loss_of = build_loss(job.training.loss, job.task)
    probabilities, losses = [], []
    for logits, _, loss in _judged_batches(module, loss_of, view, cases, view.labels):
        losses.append(loss)
        probabilities.append(logits.double().softmax(dim=1).cpu().numpy())
    return sums_of_classification(
        np.concatenate(probabilities), view.labels[cases], patients, np.concatenate(losses)
    )


def _multi_label(
    module: torch.nn.Module,
    job: Job,
    view: JobView,
    cases: NDArray[np.int64],
    patients: NDArray[np.int64],
) -> Sums:
    loss_of = build_finding_loss(job.training.loss)
    probabilities, losses = [], []
    for logits, _, loss in _judged_batches(module, loss_of, view, cases, view.labels):
        losses.append(loss)
        probabilities.append(logits.double().sigmoid().cpu().numpy())
    return sums_of_multi_label(
        np.concatenate(probabilities), view.labels[cases], patients, np.concatenate(losses)
    )


def _segmentation(
    module: torch.nn.Module,
    job: Job,
    view: JobView,
    cases: NDArray[np.int64],
    patients: NDArray[np.int64],
) -> Sums:
    if view.masks is None:
        raise ValueError("a segmentation view has masks")
    num_classes = len(job.task.classes)
    partly = view.num_partly_annotated > 0
    loss_of = build_loss(job.training.loss, job.task, partly_annotated=partly)
    dice: list[NDArray[np.float64]] = []
    losses = []
    for logits, target, loss in _judged_batches(module, loss_of, view, cases, view.masks):
        losses.append(loss)
        pairs = zip(logits.argmax(dim=1).cpu().numpy(), target.cpu().numpy(), strict=True)
        dice.extend(dice_per_structure(p, t, num_classes) for p, t in pairs)
    return sums_of_segmentation(np.stack(dice), patients, np.concatenate(losses))
