"""A noise source under a test's control, and patients to train on."""

import builtins
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedward_client.training.local_training import RoundOfTraining, TrainingData
from fedward_client.training.private_training import PrivateOutcome, PrivateRound, train_privately
from fedward_common.job.job_file import Job
from fedward_common.models.flat_vector import FlatWeights, flat_from_module
from fedward_common.models.registry import initial_module
from fedward_common.privacy.noise_source import NoiseSource

FIRST = RoundOfTraining(round_number=1, total_rounds=4, seed=11)
EVERYBODY = PrivateRound(noise_multiplier=1.0, sampling_rate=1.0, clipping_norm=1.0)
CPU = torch.device("cpu")


class QuietNoise:
    """Adds nothing and writes down what it was asked for.

    Attributes:
        drawn: If set, positions of the patients of every step; each with its middle image.
        deviations: Of the values that noise was asked for, one for each value.
    """

    is_private = False

    def __init__(self, drawn: list[int] | None = None, seed: int = 0) -> None:
        self.drawn, self.deviations = drawn, list[tuple[int, float]]()
        self._random = np.random.default_rng(seed)
        self._draws_patients = True

    def normal(self, num_values: int) -> NDArray[np.float32]:
        return np.zeros(num_values, dtype=np.float32)

    def normal_into(self, out: NDArray[np.float32]) -> None:
        out[...] = 0

    def add_normal_to(self, values: NDArray[np.float32], standard_deviation: float) -> None:
        self.deviations.append((values.size, standard_deviation))

    def uniform(self, num_values: int) -> NDArray[np.float64]:
        # Called twice a step: who is drawn, then which image of each.
        asks_for_patients, self._draws_patients = self._draws_patients, not self._draws_patients
        if self.drawn is None:
            return self._random.random(num_values)
        if not asks_for_patients:
            return np.full(num_values, 0.5)
        values = np.full(num_values, 1.0 - 2.0**-53)
        values[self.drawn] = 0.0
        return values

    def bytes(self, num_bytes: int) -> builtins.bytes:
        return self._random.bytes(num_bytes)


def patients(
    num_patients: int = 12, size: tuple[int, ...] = (12, 16), images_each: int = 1
) -> TrainingData:
    """Make patients of two classes, bright in one half or the other."""
    random = np.random.default_rng(4)
    num_images = num_patients * images_each
    labels = np.arange(num_images) // images_each % 2
    images = random.normal(0, 0.3, (num_images, 1, *size)).astype(np.float32)
    masks = np.zeros((num_images, *size), dtype=np.uint8)
    half = size[-1] // 2
    masks[labels == 1, ..., :half] = 1
    masks[labels == 0, ..., half:] = 1
    images[:, 0] += 2 * masks
    cases = np.split(np.arange(num_images), num_patients)
    return TrainingData(images, masks, labels.astype(np.int64), cases)


def trained(
    job: Job,
    data: TrainingData,
    noise: NoiseSource,
    private: PrivateRound = EVERYBODY,
    round_: RoundOfTraining = FIRST,
    module: nn.Module | None = None,
) -> FlatWeights:
    """Give the weights after training from the same first weights."""
    module = initial_module(job, 3) if module is None else module
    train_privately(module, job, job.privacy, data, round_, private, noise, CPU)
    return flat_from_module(module)


def outcome_of(job: Job, data: TrainingData, noise: NoiseSource, **more: Any) -> PrivateOutcome:
    """Give what training returns."""
    module = initial_module(job, 3)
    private = more.pop("private", EVERYBODY)
    return train_privately(module, job, job.privacy, data, FIRST, private, noise, CPU, **more)


def first_weights(job: Job) -> FlatWeights:
    """Give the weights that `trained` starts from."""
    return flat_from_module(initial_module(job, 3))
