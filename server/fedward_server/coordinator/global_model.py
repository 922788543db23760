"""The global weights and the running sum of a round: two model-sized buffers, however many sites.

The weights are kept as the very bytes that are sent, so sending makes no copy; the sum of one round
is also the scratch space of its commit, and there is none before the first update and after the
commit. Beside them live only the optimizer's state and, where the job asks for it, the moving
average; a commit that may be undone needs the state before it beside them. Updates are added in the
order they are given; the round loop takes sites in the order of their names, so a result does not
depend on who was faster.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import UnusableUpdateError
from fedward_server.optimizers import ServerOptimizer

_BLOCK = 1 << 16

# No weight of a usable model moves further in a round. Without a bound one site's finite update
# could make the sum overflow, which would end the run for all.
MAX_CHANGE = np.float32(1e6)


@dataclass(frozen=True)
class ModelState:
    """All that a commit changes, as it was before one."""

    weights: bytes
    averaged: bytes | None
    optimizer: Mapping[str, NDArray[np.float32]]
    round: int


def require_usable(vector: NDArray[np.float32], what: str) -> None:
    """Refuse a vector of one site that would spoil what it is added to.

    Raises:
        UnusableUpdateError: A value is NaN, infinite or beyond 1e6.
    """
    # A NaN anywhere is the least and the greatest, and compares as neither.
    if not (vector.min() >= -MAX_CHANGE and vector.max() <= MAX_CHANGE):
        raise UnusableUpdateError(f"{what} holds NaN, infinity or a value beyond 1e6")


class GlobalModel:
    """Weights, optional moving average, and the sum of the round under way.

    Args:
        weights: Initial weights, float32, finite.
        optimizer: Turns a round's mean update into a step.
        ema_decay: 0 keeps no moving average.
    """

    def __init__(self, weights: bytes, optimizer: ServerOptimizer, ema_decay: float) -> None:
        self.weights = weights
        self.averaged: bytes | None = weights if ema_decay > 0 else None
        self.optimizer = optimizer
        self.round = 0
        self._ema_decay = ema_decay
        self._num_parameters = len(weights) // 4
        self._sum: NDArray[np.float32] | None = None
        self._scratch = np.empty(_BLOCK, dtype=np.float32)
        self._total_weight = 0.0

    @property
    def evaluated(self) -> bytes:
        """What is evaluated and released: the moving average where there is one."""
        return self.weights if self.averaged is None else self.averaged

    def begin_round(self) -> None:
        """Forget whatever an attempt left in the sum."""
        self._sum = None
        self._total_weight = 0.0

    def add(self, update: NDArray[np.float32], weight: float) -> None:
        """Add one site's weighted update.

        Raises:
            UnusableUpdateError: A value is NaN, infinite or beyond 1e6; nothing was added.
        """
        update = update.view(np.ndarray)  # numpy asks a subclass at each step what it overrides
        require_usable(update, "an update")
        if self._sum is None:
            self._sum = self._empty_sum()
        for at in range(0, update.size, _BLOCK):
            block = slice(at, at + _BLOCK)
            part = self._scratch[: update[block].size]
            np.multiply(update[block], np.float32(weight), out=part)
            self._sum[block] += part
        self._total_weight += weight

    def _empty_sum(self) -> NDArray[np.float32]:
        return np.zeros(self._num_parameters, dtype=np.float32)

    def take_sum(
        self,
        weighted_sum: NDArray[np.float32],
        total_weight: float,
        *,
        mean_norm_limit: float = 0.0,
    ) -> None:
        """Take the sum of all weighted updates, where it comes as one.

        Args:
            weighted_sum: Shape (num_parameters,); the model's own from now on, without a copy.
            total_weight: Sum of the weights in it.
            mean_norm_limit: L2 norm that the mean update may have; 0 takes any.

        Raises:
            UnusableUpdateError: A value is NaN, infinite or beyond 1e6 a unit of weight; or, with
                code `MEAN_NORM_TOO_LARGE`, the mean is too long. Nothing was taken.
        """
        if mean_norm_limit:
            _require_norm(weighted_sum, mean_norm_limit * total_weight)
        most = MAX_CHANGE * np.float32(total_weight)
        if not (weighted_sum.min() >= -most and weighted_sum.max() <= most):
            raise UnusableUpdateError("a sum holds NaN, infinity or a value beyond 1e6")
        self._sum = weighted_sum
        self._total_weight = total_weight

    def commit_round(self) -> None:
        """Make the next global weights of the sum.

        Raises:
            UnusableUpdateError: The result is not finite; the weights stay as they were.
        """
        step = self._empty_sum() if self._sum is None else self._sum
        self._sum = None
        with np.errstate(over="ignore", invalid="ignore"):
            step *= np.float32(1 / self._total_weight)
            self.optimizer.turn_into_step(step)
            step += np.frombuffer(self.weights, dtype=np.float32)
        if not np.isfinite(step).all():
            raise UnusableUpdateError(
                "the sum of the updates is not finite", hint="lower the learning rates"
            )
        self.round += 1
        self.weights = b""  # freed before its successor is made
        self.weights = step.tobytes()
        if self.averaged is not None:
            self._move_average(step)

    def _move_average(self, scratch: NDArray[np.float32]) -> None:
        # The decay grows from 0.18 to its value, so early weights do not linger (as in TensorFlow's
        # ExponentialMovingAverage with num_updates).
        decay = min(self._ema_decay, (1 + self.round) / (10 + self.round))
        previous = self.averaged or b""
        scratch *= np.float32(1 - decay)
        average = np.frombuffer(previous, dtype=np.float32)
        for at in range(0, scratch.size, _BLOCK):
            block = slice(at, at + _BLOCK)
            part = self._scratch[: scratch[block].size]
            np.multiply(average[block], np.float32(decay), out=part)
            scratch[block] += part
        del average, previous  # freed before its successor is made
        self.averaged = b""
        self.averaged = scratch.tobytes()

    def state(self) -> ModelState:
        """Give the state that `go_back_to` takes; later commits do not change it."""
        optimizer = {name: vector.copy() for name, vector in self.optimizer.state().items()}
        return ModelState(self.weights, self.averaged, optimizer, self.round)

    def go_back_to(self, state: ModelState) -> None:
        """Undo the commits since `state` was given."""
        self.weights, self.averaged, self.round = state.weights, state.averaged, state.round
        self.optimizer.restore(dict(state.optimizer))

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Give every vector a checkpoint must hold, without a copy."""
        named = {"weights": np.frombuffer(self.weights, dtype=np.float32)}
        if self.averaged is not None:
            named["averaged"] = np.frombuffer(self.averaged, dtype=np.float32)
        return named | {f"optimizer.{k}": v for k, v in self.optimizer.state().items()}

    def restore(self, tensors: dict[str, NDArray[np.float32]], round_number: int) -> None:
        """Take over, and empty, what `tensors` gave at the end of `round_number`."""
        keeps_average = self.averaged is not None
        self.weights, self.averaged = b"", None  # freed before their successors are made
        self.weights = tensors.pop("weights").tobytes()
        if keeps_average:
            self.averaged = tensors.pop("averaged").tobytes()
        prefix = "optimizer."
        state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        self.optimizer.restore(state)
        self.round = round_number


def _require_norm(vector: NDArray[np.float32], most: float) -> None:
    """Check an L2 norm, added up in float64 a block at a time."""
    squares = 0.0
    for at in range(0, vector.size, _BLOCK):
        block = vector[at : at + _BLOCK].astype(np.float64)
        squares += float(block @ block)
    if not math.sqrt(squares) <= most:
        raise UnusableUpdateError(
            "the mean update is longer than secure_aggregation.mean_norm_limit",
            hint="raise the limit if rounds without any fault are left out as well",
            code="MEAN_NORM_TOO_LARGE",
        )
