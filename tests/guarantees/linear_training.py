"""One linear layer, trained privately from zeros; and noise sources with a fault."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tests.tiny_federation import SIDE, tiny_job
from torch import nn

from fedward_client.training.local_training import RoundOfTraining, TrainingData
from fedward_client.training.private_training import PrivateRound, train_privately
from fedward_common.job.job_file import Job
from fedward_common.privacy.noise_source import NoiseSource, SeededNoise

LEARNING_RATE = 0.5
PRIVATE = ("privacy.mechanism=per-site", "privacy.epsilon=4.0", "privacy.delta=1e-4")


class CountingNoise(SeededNoise):
    """Counts the sums that got noise."""

    num_sums = 0

    def add_normal_to(self, values: NDArray[np.float32], standard_deviation: float) -> None:
        self.num_sums += 1
        super().add_normal_to(values, standard_deviation)


class NoNoise(SeededNoise):
    def add_normal_to(self, values: NDArray[np.float32], standard_deviation: float) -> None:
        """Leave the sum as it is."""


class NoiseOfTheFirstSum(CountingNoise):
    def add_normal_to(self, values: NDArray[np.float32], standard_deviation: float) -> None:
        self.num_sums += 1
        if self.num_sums == 1:
            SeededNoise.add_normal_to(self, values, standard_deviation)


def private_job(*overrides: str) -> Job:
    sgd = ("training.optimizer.name=sgd", f"training.optimizer.learning_rate={LEARNING_RATE}")
    return tiny_job(overrides=(*PRIVATE, *sgd, *overrides))


def linear_model(*before: nn.Module) -> nn.Sequential:
    linear = nn.Linear(SIDE * SIDE, 2)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Flatten(), *before, linear)


def trained(
    noise: NoiseSource,
    private: PrivateRound,
    cases_by_patient: Sequence[NDArray[np.int64]],
    *,
    num_steps: int = 1,
    brightness: float = 0.0,
    module: nn.Module | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Train from zeros for one round; give the last layer's weight and bias."""
    num_images = sum(map(len, cases_by_patient))
    images = np.full((num_images, 1, SIDE, SIDE), brightness, dtype=np.float32)
    data = TrainingData(images, None, np.ones(num_images, dtype=np.int64), cases_by_patient)
    job = private_job(f"training.local_steps={num_steps}")
    module = module or linear_model()
    where = RoundOfTraining(round_number=1, total_rounds=4, seed=7)
    train_privately(module, job, job.privacy, data, where, private, noise, torch.device("cpu"))
    weight, bias = list(module.parameters())[-2:]
    return weight.detach().numpy(), bias.detach().numpy()


def one_image_each(num_patients: int) -> list[NDArray[np.int64]]:
    return [np.array([place]) for place in range(num_patients)]
