"""Server optimizers against an implementation of one number at a time."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fedward_common.job.job_file import StrategySection
from fedward_server.optimizers import (
    FedAdam,
    FedAvg,
    FedAvgM,
    Scaffold,
    ServerOptimizer,
    build_server_optimizer,
)

rates = st.floats(0.015625, 4, width=32)
betas = st.floats(0.015625, 0.96875, width=32)
updates = arrays.arrays(np.float32, (5, 3), elements=st.floats(-100, 100, width=32))


def steps_of_momentum(
    means: Sequence[Sequence[float]], learning_rate: float, beta: float
) -> list[list[float]]:
    """FedAvgM as the paper writes it, in doubles, a parameter at a time."""
    momentum = [0.0] * len(means[0])
    steps = []
    for mean in means:
        momentum = [beta * m + u for m, u in zip(momentum, mean, strict=True)]
        steps.append([learning_rate * m for m in momentum])
    return steps


@given(means=updates, learning_rate=rates, beta=betas)
def test_fedavgm_is_the_papers_recursion(
    means: NDArray[np.float32], learning_rate: float, beta: float
) -> None:
    optimizer = FedAvgM(learning_rate, beta, num_parameters=3)
    expected = steps_of_momentum(means.tolist(), learning_rate, beta)
    for mean, wanted in zip(means, expected, strict=True):
        step = mean.copy()
        optimizer.turn_into_step(step)
        np.testing.assert_allclose(step, wanted, rtol=1e-5, atol=1e-3)


@given(means=updates, learning_rate=rates)
def test_fedavg_scales_each_mean_and_remembers_nothing(
    means: NDArray[np.float32], learning_rate: float
) -> None:
    optimizer = FedAvg(learning_rate)
    for mean in means:
        step = mean.copy()
        optimizer.turn_into_step(step)
        np.testing.assert_allclose(
            step, [learning_rate * u for u in mean.tolist()], rtol=1e-6, atol=1e-30
        )
    assert optimizer.state() == {}


def test_a_momentum_of_one_half_worked_by_hand() -> None:
    optimizer = FedAvgM(2.0, 0.5, num_parameters=1)
    given_means, steps = [4.0, 0.0, -2.0], []
    for mean in given_means:
        step = np.array([mean], dtype=np.float32)
        optimizer.turn_into_step(step)
        steps.append(float(step[0]))
    assert steps == [8.0, 4.0, -2.0]  # momenta 4, 2, -1


def steps_of_adam(
    means: Sequence[Sequence[float]],
    learning_rate: float,
    first_beta: float,
    second_beta: float,
    tau: float,
) -> list[list[float]]:
    """FedAdam as the paper writes it, in doubles, a parameter at a time."""
    first, second = [0.0] * len(means[0]), [tau**2] * len(means[0])
    steps = []
    for mean in means:
        first = [first_beta * m + (1 - first_beta) * u for m, u in zip(first, mean, strict=True)]
        second = [
            second_beta * v + (1 - second_beta) * u * u for v, u in zip(second, mean, strict=True)
        ]
        steps.append(
            [learning_rate * m / (v**0.5 + tau) for m, v in zip(first, second, strict=True)]
        )
    return steps


@given(means=updates, learning_rate=rates, first=betas, second=betas, tau=st.floats(1e-4, 1))
def test_fedadam_is_the_papers_recursion(
    means: NDArray[np.float32], learning_rate: float, first: float, second: float, tau: float
) -> None:
    optimizer = FedAdam(learning_rate, (first, second), tau, num_parameters=3)
    expected = steps_of_adam(means.tolist(), learning_rate, first, second, tau)
    for mean, wanted in zip(means, expected, strict=True):
        step = mean.copy()
        optimizer.turn_into_step(step)
        np.testing.assert_allclose(step, wanted, rtol=1e-3, atol=1e-4)


def test_two_rounds_of_fedadam_worked_by_hand() -> None:
    optimizer = FedAdam(0.5, (0.5, 0.75), 1.0, num_parameters=2)
    step = np.array([3.0, 0.0], dtype=np.float32)
    optimizer.turn_into_step(step)
    # m = 3/2 and 0, v = 3/4 + 9/4 = 3 and 3/4.
    np.testing.assert_allclose(step, [0.5 * 1.5 / (3**0.5 + 1), 0.0], rtol=1e-6)
    step = np.array([-1.0, 2.0], dtype=np.float32)
    optimizer.turn_into_step(step)
    # m = 3/4 - 1/2 = 1/4 and 1, v = 9/4 + 1/4 = 5/2 and 9/16 + 1 = 25/16, whose root is 5/4.
    np.testing.assert_allclose(step, [0.5 * 0.25 / (2.5**0.5 + 1), 0.5 / 2.25], rtol=1e-6)


def test_fedadam_of_a_large_model_is_that_of_its_parts() -> None:
    draw = np.random.default_rng(0)
    means = draw.normal(size=(2, 150_000)).astype(np.float32)
    whole = FedAdam(0.1, (0.9, 0.99), 1e-3, 150_000)
    part = FedAdam(0.1, (0.9, 0.99), 1e-3, 10)
    for mean in means:
        last = mean[-10:].copy()
        whole.turn_into_step(mean)
        part.turn_into_step(last)
        np.testing.assert_array_equal(mean[-10:], last)


def test_a_weight_that_no_site_moves_stays_where_it_is_under_fedadam() -> None:
    optimizer = FedAdam(0.1, (0.9, 0.99), 1e-9, num_parameters=1)
    for _ in range(100):
        step = np.zeros(1, dtype=np.float32)
        optimizer.turn_into_step(step)
        assert step.tolist() == [0.0]


def test_scaffold_takes_fedavgs_step_and_keeps_its_control_variate() -> None:
    optimizer = Scaffold(0.5, num_parameters=2)
    assert optimizer.state()["control-variate"].tolist() == [0.0, 0.0]
    optimizer.restore({"control-variate": np.array([3.0, -4.0], dtype=np.float32)})
    step = np.array([2.0, 6.0], dtype=np.float32)
    optimizer.turn_into_step(step)
    assert step.tolist() == [1.0, 3.0]
    assert optimizer.state()["control-variate"].tolist() == [3.0, -4.0]


def momentum_or_adam(name: str, learning_rate: float, beta: float) -> ServerOptimizer:
    if name == "fedadam":
        return FedAdam(learning_rate, (beta, 0.5), 0.01, num_parameters=3)
    return FedAvgM(learning_rate, beta, num_parameters=3)


@pytest.mark.parametrize("name", ["fedavgm", "fedadam"])
@given(means=updates, learning_rate=rates, beta=betas)
def test_a_restored_optimizer_goes_on_bit_for_bit(
    name: str, means: NDArray[np.float32], learning_rate: float, beta: float
) -> None:
    whole = momentum_or_adam(name, learning_rate, beta)
    for mean in means[:3]:
        whole.turn_into_step(mean.copy())
    resumed = momentum_or_adam(name, learning_rate, beta)
    resumed.restore({name: vector.copy() for name, vector in whole.state().items()})
    for mean in means[3:]:
        here, there = mean.copy(), mean.copy()
        whole.turn_into_step(here)
        resumed.turn_into_step(there)
        assert here.tobytes() == there.tobytes()


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        (StrategySection(name="fedavg"), FedAvg),
        (StrategySection(name="fedavgm", momentum=0.9), FedAvgM),
        (StrategySection(name="fedadam", learning_rate=0.01), FedAdam),
        (StrategySection(name="scaffold"), Scaffold),
    ],
)
def test_a_job_gets_the_optimizer_it_names(section: StrategySection, kind: type[object]) -> None:
    assert type(build_server_optimizer(section, 3)) is kind
