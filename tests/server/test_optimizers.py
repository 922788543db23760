"""Server optimizers against an implementation of one number at a time."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fedward_common.job.job_file import StrategySection
from fedward_server.optimizers import FedAvg, FedAvgM, build_server_optimizer

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


@given(means=updates, learning_rate=rates, beta=betas)
def test_a_restored_optimizer_goes_on_bit_for_bit(
    means: NDArray[np.float32], learning_rate: float, beta: float
) -> None:
    whole = FedAvgM(learning_rate, beta, num_parameters=3)
    for mean in means[:3]:
        whole.turn_into_step(mean.copy())
    resumed = FedAvgM(learning_rate, beta, num_parameters=3)
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
    ],
)
def test_a_job_gets_the_optimizer_it_names(section: StrategySection, kind: type[object]) -> None:
    assert type(build_server_optimizer(section, 3)) is kind
