"""How refusals become lines: each is written or counted, and nobody makes the record long."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_client.daemon.refusal_tally import (
    LINES_AN_HOUR,
    MAX_CODES_OF_A_SHARE,
    MAX_COUNTED,
    LeftOut,
    Line,
    Noted,
    Share,
    Tally,
    note_one_more,
)

NOON = 1_700_049_600.0
HOUR = 3600.0


def line(number: int = 1) -> Line:
    return {"run": "ab" * 8, "round": number, "code": "UNKNOWN_RUN"}


def noted(tally: Tally, number: int, now: float, share: Share = "coordinator") -> Noted:
    return note_one_more(tally, share, line(number), now_seconds=now)


def full(share: Share) -> Tally:
    """An hour of which every line of a share is written."""
    return Tally(hour=int(NOON // HOUR), num_lines={share: LINES_AN_HOUR[share]})


def test_what_is_new_is_a_line_at_once_and_what_comes_again_is_not() -> None:
    first = noted(Tally(), 1, NOON)
    assert (first.lines, first.is_new) == ((line(),), True)
    second = noted(first.tally, 1, NOON + 5)
    assert (second.lines, second.is_new) == ((), False)


def test_what_came_again_is_one_line_with_its_number_once_an_hour_has_passed() -> None:
    tally = Tally()
    for second in range(0, 3600, 5):
        tally = noted(tally, 1, NOON + second).tally
    last = noted(tally, 1, NOON + HOUR)
    again = {"times": 719, "last_utc_seconds": NOON + 3595}
    assert last.lines == (line() | again,)
    assert last.tally.counted[0].times == 1


def test_another_refusal_writes_what_was_counted_long_enough() -> None:
    tally = noted(noted(Tally(), 1, NOON).tally, 1, NOON + 5).tally
    other = noted(tally, 2, NOON + 30 * HOUR)
    again = {"times": 1, "last_utc_seconds": NOON + 5}
    assert other.lines == (line(1) | again, line(2))


@pytest.mark.parametrize("share", LINES_AN_HOUR)
def test_beyond_the_lines_of_an_hour_the_code_and_the_number_are_kept(share: Share) -> None:
    tally, written = Tally(), 0
    for number in range(1000):
        one = noted(tally, number, NOON + number, share)
        tally, written = one.tally, written + len(one.lines)
    assert written == LINES_AN_HOUR[share]
    left_out: Line = {
        "left_out": 1000 - LINES_AN_HOUR[share],
        "from": share if share in ("stranger", "account") else "coordinator",
        "code": "UNKNOWN_RUN",
        "last_utc_seconds": NOON + 999,
    }
    assert tally.unwritten() == (left_out,)
    after = noted(tally, 5000, NOON + HOUR, share)
    assert after.lines == (left_out, line(5000))
    assert after.tally.unwritten() == ()


@pytest.mark.parametrize("used_up", LINES_AN_HOUR)
@pytest.mark.parametrize("share", LINES_AN_HOUR)
def test_no_share_uses_up_what_another_has(used_up: Share, share: Share) -> None:
    assert noted(full(used_up), 1, NOON, share).is_new == (share != used_up)


def test_each_code_that_is_left_out_has_its_number_and_none_makes_them_many() -> None:
    tally = full("coordinator")
    for number in range(2 * MAX_CODES_OF_A_SHARE):
        for _ in range(2):
            refused = line() | {"code": f"CODE_{number}"}
            tally = note_one_more(tally, "coordinator", refused, now_seconds=NOON).tally
    *known, beyond = tally.left_out
    assert known == [
        LeftOut("coordinator", f"CODE_{n}", 2, NOON) for n in range(MAX_CODES_OF_A_SHARE)
    ]
    assert beyond == LeftOut("coordinator", "", 2 * MAX_CODES_OF_A_SHARE, NOON)
    assert "code" not in beyond.line()
    tally = replace(tally, num_lines=full("secrecy").num_lines)
    tally = noted(tally, 1, NOON, "secrecy").tally
    assert tally.left_out[-1] == LeftOut("secrecy", "UNKNOWN_RUN", 1, NOON)


def test_a_clock_that_was_set_back_makes_no_count_wait_for_it() -> None:
    tally = noted(noted(Tally(), 1, NOON).tally, 1, NOON).tally
    assert noted(tally, 2, NOON - 90 * HOUR).lines[-2:] == (
        line(1) | {"times": 1, "last_utc_seconds": NOON},
        line(2),
    )


asked = st.lists(
    st.tuples(
        st.integers(0, 90),
        st.sampled_from(sorted(LINES_AN_HOUR)),
        st.floats(0, 2 * HOUR) | st.just(0.0) | st.just(-HOUR),
    ),
    max_size=300,
)


@given(asked)
def test_every_refusal_is_a_line_or_in_a_count(
    requests: list[tuple[int, Share, float]],
) -> None:
    tally, written, now = Tally(), Counter[str](), NOON
    for number, share, passed in requests:
        now += passed
        one = noted(tally, number, now, share)
        tally = one.tally
        for entry in one.lines:
            left_out = "left_out" in entry
            written["left_out" if left_out else "line"] += int(
                entry["left_out"] if left_out else entry.get("times", 1)
            )
    counted = sum(one.times for one in tally.counted) + sum(one.times for one in tally.left_out)
    assert sum(written.values()) + counted == len(requests)
    assert len(tally.counted) <= MAX_COUNTED


@given(asked)
def test_no_hour_has_more_lines_than_are_known_beforehand(
    requests: list[tuple[int, Share, float]],
) -> None:
    tally, now = Tally(), NOON
    per_hour: Counter[int] = Counter()
    for number, share, passed in requests:
        now += abs(passed)
        one = noted(tally, number, now, share)
        tally = one.tally
        per_hour[int(now // HOUR)] += len(one.lines)
    new = sum(LINES_AN_HOUR.values())
    # New ones; counts of those that made room and of those that are due; what was left out.
    most_left_out = len(LINES_AN_HOUR) * (MAX_CODES_OF_A_SHARE + 1)
    assert max(per_hour.values(), default=0) <= 2 * new + MAX_COUNTED + most_left_out
