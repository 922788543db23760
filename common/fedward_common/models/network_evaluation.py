"""A network's evaluation on labelled images, as sums that merge: a site's own, or public ones.

No augmentation, no dropout. A batch is bounded by its pixels, so memory does not grow with the
number of images.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fedward_common.evaluation.cases import dice_per_structure
from fedward_common.evaluation.sums import (
    Sums,
    sums_of_classification,
    sums_of_multi_label,
    sums_of_segmentation,
)
from fedward_common.job.job_file import Job
from fedward_common.models.losses import LossPerTarget, build_finding_loss, build_loss

# Bounds the memory of one forward pass: about this many pixels of input at once.
_PIXELS_AT_ONCE = 1 << 18

Places = NDArray[np.int64]


class LabelledImages(Protocol):
    """Images as the model takes them, and what is true of them."""

    @property
    def images(self) -> NDArray[np.float32]:
        """Shape (n, channels, *image_size)."""

    @property
    def masks(self) -> NDArray[np.uint8] | None:
        """Class ids or `NOT_ANNOTATED_VOXEL`, shape (n, *image_size); None in classification."""

    @property
    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        """Class ids, shape (n,); multi-label 1, 0 or `NOT_ANNOTATED`, (n, num_classes)."""

    @property
    def num_partly_annotated(self) -> int:
        """Number of images with any label or voxel that is not annotated."""


def evaluate_cases(
    module: torch.nn.Module,
    job: Job,
    labelled: LabelledImages,
    cases: Places,
    patients: Places,
    device: torch.device,
) -> Sums:
    """Evaluate a module, which is on `device`, on some annotated images.

    Args:
        module: Set to evaluate by this.
        job: Task and loss.
        labelled: All images.
        cases: Places of those that count, at least one.
        patients: A number for each of `cases`; the same for images of one patient.
        device: Where the module is.

    Returns:
        Sums over patients.

    Raises:
        UnusableUpdateError: The network's output is not finite.
    """
    module.eval()
    with torch.inference_mode():
        if job.task.kind == "segmentation":
            return _segmentation(module, job, labelled, cases, patients, device)
        if job.task.multi_label:
            return _multi_label(module, job, labelled, cases, patients, device)
        return _classification(module, job, labelled, cases, patients, device)


def logits_of(
    module: torch.nn.Module, labelled: LabelledImages, cases: Places, device: torch.device
) -> torch.Tensor:
    """Give logits of some images, on the device they are computed on."""
    images = torch.from_numpy(np.ascontiguousarray(labelled.images[cases])).to(device)
    logits: torch.Tensor = module(images).float()
    return logits


def _judged_batches(
    module: torch.nn.Module,
    loss_of: LossPerTarget,
    labelled: LabelledImages,
    cases: Places,
    truth: NDArray[np.int64] | NDArray[np.int8] | NDArray[np.uint8],
    device: torch.device,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, NDArray[np.float64]]]:
    """Yield logits, target and the losses of each case, a batch of `cases` at a time."""
    size = max(1, _PIXELS_AT_ONCE // int(np.prod(labelled.images.shape[1:])))
    for at in range(0, len(cases), size):
        batch = cases[at : at + size]
        logits = logits_of(module, labelled, batch, device)
        target = torch.from_numpy(truth[batch].astype(np.int64)).to(device)
        yield logits, target, loss_of(logits, target).double().cpu().numpy()


def _classification(
    module: torch.nn.Module,
    job: Job,
    labelled: LabelledImages,
    cases: Places,
    patients: Places,
    device: torch.device,
) -> Sums:
    loss_of = build_loss(job.training.loss, job.task)
    labels = labelled.labels
    probabilities, losses = [], []
    for logits, _, loss in _judged_batches(module, loss_of, labelled, cases, labels, device):
        losses.append(loss)
        probabilities.append(logits.double().softmax(dim=1).cpu().numpy())
    return sums_of_classification(
        np.concatenate(probabilities), labels[cases], patients, np.concatenate(losses)
    )


def _multi_label(
    module: torch.nn.Module,
    job: Job,
    labelled: LabelledImages,
    cases: Places,
    patients: Places,
    device: torch.device,
) -> Sums:
    loss_of = build_finding_loss(job.training.loss)
    labels = labelled.labels
    probabilities, losses = [], []
    for logits, _, loss in _judged_batches(module, loss_of, labelled, cases, labels, device):
        losses.append(loss)
        probabilities.append(logits.double().sigmoid().cpu().numpy())
    return sums_of_multi_label(
        np.concatenate(probabilities), labels[cases], patients, np.concatenate(losses)
    )


def _segmentation(
    module: torch.nn.Module,
    job: Job,
    labelled: LabelledImages,
    cases: Places,
    patients: Places,
    device: torch.device,
) -> Sums:
    masks = labelled.masks
    if masks is None:
        raise ValueError("images of a segmentation have masks")
    num_classes = len(job.task.classes)
    partly = labelled.num_partly_annotated > 0
    loss_of = build_loss(job.training.loss, job.task, partly_annotated=partly)
    dice: list[NDArray[np.float64]] = []
    losses = []
    for logits, target, loss in _judged_batches(module, loss_of, labelled, cases, masks, device):
        losses.append(loss)
        pairs = zip(logits.argmax(dim=1).cpu().numpy(), target.cpu().numpy(), strict=True)
        dice.extend(dice_per_structure(p, t, num_classes) for p, t in pairs)
    return sums_of_segmentation(np.stack(dice), patients, np.concatenate(losses))
