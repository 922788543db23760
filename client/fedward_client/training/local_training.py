"""One site's work in one round: some steps from the global weights, without differential privacy.

Everything random follows from the site's seed, the round and the step, so training again after a
crash gives the same weights (bit for bit on one machine's CPU with the same number of threads).
No training loss leaves this module.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedward_client.training.augmentation import augment
from fedward_client.training.frozen_layers import freeze_layers
from fedward_client.training.gradient_terms import GradientTerms
from fedward_client.training.optimizers import build_optimizer, let_go, set_learning_rate
from fedward_client.training.patient_sampling import IntArray, ShuffledPatients, batch_size_of
from fedward_client.training.per_sample.freed_memory import keep_freed_memory
from fedward_client.training.torch_generators import seeded_dropout
from fedward_common.errors import TrainingError
from fedward_common.job.job_file import Job
from fedward_common.job.learning_rate import learning_rate_at
from fedward_common.models.losses import build_loss
from fedward_common.randomness import derive_seed

__all__ = [
    "RoundOfTraining",
    "TrainingData",
    "TrainingOutcome",
    "masks_of",
    "pick_device",
    "train_locally",
]


@dataclass(frozen=True)
class TrainingData:
    """The training split of a cohort, in the job's view.

    Attributes:
        images: Shape (num_cases, channels, *image_size); may be memory-mapped.
        masks: Class ids, shape (num_cases, *image_size), in segmentation.
        labels: Class ids, shape (num_cases,), in a multi-label task 1, 0 or `NOT_ANNOTATED`, shape
            (num_cases, num_classes); unused in segmentation.
        cases_by_patient: Positions in the arrays, one array a patient of the training split.
        partly_annotated: Whether a label or voxel of these cases may be not annotated.
    """

    images: NDArray[np.float32]
    masks: NDArray[np.uint8] | None
    labels: NDArray[np.int64] | NDArray[np.int8]
    cases_by_patient: Sequence[IntArray]
    partly_annotated: bool = False


@dataclass(frozen=True)
class RoundOfTraining:
    """Where in the run this is: rounds count from 1; `seed` is the site's own for the run.

    `correction` is SCAFFOLD's, one vector of the whole model that is added to every gradient.
    """

    round_number: int
    total_rounds: int
    seed: int
    correction: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class TrainingOutcome:
    """How much work it was; stays at the site or goes into a simulation's timings."""

    num_steps: int
    seconds_in_steps: float


@functools.cache
def pick_device() -> torch.device:
    """Give the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_locally(
    module: nn.Module,
    job: Job,
    data: TrainingData,
    round_: RoundOfTraining,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainingOutcome:
    """Train a module in place for the job's local steps.

    The learning rate follows from the global step; the optimizer is new. Torch's global generators
    are left as they were, though dropout borrows them meanwhile, so two trainings in one process
    must not run in two threads.

    Raises:
        TrainingError: `NON_FINITE`, a loss or weight became NaN or infinite (the module is
            spoiled), or `NO_TRAINING_PATIENTS`.
        ConfigurationError: `model.frozen` fits no layer.
    """
    if next(module.parameters()).device.type != device.type:
        module.to(device)
    if not module.training:  # going through all layers costs as much as a small batch
        module.train()
    keep_freed_memory()
    started = clock()
    steps = _Steps(module, job, data, round_, device)
    num_steps = job.training.local_steps
    first_step = (round_.round_number - 1) * num_steps
    total_loss = torch.zeros((), device=device)
    with seeded_dropout(derive_seed(round_.seed, "dropout", round_.round_number), device):
        for step in range(first_step, first_step + num_steps):
            total_loss += steps.take(step)
    steps.let_go()
    # The one wait for the device in a round: a NaN anywhere stays in the sum.
    steps.verify_finite(total_loss, round_.round_number)
    return TrainingOutcome(num_steps, clock() - started)


class _Steps:
    """What all steps of a round share."""

    def __init__(
        self,
        module: nn.Module,
        job: Job,
        data: TrainingData,
        round_: RoundOfTraining,
        device: torch.device,
    ) -> None:
        section = job.training
        self._module, self._section, self._device = module, section, device
        self._total_steps = round_.total_rounds * section.local_steps
        self._images = data.images
        self._has_masks = job.task.kind == "segmentation"
        self._targets = masks_of(data) if self._has_masks else data.labels
        batch_size = batch_size_of(section, len(data.cases_by_patient))
        self._patients = ShuffledPatients(data.cases_by_patient, batch_size, round_.seed)
        self._loss = build_loss(section.loss, job.task, partly_annotated=data.partly_annotated)
        self._trainable = freeze_layers(module, job.model.frozen)
        self._optimizer = build_optimizer(
            section.optimizer, self._trainable, section.optimizer.learning_rate
        )
        self._terms = GradientTerms(module, self._trainable, section, round_.correction)
        self._precision = _precision_on(device) if section.mixed_precision else torch.float32
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._precision == torch.float16)
        self._generator = torch.Generator(device)
        self._generator.manual_seed(derive_seed(round_.seed, "augment", round_.round_number))

    def take(self, step: int) -> Tensor:
        """Train on one batch; give its mean loss, on the device."""
        images, targets = self._batch(step)
        section = self._section
        rate = learning_rate_at(
            step,
            self._total_steps,
            section.local_steps,
            section.schedule,
            section.optimizer.learning_rate,
        )
        set_learning_rate(self._optimizer, rate)
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            self._device.type, self._precision, enabled=self._precision != torch.float32
        ):
            logits = self._module(images)
        loss = self._loss(logits, targets).mean()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own
        self._scaler.unscale_(self._optimizer)
        self._terms.add()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach()

    def let_go(self) -> None:
        """Free what only the steps needed."""
        let_go(self._optimizer)

    def verify_finite(self, total_loss: Tensor, round_number: int) -> None:
        """Check losses and trained weights; their common norm is finite only if every value is.

        Raises:
            TrainingError: `NON_FINITE`.
        """
        values = [total_loss, *(tensor.detach() for tensor in self._trainable)]
        if not torch.isfinite(torch.nn.utils.get_total_norm(values)):
            raise TrainingError(
                f"round {round_number}: the training loss or a weight is NaN or infinite",
                hint="lower training.optimizer.learning_rate, or switch mixed_precision off",
                code="NON_FINITE",
            )

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        cases = self._patients.batch(step)
        images = torch.from_numpy(self._images[cases]).to(self._device)
        targets = torch.from_numpy(self._targets[cases]).to(self._device)
        masks = targets if self._has_masks else None
        images, masks = augment(images, masks, self._section.augmentation, self._generator)
        return images, (targets if masks is None else masks).long()


def masks_of(data: TrainingData) -> NDArray[np.uint8]:
    """Give the masks of a segmentation's cases.

    Raises:
        TrainingError: `NO_MASKS`.
    """
    if data.masks is None:
        raise TrainingError(
            "the training data has no masks, which segmentation needs",
            hint="register masks with the cohort",
            code="NO_MASKS",
        )
    return data.masks


def _precision_on(device: torch.device) -> torch.dtype:
    """Half precision with the widest range the device computes in."""
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16
