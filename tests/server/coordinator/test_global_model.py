"""The mean of a round against a slow one, and the memory it takes."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fedward_common.errors import UnusableUpdateError
from fedward_server.coordinator.global_model import GlobalModel
from fedward_server.optimizers import FedAvg, FedAvgM

Vector = NDArray[np.float32]

values = st.floats(-8, 8, width=32)
starts = arrays.arrays(np.float32, (4,), elements=values)
site_updates = arrays.arrays(np.float32, (3, 4), elements=values)
site_weights = st.lists(st.floats(0.0625, 1, width=32), min_size=3, max_size=3)


def vector_of(weights: bytes) -> Vector:
    return np.frombuffer(weights, dtype=np.float32)


def model_of(start: Vector, *, ema_decay: float = 0.0, learning_rate: float = 1.0) -> GlobalModel:
    return GlobalModel(start.tobytes(), FedAvg(learning_rate), ema_decay)


def one_round(model: GlobalModel, updates: NDArray[np.float32], weights: list[float]) -> None:
    model.begin_round()
    for update, weight in zip(updates, weights, strict=True):
        model.add(update, weight)
    model.commit_round()


@given(start=starts, updates=site_updates, weights=site_weights)
def test_a_round_adds_the_weighted_mean_of_the_updates(
    start: Vector, updates: NDArray[np.float32], weights: list[float]
) -> None:
    model = model_of(start)
    one_round(model, updates, weights)
    for place in range(4):
        mean = sum(w * float(u[place]) for w, u in zip(weights, updates, strict=True))
        wanted = float(start[place]) + mean / sum(weights)
        assert vector_of(model.weights)[place] == pytest.approx(wanted, rel=1e-5, abs=1e-4)


@given(start=starts, updates=site_updates, decay=st.floats(0.0625, 0.9375, width=32))
def test_the_moving_average_is_that_of_the_slow_formula(
    start: Vector, updates: NDArray[np.float32], decay: float
) -> None:
    model = model_of(start, ema_decay=decay)
    weights = [float(w) for w in start]
    average = list(weights)
    for number, update in enumerate(updates, start=1):
        one_round(model, update[None], [1.0])
        weights = [w + float(u) for w, u in zip(weights, update, strict=True)]
        now = min(decay, (1 + number) / (10 + number))
        average = [now * a + (1 - now) * w for a, w in zip(average, weights, strict=True)]
    np.testing.assert_allclose(vector_of(model.evaluated), average, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(vector_of(model.weights), weights, rtol=1e-5, atol=1e-4)


def test_without_a_moving_average_the_weights_themselves_are_evaluated() -> None:
    model = model_of(np.zeros(2, dtype=np.float32))
    one_round(model, np.ones((1, 2), dtype=np.float32), [1.0])
    assert model.evaluated == model.weights


def test_the_order_of_the_sites_decides_the_last_bit_so_it_is_fixed() -> None:
    updates = np.array([[1e6], [0.01], [-1e6]], dtype=np.float32)
    forward, backward = (model_of(np.zeros(1, dtype=np.float32)) for _ in range(2))
    one_round(forward, updates, [1.0] * 3)
    one_round(backward, updates[[0, 2, 1]], [1.0] * 3)
    assert forward.weights != backward.weights
    again = model_of(np.zeros(1, dtype=np.float32))
    one_round(again, updates, [1.0] * 3)
    assert again.weights == forward.weights


@given(
    updates=site_updates,
    place=st.integers(0, 3),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_an_update_with_one_nan_is_refused_and_nothing_of_it_was_added(
    updates: NDArray[np.float32], place: int, value: float
) -> None:
    spoiled = updates[1].copy()
    spoiled[place] = value
    start = np.ones(4, dtype=np.float32)
    model, without = model_of(start), model_of(start)
    model.begin_round()
    model.add(updates[0], 0.5)
    with pytest.raises(UnusableUpdateError):
        model.add(spoiled, 1.0)
    model.add(updates[2], 1.0)
    model.commit_round()
    one_round(without, updates[[0, 2]], [0.5, 1.0])
    assert model.weights == without.weights


def test_a_nan_in_the_last_block_of_a_large_update_leaves_the_first_blocks_alone() -> None:
    start = np.zeros(200_000, dtype=np.float32)
    update = np.ones(200_000, dtype=np.float32)
    update[-1] = np.nan
    model = model_of(start)
    model.begin_round()
    with pytest.raises(UnusableUpdateError):
        model.add(update, 1.0)
    model.add(np.zeros_like(start), 1.0)
    model.commit_round()
    assert not vector_of(model.weights).any()


@pytest.mark.parametrize("value", [1.1e6, -3e38])
def test_a_finite_update_that_could_make_the_sum_overflow_is_refused(value: float) -> None:
    model = model_of(np.ones(3, dtype=np.float32))
    model.begin_round()
    with pytest.raises(UnusableUpdateError, match="beyond 1e6"):
        model.add(np.array([0, value, 0], dtype=np.float32), 1.0)


def test_weights_that_would_overflow_are_not_committed() -> None:
    start = np.full(3, 3.4e38, dtype=np.float32)
    model = model_of(start)
    model.optimizer = FedAvg(3.4e32)
    model.begin_round()
    model.add(np.full(3, 1e6, dtype=np.float32), 1.0)
    with pytest.raises(UnusableUpdateError, match="not finite"):
        model.commit_round()
    assert model.weights == start.tobytes()
    assert model.round == 0


def test_an_abandoned_attempt_is_forgotten() -> None:
    start = np.zeros(3, dtype=np.float32)
    model = model_of(start)
    model.begin_round()
    model.add(np.full(3, 5.0, dtype=np.float32), 1.0)
    one_round(model, np.ones((1, 3), dtype=np.float32), [0.5])
    assert vector_of(model.weights).tolist() == [1.0, 1.0, 1.0]


def test_what_a_checkpoint_holds_brings_back_the_same_future() -> None:
    draw = np.random.default_rng(0)
    start = draw.normal(size=50).astype(np.float32)
    updates = draw.normal(size=(6, 1, 50)).astype(np.float32)

    def fresh() -> GlobalModel:
        return GlobalModel(start.tobytes(), FedAvgM(0.7, 0.9, 50), 0.9)

    whole, first, second = fresh(), fresh(), fresh()
    for update in updates:
        one_round(whole, update, [1.0])
    for update in updates[:3]:
        one_round(first, update, [1.0])
    saved = {name: vector.copy() for name, vector in first.tensors().items()}
    assert sorted(saved) == ["averaged", "optimizer.momentum", "weights"]
    second.restore(saved, first.round)
    for update in updates[3:]:
        one_round(second, update, [1.0])
    assert second.weights == whole.weights
    assert second.averaged == whole.averaged
    assert second.round == 6


NUM_PARAMETERS = 1_000_000
MODEL_BYTES = 4 * NUM_PARAMETERS


def _updates(num_sites: int) -> Iterator[Vector]:
    for site in range(num_sites):
        yield np.full(NUM_PARAMETERS, float(site), dtype=np.float32)


def _peak_buffers_of_a_round(num_sites: int) -> float:
    """Peak of a model's whole life with one round, in model-sized buffers beside its weights.

    The one update under way is among them; the initial weights are made before.
    """
    weights = np.zeros(NUM_PARAMETERS, dtype=np.float32).tobytes()
    tracemalloc.start()
    try:
        model = GlobalModel(weights, FedAvg(1.0), 0.0)
        model.begin_round()
        for update in _updates(num_sites):
            model.add(update, 1.0)
            del update
        model.commit_round()
        return tracemalloc.get_traced_memory()[1] / MODEL_BYTES
    finally:
        tracemalloc.stop()


def test_memory_of_a_round_does_not_grow_with_the_number_of_sites() -> None:
    """Sum and one update: two buffers beside the weights, as long as the old weights live."""
    few, many = _peak_buffers_of_a_round(10), _peak_buffers_of_a_round(100)
    assert many == pytest.approx(few, abs=0.05)
    assert many < 2.5


def test_between_two_rounds_there_is_no_sum() -> None:
    weights = bytes(MODEL_BYTES)
    tracemalloc.start()
    try:
        model = GlobalModel(weights, FedAvg(1.0), 0.0)
        model.begin_round()
        assert tracemalloc.get_traced_memory()[0] < 0.5 * MODEL_BYTES
        model.add(np.ones(NUM_PARAMETERS, dtype=np.float32), 1.0)
        model.commit_round()
        assert tracemalloc.get_traced_memory()[0] < 1.5 * MODEL_BYTES  # the new weights
    finally:
        tracemalloc.stop()


# -- a sum that came as one ------------------------------------------------------------------------


def test_a_sum_is_as_good_as_its_parts() -> None:
    start, updates = np.zeros(3, np.float32), np.eye(3, dtype=np.float32)
    parts, whole = model_of(start), model_of(start)
    one_round(parts, updates, [1.0, 0.5, 0.25])
    whole.begin_round()
    whole.take_sum(np.array([1.0, 0.5, 0.25], dtype=np.float32), 1.75)
    whole.commit_round()
    assert whole.weights == parts.weights


def test_a_sum_that_came_as_one_is_taken_without_a_copy() -> None:
    model = GlobalModel(bytes(MODEL_BYTES), FedAvg(1.0), 0.0)
    total = np.ones(NUM_PARAMETERS, dtype=np.float32)
    tracemalloc.start()
    try:
        model.take_sum(total, 1.0, mean_norm_limit=1e9)
        assert tracemalloc.get_traced_memory()[1] < 0.5 * MODEL_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("limit", "weight", "taken"),
    [(0.0, 1.0, True), (5.0, 1.0, True), (4.999, 1.0, False), (2.5, 2.0, True), (2.4, 2.0, False)],
)
def test_a_mean_longer_than_the_limit_is_not_taken(
    limit: float, weight: float, taken: bool
) -> None:
    model = model_of(np.zeros(2, np.float32))
    model.begin_round()
    total = np.array([3.0, 4.0], dtype=np.float32)  # norm 5, worked by hand
    if taken:
        model.take_sum(total, weight, mean_norm_limit=limit)
        return
    with pytest.raises(UnusableUpdateError, match="mean_norm_limit") as caught:
        model.take_sum(total, weight, mean_norm_limit=limit)
    assert caught.value.code == "MEAN_NORM_TOO_LARGE"


def test_a_norm_that_float32_cannot_hold_is_still_too_long() -> None:
    model = model_of(np.zeros(2, np.float32))
    huge = np.full(2, 3e38, dtype=np.float32)
    with pytest.raises(UnusableUpdateError, match="mean_norm_limit"):
        model.take_sum(huge, 1.0, mean_norm_limit=1e9)
    with pytest.raises(UnusableUpdateError):
        model.take_sum(np.full(2, np.nan, dtype=np.float32), 1.0, mean_norm_limit=1e9)
