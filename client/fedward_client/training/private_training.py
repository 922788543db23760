"""One site's work in one round with differential privacy for each patient: DP-SGD in full.

A step draws every patient independently, takes one image of each drawn patient, averages its
views' gradients, clips the patient's gradient over all trainable parameters, adds the drawn
patients up, adds normal noise to the sum, and divides by the expected number of patients, never by
the drawn one. A step that draws nobody is a step like any other.

What comes after the noise costs nothing more: penalties, proximal term, control variates,
optimizer, weights. Nothing else may leave: no loss, count or norm of a step is returned, logged, or
raised as an error. The noise source is all the randomness there is; the run's seed is not looked
at.

Source: Abadi et al. 2016, arXiv:1607.00133, algorithm 1; views as De et al. 2022, arXiv:2204.13650.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from fedward_client.noise_place import NoisePlace
from fedward_client.training.device_noise import SumNoise, sum_noise_at
from fedward_client.training.frozen_layers import freeze_layers
from fedward_client.training.gradient_terms import GradientTerms
from fedward_client.training.local_training import RoundOfTraining, TrainingData
from fedward_client.training.optimizers import build_optimizer, let_go, set_learning_rate
from fedward_client.training.per_sample.adaptive_clipping import (
    gradient_noise_multiplier,
    next_clipping_norm,
)
from fedward_client.training.per_sample.clipped_sums import ClippedSums, Gradients
from fedward_client.training.per_sample.clipping import PatientClipping
from fedward_client.training.per_sample.drawn_patients import PatientDraws
from fedward_client.training.per_sample.freed_memory import keep_freed_memory
from fedward_client.training.per_sample.layer_rules import unfit_layers
from fedward_client.training.torch_generators import (
    borrowed_generators,
    hidden_seed,
    seed_generators,
)
from fedward_common.errors import ConfigurationError, PrivacyError, TrainingError
from fedward_common.job.job_file import Job
from fedward_common.job.learning_rate import learning_rate_at
from fedward_common.job.privacy_section import PrivacySection
from fedward_common.privacy.noise_source import NoiseSource

__all__ = ["PrivateOutcome", "PrivateRound", "require_private_module", "train_privately"]

_VALUES_NOISED_TOGETHER = 1 << 17


@dataclass(frozen=True)
class PrivateRound:
    """What the ledger has admitted for each step of the round.

    Attributes:
        noise_multiplier: Standard deviation of the noise over the clipping norm; with adaptive
            clipping that of gradient and count together.
        sampling_rate: Probability of each patient in a step, above 0, at most 1.
        clipping_norm: L2 bound of a patient's gradient; where adaptive clipping stands now.
        num_patients: Of which `sampling_rate` is the expected share; None takes those of the data.
            A run keeps the number it was accepted with, so that no divisor shows who withdrew.
        noise_drawn_on: "device" takes the weaker noise of the GPU for the gradients' sums.
    """

    noise_multiplier: float
    sampling_rate: float
    clipping_norm: float
    num_patients: int | None = None
    noise_drawn_on: NoisePlace = "cpu"

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "sampling_rate", "clipping_norm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise PrivacyError(f"{name} is {value}, a finite number above 0 is needed")
        if self.sampling_rate > 1:
            raise PrivacyError(f"sampling_rate is {self.sampling_rate}, at most 1 is possible")


@dataclass(frozen=True)
class PrivateOutcome:
    """How much work it was, and where adaptive clipping stands; the time stays at the site."""

    num_steps: int
    seconds_in_steps: float
    clipping_norm: float


def require_private_module(module: nn.Module) -> None:
    """Refuse a module whose patients' gradients cannot be told apart.

    Raises:
        TrainingError: `LAYER_MIXES_PATIENTS`, with the first such layer's name.
    """
    for layer, reason in unfit_layers(module):
        raise TrainingError(
            f"layer {layer} {reason}, so it cannot be trained with differential privacy",
            hint="use group norm, and layers of a registered kind",
            code="LAYER_MIXES_PATIENTS",
        )


def train_privately(
    module: nn.Module,
    job: Job,
    privacy: PrivacySection,
    data: TrainingData,
    round_: RoundOfTraining,
    private: PrivateRound,
    noise: NoiseSource,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> PrivateOutcome:
    """Train a module in place for the job's local steps.

    The optimizer is new and the learning rate follows from the global step, as in training without
    privacy. A patient whose gradient is not finite counts as zero, in silence. Torch's global
    generators are left as they were, though dropout borrows them meanwhile, so two trainings in one
    process must not run in two threads.

    Raises:
        TrainingError: `LAYER_MIXES_PATIENTS`; `NO_TRAINING_PATIENTS`; `OUT_OF_MEMORY`; or
            `NON_FINITE`, a weight is NaN or infinite, as anyone sees who gets the weights.
        ConfigurationError: `training.mixed_precision` is on, or `model.frozen` fits no layer.
        PrivacyError: The noise of adaptive clipping's count is too small; or `NOISE_DEVICE`, noise
            is to be drawn on a device that is not CUDA.
    """
    if job.training.mixed_precision:
        raise ConfigurationError(
            "training.mixed_precision is on, which private training does not offer",
            hint="leave it out: a norm in half precision is no bound",
        )
    require_private_module(module)
    module.to(device).train()
    keep_freed_memory()
    started = clock()
    steps = _PrivateSteps(module, job, privacy, data, round_, private, noise, device)
    num_steps = job.training.local_steps
    first_step = (round_.round_number - 1) * num_steps
    with steps.clipping, borrowed_generators(device):
        for step in range(first_step, first_step + num_steps):
            steps.take(step, round_.total_rounds * num_steps)
    steps.let_go()
    _verify_finite(steps.trainable, round_.round_number)
    return PrivateOutcome(num_steps, clock() - started, steps.clipping_norm)


class _PrivateSteps:
    """What all steps of a round share."""

    def __init__(
        self,
        module: nn.Module,
        job: Job,
        privacy: PrivacySection,
        data: TrainingData,
        round_: RoundOfTraining,
        private: PrivateRound,
        noise: NoiseSource,
        device: torch.device,
    ) -> None:
        self._section, self._adaptive = job.training, privacy.adaptive_clipping
        self._noise, self._rate, self._device = noise, private.sampling_rate, device
        self._sum_noise: SumNoise = sum_noise_at(private.noise_drawn_on, noise, device)
        self._multiplier = private.noise_multiplier
        if self._adaptive.enabled:
            self._multiplier = gradient_noise_multiplier(
                private.noise_multiplier, self._adaptive.count_noise_multiplier
            )
        self.clipping_norm = private.clipping_norm
        self._draws = PatientDraws(data)
        num_patients = private.num_patients or self._draws.num_patients
        self._expected_patients = private.sampling_rate * num_patients
        self.trainable = freeze_layers(module, job.model.frozen)
        self._terms = GradientTerms(module, self.trainable, job.training, round_.correction)
        self._noised_together = _in_groups(self.trainable)
        module.zero_grad(set_to_none=True)
        self.clipping = PatientClipping(module)
        views = privacy.augmentation_multiplicity
        self._sums = ClippedSums(module, self.clipping, job, views, data, device)
        self._optimizer = build_optimizer(
            self._section.optimizer, self.trainable, self._section.optimizer.learning_rate
        )

    def take(self, step: int, total_steps: int) -> None:
        """Take one noisy step, whoever was drawn."""
        drawn = self._draws.draw(self._rate, self._noise)
        seed_generators(hidden_seed(self._noise), self._device)
        clipping_norm = self.clipping_norm
        sums, num_within = self._sums.of(drawn, clipping_norm)
        self._set_noisy_gradients(sums, self._multiplier * clipping_norm)
        if self._adaptive.enabled:
            count = np.array([num_within - drawn.num_patients / 2], dtype=np.float32)
            self._noise.add_normal_to(count, self._adaptive.count_noise_multiplier)
            self.clipping_norm = next_clipping_norm(
                clipping_norm, float(count[0]), self._expected_patients, self._adaptive
            )
        self._step_optimizer(step, total_steps)

    def let_go(self) -> None:
        """Free what only the steps needed."""
        let_go(self._optimizer)

    def _set_noisy_gradients(self, sums: Gradients, standard_deviation: float) -> None:
        for group in self._noised_together:
            totals = [sums.pop(p) if p in sums else torch.zeros_like(p) for p in group]
            flat = _flattened([total.detach() for total in totals])
            flat = self._sum_noise.added_to(flat, standard_deviation).div_(self._expected_patients)
            parts = torch.split(flat, [parameter.numel() for parameter in group])
            for parameter, part in zip(group, parts, strict=True):
                parameter.grad = part.view_as(parameter)

    def _step_optimizer(self, step: int, total_steps: int) -> None:
        section = self._section
        rate = learning_rate_at(
            step,
            total_steps,
            section.local_steps,
            section.schedule,
            section.optimizer.learning_rate,
        )
        set_learning_rate(self._optimizer, rate)
        self._terms.add()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def _in_groups(parameters: list[Parameter]) -> list[list[Parameter]]:
    """Gather small parameters: each call for noise has a fixed cost."""
    groups: list[list[Parameter]] = [[]]
    for parameter in parameters:
        if sum(p.numel() for p in groups[-1]) + parameter.numel() > _VALUES_NOISED_TOGETHER:
            groups.append([])
        groups[-1].append(parameter)
    return [group for group in groups if group]


def _flattened(tensors: list[Tensor]) -> Tensor:
    if len(tensors) == 1:
        return tensors[0].reshape(-1)
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _verify_finite(trainable: list[Parameter], round_number: int) -> None:
    weights: list[Tensor] = [tensor.detach() for tensor in trainable]
    if not torch.isfinite(torch.nn.utils.get_total_norm(weights)):
        raise TrainingError(
            f"round {round_number}: a weight is NaN or infinite",
            hint="lower training.optimizer.learning_rate",
            code="NON_FINITE",
        )
