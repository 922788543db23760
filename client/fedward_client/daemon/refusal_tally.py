"""How refusals are written down so that nobody can fill a hospital's disk with them.

A refusal that is new is a line at once. The same one again is counted, and the count becomes a line
of its own when an hour has passed since the last. Of each origin only so many new lines are written
an hour; of what comes beyond, the number. So a record grows by a known amount whoever asks, and
each refusal stands in it, in a count of it, or in a count that is not written yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Origin = Literal["coordinator", "stranger", "account"]
"""Who was refused: a coordinator that signed, whoever could not be believed, or an account here."""

Line = dict[str, str | int | float]

LINES_AN_HOUR: Mapping[Origin, int] = {"coordinator": 60, "stranger": 10, "account": 10}
MAX_COUNTED = 64

_HOUR_SECONDS = 3600


@dataclass(frozen=True)
class Counted:
    """One refusal that has a line, and how often it came since.

    Attributes:
        line: What stands in its line: two refusals with one content are the same.
        line_seconds: When that was written; 1970, UTC.
        times: How often it came since then.
        last_seconds: When it came last.
    """

    line: Line
    line_seconds: float
    times: int = 0
    last_seconds: float = 0.0

    def again(self) -> Line:
        """Give the line of what was counted."""
        return self.line | {"times": self.times, "last_utc_seconds": round(self.last_seconds, 3)}


@dataclass(frozen=True)
class Tally:
    """What is remembered of refusals between two of them.

    Attributes:
        counted: Those that are known, the one that came last at the end.
        hour: The one that the next two are of, in hours since 1970.
        num_lines: Written of each origin.
        num_left_out: Neither written nor counted by what they were, of each origin.
    """

    counted: tuple[Counted, ...] = ()
    hour: int = 0
    num_lines: Mapping[Origin, int] = field(default_factory=dict)
    num_left_out: Mapping[Origin, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Noted:
    """What comes of one more refusal.

    Attributes:
        lines: To be written now, in this order.
        is_new: Whether the refusal itself is among them.
    """

    tally: Tally
    lines: tuple[Line, ...]
    is_new: bool


def note_one_more(tally: Tally, origin: Origin, line: Line, *, now_seconds: float) -> Noted:
    """Take one more refusal in.

    Args:
        tally: So far.
        origin: Whose limit counts.
        line: What its line says; neither times nor moments stand in it.
        now_seconds: Seconds since 1970.
    """
    tally, lines = _with_counts_written(tally, now_seconds)
    known = next((one for one in tally.counted if one.line == line), None)
    others = tuple(one for one in tally.counted if one is not known)
    if known is not None:
        again = replace(known, times=known.times + 1, last_seconds=now_seconds)
        counted, due = _written_if_due(again, now_seconds)
        return Noted(replace(tally, counted=(*others, counted)), (*lines, *due), is_new=False)
    num_lines = tally.num_lines.get(origin, 0)
    if num_lines >= LINES_AN_HOUR[origin]:
        left_out = {origin: tally.num_left_out.get(origin, 0) + 1}
        return Noted(
            replace(tally, num_left_out={**tally.num_left_out, **left_out}), lines, is_new=False
        )
    tally = replace(tally, num_lines={**tally.num_lines, origin: num_lines + 1})
    forgotten = others[: max(0, len(others) + 1 - MAX_COUNTED)]
    lines += tuple(one.again() for one in forgotten if one.times)
    kept = (*others[len(forgotten) :], Counted(line, now_seconds))
    return Noted(replace(tally, counted=kept), (*lines, line), is_new=True)


def _with_counts_written(tally: Tally, now_seconds: float) -> tuple[Tally, tuple[Line, ...]]:
    """Begin a new hour where one has come, and write what was counted long enough."""
    lines: tuple[Line, ...] = ()
    hour = int(now_seconds // _HOUR_SECONDS)
    if hour != tally.hour:
        beyond = tally.num_left_out.items()
        lines += tuple({"left_out": number, "from": origin} for origin, number in beyond)
        tally = Tally(tally.counted, hour)
    counted = []
    for one in tally.counted:
        kept, due = _written_if_due(one, now_seconds)
        counted.append(kept)
        lines += due
    return replace(tally, counted=tuple(counted)), lines


def _written_if_due(one: Counted, now_seconds: float) -> tuple[Counted, tuple[Line, ...]]:
    # A clock that was set back makes no count wait for it.
    if not one.times or 0 <= now_seconds - one.line_seconds < _HOUR_SECONDS:
        return one, ()
    return Counted(one.line, now_seconds), (one.again(),)
