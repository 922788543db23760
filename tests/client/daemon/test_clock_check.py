"""A clock that Flower would refuse a node for is named with its offset (F20)."""

from collections.abc import Callable

import pytest
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_federation import FakeClock

from fedward_client.daemon.clock_check import (
    AHEAD_SECONDS,
    BEHIND_SECONDS,
    CHECK_SECONDS,
    OFF_CHECK_SECONDS,
    ClockCheck,
    ClockReading,
    ClockState,
)
from fedward_common.errors import FedwardError

TRUE = 1_700_000_000.25


class Checked:
    """A site's clock, its coordinator's, and an answer that takes its time."""

    def __init__(self, ahead: float = 0.0, wait: float = 0.1) -> None:
        self.clock = FakeClock(1000.0)
        self.began = self.clock.now
        self.ahead, self.wait = ahead, wait
        self.fails: Callable[[], None] = lambda: None
        self.num_asked = 0
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.check = ClockCheck(self._told, self._tell, self.clock, self.site_seconds)

    def true_seconds(self) -> float:
        return TRUE + self.clock.now - self.began

    def site_seconds(self) -> float:
        return self.true_seconds() + self.ahead

    def _told(self) -> int:
        self.num_asked += 1
        self.fails()
        self.clock.now += self.wait
        told = int(self.true_seconds())
        self.clock.now += self.wait
        return told

    def _tell(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    def after(self, seconds: float) -> ClockState:
        self.clock.now += seconds
        self.check.tick()
        return self.check.state


@pytest.mark.parametrize("ahead", [600, -600, 6, -307, 5.7, 86_400, -(10**8)])
def test_a_clock_that_flower_would_refuse_has_a_code_and_its_offset(ahead: float) -> None:
    checked = Checked(ahead)
    state = checked.after(0)
    assert state.code == "CLOCK_SKEW"
    assert state.offset_seconds == pytest.approx(ahead, abs=1.1)
    assert checked.lines == [
        ("clock.off", {"code": "CLOCK_SKEW", "offset_seconds": state.offset_seconds})
    ]


@pytest.mark.parametrize("ahead", [0, 3.9, -3, -299, -200.5])
def test_a_clock_that_flower_takes_has_none(ahead: float) -> None:
    checked = Checked(ahead)
    assert checked.after(0) == ClockState("", checked.check.state.offset_seconds)
    assert checked.check.state.offset_seconds == pytest.approx(ahead, abs=1.1)
    assert checked.lines == []


@given(ahead=st.floats(-400, 400), wait=st.floats(0, 5), begin=st.floats(0, 1))
def test_however_long_an_answer_takes_a_clock_within_the_bounds_is_not_blamed(
    ahead: float, wait: float, begin: float
) -> None:
    checked = Checked(ahead, wait)
    checked.clock.now += begin
    code = checked.after(0).code
    if -BEHIND_SECONDS < ahead < AHEAD_SECONDS:
        assert code == ""
    if ahead > AHEAD_SECONDS + 1 + 1e-6 + wait or ahead < -BEHIND_SECONDS - 1 - wait - 1e-6:
        assert code == "CLOCK_SKEW"


def test_the_bounds_lie_within_flowers_own() -> None:
    """Flower takes an age of more than -5 s and less than 305 s; a whole second can mislead."""
    assert AHEAD_SECONDS + 1 <= SYSTEM_TIME_TOLERANCE
    assert BEHIND_SECONDS + 1 <= TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE


@pytest.mark.parametrize("told", [-(10**12), 0, 10**12, 2**62])
def test_an_offset_that_a_server_makes_up_is_bounded(told: int) -> None:
    assert abs(ClockReading(TRUE, TRUE + 1, told).offset_seconds) <= max(10**9, TRUE + 1)
    assert ClockReading(TRUE, TRUE + 1, told).is_off


def test_a_clock_is_looked_at_seldom_and_more_often_while_it_is_off() -> None:
    checked = Checked()
    checked.after(0)
    assert (checked.after(CHECK_SECONDS / 2), checked.num_asked) == (checked.check.state, 1)
    checked.ahead = 600
    assert checked.after(CHECK_SECONDS).code == "CLOCK_SKEW"
    checked.after(OFF_CHECK_SECONDS + 1)
    assert checked.num_asked == 3
    checked.ahead = 0
    assert checked.after(OFF_CHECK_SECONDS + 1).code == ""
    assert [event for event, _ in checked.lines] == ["clock.off", "clock.right"]


def test_a_node_that_flower_refused_makes_it_look_at_once() -> None:
    checked = Checked()
    checked.after(0)
    checked.ahead = -600
    checked.check.child_ended("tasks", "STATUS_1")
    assert checked.after(1).code == ""
    checked.check.child_ended("node", "NODE_NOT_KNOWN")
    assert checked.after(1).code == "CLOCK_SKEW"


def test_a_coordinator_that_does_not_answer_changes_nothing_and_stops_nothing() -> None:
    checked = Checked(600)

    def fail() -> None:
        raise FedwardError("nobody there", code="OFFICE_UNREACHABLE")

    checked.fails = fail
    assert checked.after(0) == ClockState()
    checked.check.wait_for_first(0)
    checked.fails = lambda: None
    assert checked.after(CHECK_SECONDS + 1).code == "CLOCK_SKEW"
    checked.fails = fail
    assert checked.after(OFF_CHECK_SECONDS + 1).code == "CLOCK_SKEW"
    assert len(checked.lines) == 1
