"""What a gate decides from figures alone; a rejected round leaves no trace in the model."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward_common.errors import ConfigurationError
from fedward_common.wire.contribution import ContributionVector
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.hold_out_gate import HoldOutGate, NoGate, ValueOf
from fedward_server.coordinator.round_sum import UpdateSum
from fedward_server.optimizers import FedAdam, FedAvg, FedAvgM, Scaffold, ServerOptimizer

Vector = NDArray[np.float32]
START = np.array([1.0, -2.0, 0.5], dtype=np.float32)
UPDATE = ContributionVector("update", 3, "float32")

OPTIMIZERS: dict[str, Callable[[], ServerOptimizer]] = {
    "fedavg": lambda: FedAvg(0.5),
    "fedavgm": lambda: FedAvgM(0.5, 0.9, 3),
    "fedadam": lambda: FedAdam(0.1, (0.9, 0.99), 1e-3, 3),
}


def of_values(*values: float | None) -> ValueOf:
    """Give these figures, one after the other, whatever the weights."""
    left: Iterator[float | None] = iter(values)
    return lambda weights: next(left)


def model_with(optimizer: ServerOptimizer) -> GlobalModel:
    return GlobalModel(START.tobytes(), optimizer, 0.5)


def one_round(gate: HoldOutGate | NoGate, model: GlobalModel, update: list[float]) -> bool:
    """Commit one round of one site; say whether it was rejected."""
    total = UpdateSum(model, UPDATE)
    total.clear()
    total.add({"update": np.array(update, dtype=np.float32)}, 1.0)
    verdict = gate.commit(total, model, model.round + 1)
    return verdict is not None and verdict.is_rejected


def everything_of(model: GlobalModel) -> dict[str, list[float]]:
    return {name: vector.tolist() for name, vector in model.tensors().items()} | {
        "round": [model.round]
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_rejected_round_leaves_weights_average_and_optimizer_as_if_it_had_not_been(
    optimizer: Callable[[], ServerOptimizer],
) -> None:
    model, other = model_with(optimizer()), model_with(optimizer())
    gate = HoldOutGate("auc", 0.1, of_values(0.5, 0.7, 0.2, 0.8), START.tobytes())
    assert not one_round(gate, model, [0.1, 0.2, 0.3])
    assert one_round(gate, model, [-5.0, 7.0, 100.0])
    assert not one_round(gate, model, [0.2, -0.1, 0.0])
    one_round(NoGate(), other, [0.1, 0.2, 0.3])
    one_round(NoGate(), other, [0.2, -0.1, 0.0])
    assert everything_of(model) == everything_of(other)


def test_a_state_that_was_given_does_not_follow_what_an_optimizer_keeps_in_place() -> None:
    strategy = Scaffold(1.0, 3)
    model = model_with(strategy)
    before, wanted = model.state(), everything_of(model)
    one_round(NoGate(), model, [1.0, 2.0, 3.0])
    strategy.control_variate += np.float32(4.0)  # as `ScaffoldSum` moves it
    assert everything_of(model) != wanted
    model.go_back_to(before)
    assert everything_of(model) == wanted


@given(
    before=st.floats(0, 1), after=st.floats(0, 1), largest_drop=st.floats(0, 1, exclude_max=True)
)
def test_a_round_is_rejected_exactly_if_the_figure_falls_by_more_than_the_job_allows(
    before: float, after: float, largest_drop: float
) -> None:
    gate = HoldOutGate("auc", largest_drop, of_values(before, after), START.tobytes())
    rejected = one_round(gate, model_with(FedAvg(1.0)), [1.0, 0.0, 0.0])
    assert rejected == (before - after > largest_drop)


def test_a_loss_is_worse_where_it_is_higher() -> None:
    gate = HoldOutGate("loss", 0.5, of_values(1.0, 0.2, 0.6, 1.2), START.tobytes())
    model = model_with(FedAvg(1.0))
    step = [1.0, 0.0, 0.0]
    assert [one_round(gate, model, step) for _ in range(3)] == [False, False, True]


def test_each_round_is_compared_with_the_last_that_stood() -> None:
    gate = HoldOutGate("auc", 0.1, of_values(0.9, 0.5, 0.85, 0.76, 0.74), START.tobytes())
    model = model_with(FedAvg(1.0))
    step = [1.0, 0.0, 0.0]
    assert [one_round(gate, model, step) for _ in range(4)] == [True, False, False, False]


def test_weights_without_a_figure_are_rejected_and_no_run_begins_with_such() -> None:
    gate = HoldOutGate("auc", 0.9, of_values(0.5, None), START.tobytes())
    assert one_round(gate, model_with(FedAvg(1.0)), [1.0, 0.0, 0.0])
    with pytest.raises(ConfigurationError) as caught:
        HoldOutGate("auc", 0.9, of_values(None), START.tobytes())
    assert caught.value.code == "HOLD_OUT_UNDEFINED"
    assert caught.value.hint
