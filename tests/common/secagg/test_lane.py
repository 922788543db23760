import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward_common.errors import AggregationRefusedError, ConfigurationError, WeightsMismatchError
from fedward_common.secagg.lane import LaneField, LaneLayout
from fedward_common.wire.canonical_cbor import decode_canonically

LOSS = LaneField("loss", 2, 1000, signed=True)
HISTOGRAM = LaneField("histogram", 3, 50)
LAYOUT = LaneLayout((LOSS, HISTOGRAM), max_sites=5)


def numbers(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def lane_of(loss: tuple[int, int] = (0, 0), histogram: tuple[int, ...] = (0, 0, 0)) -> Any:
    return LAYOUT.encode({"loss": numbers(*loss), "histogram": numbers(*histogram)})


def added(*lanes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    total = np.zeros(LAYOUT.length, dtype=np.uint64)
    for lane in lanes:
        total += lane
    return total


def refusal_of(work: Callable[[], object]) -> str:
    with pytest.raises(AggregationRefusedError) as refusal:
        work()
    return refusal.value.code


def test_a_lane_worked_by_hand() -> None:
    lane = lane_of((-3, 7), (1, 2, 50))
    assert LAYOUT.length == 6
    assert lane.dtype == np.uint64
    assert lane.tolist() == [1, 2**64 - 3, 7, 1, 2, 50]


@given(data=st.data(), num_sites=st.integers(1, 5))
def test_the_sum_of_lanes_decodes_to_the_sums_of_their_numbers(
    data: st.DataObject, num_sites: int
) -> None:
    loss = st.integers(-1000, 1000)
    rows = data.draw(
        st.lists(
            st.tuples(loss, loss, *[st.integers(0, 50)] * 3),
            min_size=num_sites,
            max_size=num_sites,
        )
    )
    total = added(*(lane_of(row[:2], row[2:]) for row in rows))
    decoded = LAYOUT.decode(total, num_sites=num_sites)
    sums = [sum(column) for column in zip(*rows, strict=True)]
    assert decoded["loss"].tolist() == sums[:2]
    assert decoded["histogram"].tolist() == sums[2:]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("num_sites", [1, 7, 100])
def test_all_sites_at_the_bound_do_not_wrap_around(signed: bool, num_sites: int) -> None:
    most = (2**63 - 1) // num_sites
    layout = LaneLayout((LaneField("x", 1, most, signed),), num_sites)
    for value in [most, -most] if signed else [most]:
        total = np.zeros(2, dtype=np.uint64)
        for _ in range(num_sites):
            total += layout.encode({"x": numbers(value)})
        assert layout.decode(total, num_sites=num_sites)["x"].tolist() == [value * num_sites]


@pytest.mark.parametrize(
    ("loss", "histogram"),
    [
        ((1001, 0), (0, 0, 0)),
        ((-1001, 0), (0, 0, 0)),
        ((0, -(2**63)), (0, 0, 0)),
        ((0, 0), (51, 0, 0)),
        ((0, 0), (0, 0, -1)),
        ((0, 0), (0, 2**63 - 1, 0)),
    ],
)
def test_a_number_outside_its_bounds_is_never_encoded(loss: Any, histogram: Any) -> None:
    assert refusal_of(lambda: lane_of(loss, histogram)) == "SECAGG_LANE_BOUND"


def test_a_refused_number_is_not_repeated_in_the_text() -> None:
    with pytest.raises(AggregationRefusedError) as refusal:
        lane_of((0, 0), (7_654_321, 0, 0))
    assert "7654321" not in f"{refusal.value} {refusal.value.hint}"
    assert "histogram" in str(refusal.value)


def test_a_counter_that_is_not_the_number_of_sites_is_found() -> None:
    total = added(lane_of(), lane_of(), lane_of())
    assert LAYOUT.decode(total, num_sites=3)["histogram"].tolist() == [0, 0, 0]
    for wrong in (1, 2, 4, 5):
        decoding = functools.partial(LAYOUT.decode, total, num_sites=wrong)
        assert refusal_of(decoding) == "SECAGG_COUNTER"


def test_a_mask_that_was_left_in_is_found() -> None:
    total = added(lane_of(), lane_of()) + np.uint64(0x9E3779B97F4A7C15)
    assert refusal_of(lambda: LAYOUT.decode(total, num_sites=2)) == "SECAGG_COUNTER"


@pytest.mark.parametrize(
    ("place", "value"), [(3, 101), (3, 2**64 - 1), (1, 2001), (2, 2**64 - 2001)]
)
def test_a_sum_beyond_what_two_sites_may_send_is_refused(place: int, value: int) -> None:
    total = added(lane_of(), lane_of())
    total[place] = value
    assert refusal_of(lambda: LAYOUT.decode(total, num_sites=2)) == "SECAGG_LANE_BOUND"


def test_more_sites_than_the_layout_has_room_for_are_refused() -> None:
    total = added(*[lane_of()] * 6)
    assert refusal_of(lambda: LAYOUT.decode(total, num_sites=6)) == "SECAGG_TOO_MANY_SITES"


@pytest.mark.parametrize(
    "values",
    [
        {"loss": numbers(0, 0)},
        {"loss": numbers(0, 0), "histogram": numbers(0, 0, 0), "more": numbers(1)},
        {"loss": numbers(0), "histogram": numbers(0, 0, 0)},
        {"loss": np.zeros(2), "histogram": numbers(0, 0, 0)},
        {"loss": np.zeros(2, dtype=np.int32), "histogram": numbers(0, 0, 0)},
        {"loss": np.zeros((2, 1), dtype=np.int64), "histogram": numbers(0, 0, 0)},
        {"loss": numbers(0, 0, 0, 0)[::2], "histogram": numbers(0, 0, 0)},
    ],
)
def test_vectors_that_do_not_fit_the_fields_are_refused(values: Any) -> None:
    with pytest.raises(WeightsMismatchError):
        LAYOUT.encode(values)


@pytest.mark.parametrize(
    "total", [np.zeros(5, np.uint64), np.zeros(6, np.int64), np.zeros((6, 1), np.uint64)]
)
def test_a_total_of_another_shape_or_type_is_refused(total: Any) -> None:
    with pytest.raises(WeightsMismatchError, match="lane"):
        LAYOUT.decode(total, num_sites=1)


def test_what_was_decoded_does_not_change_with_the_total() -> None:
    total = added(lane_of((5, 5)))
    decoded = LAYOUT.decode(total, num_sites=1)
    total[:] = 0
    assert decoded["loss"].tolist() == [5, 5]


@pytest.mark.parametrize(
    "made",
    [
        lambda: LaneField("", 1, 1),
        lambda: LaneField("x", 0, 1),
        lambda: LaneField("x", 1, 0),
        lambda: LaneLayout((LaneField("counter", 1, 1),), 3),
        lambda: LaneLayout((LOSS, LOSS), 3),
        lambda: LaneLayout((LOSS,), 0),
        lambda: LaneLayout((LaneField("x", 1, 2**61),), 4),
    ],
)
def test_a_layout_that_cannot_work_is_never_built(made: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        made()


def test_a_bound_just_below_the_ring_is_taken() -> None:
    assert LaneLayout((LaneField("x", 1, 2**61 - 1),), 4).length == 2


def test_a_lane_may_be_a_counter_alone() -> None:
    layout = LaneLayout((), 3)
    assert layout.decode(layout.encode({}) + layout.encode({}), num_sites=2) == {}


def test_the_descriptor_names_everything_a_lane_depends_on() -> None:
    assert decode_canonically(LAYOUT.descriptor()) == {
        "lane": "v1",
        "max_sites": 5,
        "fields": [["loss", 2, 1000, True], ["histogram", 3, 50, False]],
    }
    others = [
        LaneLayout((LOSS, HISTOGRAM), 6),
        LaneLayout((HISTOGRAM, LOSS), 5),
        LaneLayout((LOSS, LaneField("histogram", 3, 51)), 5),
        LaneLayout((LOSS, LaneField("histogram", 3, 50, signed=True)), 5),
        LaneLayout((LOSS, LaneField("histogram", 4, 50)), 5),
        LaneLayout((LOSS, LaneField("histograms", 3, 50)), 5),
    ]
    assert len({layout.descriptor() for layout in [LAYOUT, *others]}) == 7
