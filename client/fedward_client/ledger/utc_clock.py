"""The calendar as an argument, and the windows in which a budget counts.

A ledger's times are whole seconds in UTC. A window is a policy, not mathematics: what was disclosed
in an earlier year stays disclosed, and the site chooses to count each year by itself. Whoever sets
the machine's clock forward opens a window early; the entries tell, and the clock cannot go back.
"""

import re
from datetime import UTC, datetime
from typing import Literal, Protocol

Window = Literal["calendar-year", "none"]

_FORM = "%Y-%m-%dT%H:%M:%SZ"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", re.ASCII)


class UtcClock(Protocol):
    """What the ledger may ask of the calendar."""

    def utc_now(self) -> datetime:
        """Give the date and time, with its zone."""
        ...


class SystemUtcClock:
    """The machine's own calendar."""

    def utc_now(self) -> datetime:
        """Give the date and time in UTC."""
        return datetime.now(UTC)


def utc_text(moment: datetime) -> str:
    """Write a moment as `2026-01-31T23:59:59Z`, to the second."""
    return moment.astimezone(UTC).strftime(_FORM)


def moment_of(text: str) -> datetime:
    """Read what `utc_text` wrote.

    Raises:
        ValueError: It is of another form.
    """
    if not _MOMENT.match(text):
        raise ValueError(f"{text[:40]!r} is no moment in UTC")
    return datetime.fromisoformat(text)


def is_in_window(window: Window, now: str, first: str, last: str | None) -> bool:
    """Say whether what happened from `first` to `last` counts now.

    Args:
        window: "none" counts everything for ever.
        now: The moment asked about.
        first: When it began.
        last: When it ended; None while it goes on.
    """
    if window == "none" or last is None:
        return True
    # The first four letters are the year in UTC. What ends later than now counts too.
    return last[:4] >= now[:4] or first[:4] >= now[:4]
