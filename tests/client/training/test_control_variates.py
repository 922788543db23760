import numpy as np
import pytest

from fedward_client.training.control_variates import change_of_own_variate, sum_of_rates
from fedward_client.training.local_training import RoundOfTraining
from fedward_common.errors import TrainingError
from fedward_common.job.training_section import OptimizerSection, ScheduleSection, TrainingSection
from fedward_common.models.parameter_spec import FlatWeights


def vector(*values: float) -> FlatWeights:
    return np.array(values, dtype=np.float32)


def section(steps: int, schedule: ScheduleSection) -> TrainingSection:
    optimizer = OptimizerSection("sgd", learning_rate=0.5)
    return TrainingSection(steps, batch_patients=1, optimizer=optimizer, schedule=schedule)


def test_the_change_is_the_mean_gradient_less_the_global_variate_worked_by_hand() -> None:
    # Four steps at 0.25 came by (-2, 3): the mean gradient was (2, -3), of which c is taken.
    change = change_of_own_variate(vector(-2, 3), vector(0.5, -1), 4 * 0.25)
    assert change.tolist() == [1.5, -2.0]
    assert change.dtype == np.float32


def test_a_round_at_a_rate_of_0_changes_nothing() -> None:
    assert change_of_own_variate(vector(0, 0), vector(3, 4), 0.0).tolist() == [0.0, 0.0]


def test_rates_that_are_too_small_for_float32_are_named() -> None:
    with pytest.raises(TrainingError) as caught:
        change_of_own_variate(vector(1e6, 0), vector(0, 0), 1e-37)
    assert caught.value.code == "NON_FINITE"
    assert caught.value.hint


def test_the_rates_of_a_round_follow_the_schedule() -> None:
    constant = section(3, ScheduleSection())
    assert sum_of_rates(constant, RoundOfTraining(2, 4, 0)) == 1.5
    warm = section(2, ScheduleSection(warmup_rounds=2))
    assert sum_of_rates(warm, RoundOfTraining(1, 4, 0)) == pytest.approx(0.5 * (1 + 2) / 4)
    assert sum_of_rates(warm, RoundOfTraining(2, 4, 0)) == pytest.approx(0.5 * (3 + 4) / 4)
    cosine = section(1, ScheduleSection("cosine", final_fraction=0.0))
    assert sum_of_rates(cosine, RoundOfTraining(4, 4, 0)) == pytest.approx(0.0)
