"""One site's part in a step whose noise all sites share.

The patients are drawn, their gradients clipped and added up as in training with noise of a site's
own; but no noise is added to the float sum and no step is taken. The sum becomes whole numbers
with this site's share of the noise, which is all that leaves.

What is never trained (frozen layers) is 0 in every share: it depends on nobody, so it needs no
noise, and noise there would move weights that the job keeps as they are.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedward_client.training.frozen_layers import freeze_layers
from fedward_client.training.local_training import TrainingData
from fedward_client.training.per_sample.clipped_sums import ClippedSums, Gradients
from fedward_client.training.per_sample.clipping import PatientClipping
from fedward_client.training.per_sample.drawn_patients import PatientDraws
from fedward_client.training.per_sample.freed_memory import keep_freed_memory
from fedward_client.training.private_training import require_private_module
from fedward_client.training.torch_generators import hidden_seed, seeded_dropout
from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job
from fedward_common.privacy.joint_mechanism import JointConstants, encode
from fedward_common.privacy.noise_source import NoiseSource

# Clipping rounds in float32 and may lift a norm by a factor of 1 + 1e-5; the bound C must hold.
_WITHIN_THE_NORM = 1.0 - 1e-5


@dataclass(frozen=True)
class JointShare:
    """What leaves, and how long it took, which stays.

    Attributes:
        values: Shape (num_parameters,), int64: numbers of the ring, by their bits.
        seconds_in_steps: Of the one step.
    """

    values: NDArray[np.int64] = field(repr=False)
    seconds_in_steps: float


def joint_share(
    module: nn.Module,
    job: Job,
    constants: JointConstants,
    data: TrainingData,
    noise: NoiseSource,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> JointShare:
    """Draw patients, add up their clipped gradients, and encode the sum with a share of noise.

    The module's weights stay as they are. A step that draws nobody is a step like any other.

    Raises:
        TrainingError: `LAYER_MIXES_PATIENTS`, `NO_TRAINING_PATIENTS` or `OUT_OF_MEMORY`.
        ConfigurationError: `model.frozen` fits no layer, or the job has no sampling rate.
    """
    started = clock()
    total, is_trained = _clipped_sum(module, job, constants, data, noise, device)
    share = encode(constants, total, noise)
    share[~is_trained] = 0
    return JointShare(share.view(np.int64), clock() - started)


def _clipped_sum(
    module: nn.Module,
    job: Job,
    constants: JointConstants,
    data: TrainingData,
    noise: NoiseSource,
    device: torch.device,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Give the sum without noise, and which places are trained at all."""
    if job.training.sampling_rate is None:
        raise ConfigurationError(
            "training.sampling_rate is missing", hint="the joint mechanism has one for all sites"
        )
    require_private_module(module)
    module.to(device).train()
    keep_freed_memory()
    freeze_layers(module, job.model.frozen)
    module.zero_grad(set_to_none=True)
    clipping = PatientClipping(module)
    views = job.privacy.augmentation_multiplicity
    sums = ClippedSums(module, clipping, job, views, data, device)
    drawn = PatientDraws(data).draw(job.training.sampling_rate, noise)
    with clipping, seeded_dropout(hidden_seed(noise), device):
        gradients, _ = sums.of(drawn, constants.clipping_norm * _WITHIN_THE_NORM)
    return _flat(module, gradients, constants.num_parameters)


def _flat(
    module: nn.Module, gradients: Gradients, num_parameters: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Lay the sums side by side as `ModuleWeights` does the weights: parameters, then buffers."""
    total = np.zeros(num_parameters, dtype=np.float32)
    is_trained = np.zeros(num_parameters, dtype=np.bool_)
    begin = 0
    for tensor in chain(module.parameters(), module.buffers()):
        place = slice(begin, begin + tensor.numel())
        begin = place.stop
        is_trained[place] = tensor.requires_grad
        if isinstance(tensor, nn.Parameter) and tensor in gradients:
            total[place] = gradients[tensor].detach().cpu().numpy().reshape(-1)
    return total, is_trained
