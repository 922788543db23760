"""What the coordinator makes of the mean update of a round.

FedAvg: w <- w + lr * mean (McMahan et al. 2017, arXiv:1602.05629, with a server learning rate).
FedAvgM: m <- beta * m + mean; w <- w + lr * m (Hsu et al. 2019, arXiv:1909.06335, section 4.3).

An optimizer changes `mean` in place into the step to add to the weights, so no model-sized buffer
is made beside its own state.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedward_common.job.job_file import StrategySection


class ServerOptimizer(Protocol):
    """State and rule of one run."""

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Give the named vectors a checkpoint must hold."""
        ...

    def restore(self, state: dict[str, NDArray[np.float32]]) -> None:
        """Take over vectors that `state` gave."""
        ...

    def turn_into_step(self, mean: NDArray[np.float32]) -> None:
        """Turn the mean update, in place, into the step to add to the weights."""
        ...


class FedAvg:
    """The mean update times the server learning rate; no state."""

    def __init__(self, learning_rate: float) -> None:
        self._learning_rate = np.float32(learning_rate)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, NDArray[np.float32]]) -> None:
        """Nothing to take over."""

    def turn_into_step(self, mean: NDArray[np.float32]) -> None:
        """Scale in place."""
        if self._learning_rate != 1:
            mean *= self._learning_rate


class FedAvgM:
    """FedAvg with momentum on the coordinator's side."""

    def __init__(self, learning_rate: float, momentum: float, num_parameters: int) -> None:
        self._learning_rate = np.float32(learning_rate)
        self._beta = np.float32(momentum)
        self._momentum = np.zeros(num_parameters, dtype=np.float32)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """The momentum."""
        return {"momentum": self._momentum}

    def restore(self, state: dict[str, NDArray[np.float32]]) -> None:
        """Take over the momentum."""
        self._momentum[:] = state["momentum"]

    def turn_into_step(self, mean: NDArray[np.float32]) -> None:
        """Add the mean to the momentum and give the momentum, scaled."""
        self._momentum *= self._beta
        self._momentum += mean
        np.multiply(self._momentum, self._learning_rate, out=mean)


def build_server_optimizer(strategy: StrategySection, num_parameters: int) -> ServerOptimizer:
    """Make the optimizer a job names."""
    if strategy.name == "fedavgm":
        return FedAvgM(strategy.learning_rate, strategy.momentum, num_parameters)
    return FedAvg(strategy.learning_rate)
