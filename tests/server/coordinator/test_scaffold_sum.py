"""Updates and changes of control variates: both of a site count, or neither."""

import numpy as np
import pytest
from tests.common.job.job_tables import table_with

from fedward_common.errors import UnusableUpdateError, WeightsMismatchError
from fedward_common.job.job_file import job_from_table
from fedward_common.wire.envelope import WireArray
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.round_sum import ScaffoldSum
from fedward_server.optimizers import Scaffold

JOB = job_from_table(table_with({"strategy.name": "scaffold", "strategy.weighting": "uniform"}))


def sum_of(num_sites: int = 4, learning_rate: float = 1.0) -> tuple[GlobalModel, ScaffoldSum]:
    strategy = Scaffold(learning_rate, 2)
    model = GlobalModel(np.zeros(2, dtype=np.float32).tobytes(), strategy, 0.0)
    total = ScaffoldSum(model, strategy, JOB, num_sites)
    total.clear()
    return model, total


def contribution(update: list[float], change: list[float]) -> dict[str, WireArray]:
    return {
        "update": np.array(update, dtype=np.float32),
        "control-variate-change": np.array(change, dtype=np.float32),
    }


def weights_of(model: GlobalModel) -> list[float]:
    return [float(value) for value in np.frombuffer(model.weights, dtype=np.float32)]


def variate_of(total: ScaffoldSum) -> list[float]:
    sent = total.beside_weights()["control-variate"]
    return [float(value) for value in np.frombuffer(sent, dtype=np.float32)]


def test_the_variate_moves_by_the_changes_over_all_sites_and_the_weights_by_their_mean() -> None:
    model, total = sum_of(num_sites=4, learning_rate=0.5)
    for _ in range(2):
        total.add(contribution([2.0, 0.0], [4.0, -8.0]), 1.0)
        total.add(contribution([0.0, 6.0], [0.0, 4.0]), 1.0)
        total.require_enough("round")
        total.commit(1)
        total.clear()
    assert weights_of(model) == [1.0, 3.0]  # twice half of the mean of two
    assert variate_of(total) == [2.0, -2.0]  # twice a quarter of the sum
    assert model.tensors()["optimizer.control-variate"].tolist() == [2.0, -2.0]


def test_an_abandoned_attempt_leaves_nothing() -> None:
    model, total = sum_of()
    total.add(contribution([9.0, 9.0], [9.0, 9.0]), 1.0)
    total.clear()
    total.add(contribution([1.0, 0.0], [4.0, 0.0]), 1.0)
    total.commit(1)
    assert weights_of(model) == [1.0, 0.0]
    assert variate_of(total) == [1.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.1e6])
@pytest.mark.parametrize("spoiled", ["update", "control-variate-change"])
def test_a_site_with_one_unusable_vector_is_refused_with_both(spoiled: str, value: float) -> None:
    model, total = sum_of()
    wrong = contribution([1.0, 1.0], [1.0, 1.0])
    wrong[spoiled][1] = value
    with pytest.raises(UnusableUpdateError) as refusal:
        total.add(wrong, 1.0)
    assert refusal.value.code == "NON_FINITE"
    total.add(contribution([2.0, 0.0], [4.0, 0.0]), 1.0)
    total.commit(1)
    assert weights_of(model) == [2.0, 0.0]
    assert variate_of(total) == [1.0, 0.0]


@pytest.mark.parametrize("spoiled", ["update", "control-variate-change"])
@pytest.mark.parametrize(
    "wrong",
    [np.zeros(3, dtype=np.float32), np.zeros((2, 1), dtype=np.float32), np.zeros(2, np.int64)],
    ids=["length", "shape", "dtype"],
)
def test_a_vector_of_another_form_is_refused_by_its_name(spoiled: str, wrong: WireArray) -> None:
    model, total = sum_of()
    with pytest.raises(WeightsMismatchError, match=rf"^{spoiled} of"):
        total.add(contribution([1.0, 1.0], [1.0, 1.0]) | {spoiled: wrong}, 1.0)
    total.add(contribution([2.0, 0.0], [0.0, 0.0]), 1.0)
    total.commit(1)
    assert weights_of(model) == [2.0, 0.0]
