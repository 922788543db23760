"""The median of updates: each site counts once, and fewer than half decide nothing."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.common.job.job_tables import table_with
from tests.common.job.test_strategy_rules import MEDIAN

from fedward_common.errors import MalformedMessageError, UnusableUpdateError, WeightsMismatchError
from fedward_common.job.job_file import job_from_table
from fedward_common.secagg.codec import Section, VectorCodec
from fedward_common.wire.contribution import contribution_vectors
from fedward_common.wire.envelope import WireArray
from fedward_server.coordinator import round_sum
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.coordinator.round_sum import MaskedTotal, UpdateMedian
from fedward_server.optimizers import FedAvg

JOB = job_from_table(table_with(MEDIAN))
USABLE = st.floats(-1e6, 1e6, width=32)


def median_of(
    num_parameters: int = 2, learning_rate: float = 1.0
) -> tuple[GlobalModel, UpdateMedian]:
    weights = np.zeros(num_parameters, dtype=np.float32).tobytes()
    model = GlobalModel(weights, FedAvg(learning_rate), 0.0)
    (vector,) = contribution_vectors(JOB, num_parameters)
    total = UpdateMedian(model, vector)
    total.clear()
    return model, total


def contribution(update: list[float]) -> dict[str, WireArray]:
    return {"update": np.array(update, dtype=np.float32)}


def weights_of(model: GlobalModel) -> list[float]:
    return [float(value) for value in np.frombuffer(model.weights, dtype=np.float32)]


def test_each_weight_moves_by_the_median_of_its_own_updates_times_the_learning_rate() -> None:
    model, total = median_of(learning_rate=0.5)
    for update in ([1.0, -9.0], [3.0, 0.0], [100.0, 2.0]):
        total.add(contribution(update), 1.0)
    total.require_enough("round")
    total.commit(1)
    assert weights_of(model) == [1.5, 0.0]
    total.clear()
    for update in ([4.0, 1.0], [8.0, 3.0]):  # of two, half way between them
        total.add(contribution(update), 1.0)
    total.commit(2)
    assert weights_of(model) == [4.5, 1.0]
    assert model.round == 2


@given(st.lists(st.lists(USABLE, min_size=3, max_size=3), min_size=1, max_size=9))
def test_it_is_the_median_of_the_standard_library_block_by_block(
    updates: list[list[float]],
) -> None:
    model, total = median_of(num_parameters=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(round_sum, "_BLOCK", 2)
        for update in updates:
            total.add(contribution(update), 1.0)
        total.commit(1)
    expected = [statistics.median(column) for column in zip(*updates, strict=True)]
    np.testing.assert_allclose(weights_of(model), expected, rtol=1e-6, atol=1e-30)


@given(
    st.lists(USABLE, min_size=2, max_size=5),
    st.data(),
)
def test_fewer_than_half_cannot_move_a_weight_beyond_what_an_honest_site_sent(
    honest: list[float], data: st.DataObject
) -> None:
    liars = data.draw(st.lists(USABLE, max_size=len(honest) - 1))
    model, total = median_of(num_parameters=1)
    for value in data.draw(st.permutations(honest + liars)):
        total.add(contribution([value]), 1.0)
    total.commit(1)
    (weight,) = weights_of(model)
    assert min(honest) <= weight <= max(honest)


def test_an_abandoned_attempt_leaves_nothing() -> None:
    model, total = median_of()
    total.add(contribution([9.0, 9.0]), 1.0)
    total.clear()
    total.add(contribution([1.0, 0.0]), 1.0)
    total.commit(1)
    assert weights_of(model) == [1.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.1e6])
def test_an_unusable_update_is_refused_and_the_others_count(value: float) -> None:
    model, total = median_of()
    total.add(contribution([2.0, 2.0]), 1.0)
    with pytest.raises(UnusableUpdateError):
        total.add(contribution([0.0, value]), 1.0)
    with pytest.raises(WeightsMismatchError):
        total.add(contribution([0.0]), 1.0)
    total.commit(1)
    assert weights_of(model) == [2.0, 2.0]


def test_a_sum_has_no_median() -> None:
    _, total = median_of()
    codec = VectorCodec(bits=32, max_sites=2, sections=(Section("update", 2, 1.0),))
    with pytest.raises(MalformedMessageError):
        total.take(MaskedTotal(np.zeros(2, dtype=np.uint32), codec, 2, 2.0))
