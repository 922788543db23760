"""How often somebody asks who cannot be told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_federation import FakeClock

from fedward_common.poll_pace import PollPace


def test_who_was_just_told_something_asks_again_soon() -> None:
    clock = FakeClock()
    pace = PollPace(0.1, 2.0, clock.now_seconds)
    assert pace.wait_seconds() == 0.1
    clock.sleep(3600)
    assert pace.wait_seconds() == 2.0
    pace.came()
    assert pace.wait_seconds() == 0.1


def test_a_wait_is_a_tenth_of_the_time_in_which_nothing_came() -> None:
    clock = FakeClock()
    pace = PollPace(0.1, 2.0, clock.now_seconds)
    clock.sleep(7)
    assert pace.wait_seconds() == pytest.approx(0.7)


def test_a_longest_wait_below_the_shortest_is_kept() -> None:
    assert PollPace(0.2, 0.1, FakeClock().now_seconds).wait_seconds() == 0.1


@given(silence=st.floats(0, 1000), most=st.floats(0.1, 60))
def test_what_comes_is_noticed_a_tenth_later_than_it_was_there(silence: float, most: float) -> None:
    clock = FakeClock()
    pace = PollPace(0.1, most, clock.now_seconds)
    while clock.now < silence:
        wait = pace.wait_seconds()
        assert wait <= most
        clock.sleep(wait)
    assert clock.now <= 1.1 * silence + 0.1 + 1e-6
