"""What the coordinator makes of the mean update of a round.

FedAvg: w <- w + lr * mean (McMahan et al. 2017, arXiv:1602.05629, with a server learning rate).
FedAvgM: m <- beta * m + mean; w <- w + lr * m (Hsu et al. 2019, arXiv:1909.06335, section 4.3).
FedAdam: m <- b1 * m + (1 - b1) * mean; v <- b2 * v + (1 - b2) * mean^2; w <- w + lr * m / (sqrt(v)
+ tau), without correction of the bias (Reddi et al. 2021, arXiv:2003.00295, algorithm 2).
SCAFFOLD: the step of FedAvg, and a control variate (Karimireddy et al. 2020, arXiv:1910.06378).

An optimizer changes `mean` in place into the step to add to the weights, so no model-sized buffer
is made beside its own state.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedward_common.job.job_file import StrategySection

_BLOCK = 1 << 16


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


class FedAdam:
    """Adam on the coordinator's side.

    Args:
        learning_rate: About how far a weight moves in a round.
        betas: Decay of the mean of the updates and of the mean of their squares.
        tau: Added to the root of the mean of squares, which begins at tau^2.
        num_parameters: Of the model.
    """

    def __init__(
        self, learning_rate: float, betas: tuple[float, float], tau: float, num_parameters: int
    ) -> None:
        self._learning_rate, self._tau = np.float32(learning_rate), np.float32(tau)
        self._betas = np.float32(betas[0]), np.float32(betas[1])
        self._news = np.float32(1 - betas[0]), np.float32(1 - betas[1])
        self._mean = np.zeros(num_parameters, dtype=np.float32)
        self._mean_square = np.full(num_parameters, tau**2, dtype=np.float32)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Both means."""
        return {"mean": self._mean, "mean-square": self._mean_square}

    def restore(self, state: dict[str, NDArray[np.float32]]) -> None:
        """Take over both means."""
        self._mean[:] = state["mean"]
        self._mean_square[:] = state["mean-square"]

    def turn_into_step(self, mean: NDArray[np.float32]) -> None:
        """Bring both means up to date and give their quotient, scaled."""
        scratch = np.empty(min(_BLOCK, mean.size), dtype=np.float32)
        for at in range(0, mean.size, _BLOCK):
            block = slice(at, at + _BLOCK)
            update, first, second = mean[block], self._mean[block], self._mean_square[block]
            part = scratch[: update.size]
            first *= self._betas[0]
            first += np.multiply(update, self._news[0], out=part)
            second *= self._betas[1]
            np.square(update, out=part)
            second += np.multiply(part, self._news[1], out=part)
            np.sqrt(second, out=part)
            part += self._tau
            np.divide(first, part, out=update)
            update *= self._learning_rate


class Scaffold:
    """FedAvg's step; keeps the global control variate, which the sum of a round moves."""

    def __init__(self, learning_rate: float, num_parameters: int) -> None:
        self._average = FedAvg(learning_rate)
        self.control_variate = np.zeros(num_parameters, dtype=np.float32)

    def state(self) -> dict[str, NDArray[np.float32]]:
        """The global control variate."""
        return {"control-variate": self.control_variate}

    def restore(self, state: dict[str, NDArray[np.float32]]) -> None:
        """Take over the global control variate."""
        self.control_variate[:] = state["control-variate"]

    def turn_into_step(self, mean: NDArray[np.float32]) -> None:
        """Scale in place."""
        self._average.turn_into_step(mean)


def build_server_optimizer(strategy: StrategySection, num_parameters: int) -> ServerOptimizer:
    """Make the optimizer a job names."""
    rate = strategy.learning_rate
    if strategy.name == "fedadam":
        return FedAdam(rate, (strategy.beta1, strategy.beta2), strategy.tau, num_parameters)
    if strategy.name == "scaffold":
        return Scaffold(rate, num_parameters)
    if strategy.name == "fedavgm":
        return FedAvgM(strategy.learning_rate, strategy.momentum, num_parameters)
    return FedAvg(strategy.learning_rate)
