from datetime import UTC, datetime, timedelta, timezone

import pytest

from fedward_client.ledger.utc_clock import SystemUtcClock, is_in_window, moment_of, utc_text


def test_a_moment_of_another_zone_is_written_in_utc_to_the_second() -> None:
    zone = timezone(timedelta(hours=-5))
    new_year = datetime(2030, 12, 31, 23, 30, 5, 999_999, tzinfo=zone)
    assert utc_text(new_year) == "2031-01-01T04:30:05Z"
    assert moment_of("2031-01-01T04:30:05Z") == datetime(2031, 1, 1, 4, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "2031-01-01", "2031-01-01T04:30:05", "2031-1-1T4:30:05Z", "2031-02-30T00:00:00Z"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"moment|match|range"):
        moment_of(text)


def test_the_machines_calendar_has_a_zone() -> None:
    assert SystemUtcClock().utc_now().tzinfo is UTC


@pytest.mark.parametrize(
    ("first", "last", "counts"),
    [
        ("2031-01-01T00:00:00Z", "2031-01-01T00:00:00Z", True),
        ("2030-12-31T23:59:59Z", "2030-12-31T23:59:59Z", False),
        ("2030-12-31T23:59:59Z", "2031-01-01T00:00:00Z", True),
        ("2030-12-31T23:59:59Z", None, True),
        ("2032-01-01T00:00:00Z", "2032-01-01T00:00:00Z", True),
    ],
)
def test_what_reaches_into_a_calendar_year_counts_in_it(
    first: str, last: str | None, counts: bool
) -> None:
    now = "2031-07-01T00:00:00Z"
    assert is_in_window("calendar-year", now, first, last) is counts
    assert is_in_window("none", now, first, last)
