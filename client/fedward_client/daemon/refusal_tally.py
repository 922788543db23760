"""How refusals are written down so that nobody can fill a hospital's disk with them.

A refusal that is new is a line at once. The same one again is counted, and the count becomes a line
of its own when an hour has passed since the last. An hour has so many new lines of each share; of
what comes beyond, the number by code. What concerns secrecy has a share that nothing else uses up.
A question that was answered and came again is no refusal; it is written down in the same way, with
a share of its own. So a record grows by a known amount whoever asks, and each refusal stands in it,
in a count of it, or in a count that is not written yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Share = Literal["coordinator", "secrecy", "repeated", "stranger", "account"]
"""Whose lines a refusal takes: those of a coordinator that signed, of one where the secrecy of a
contribution was concerned, of one that said again what was answered, of whoever could not be
believed, or of an account here."""

Line = dict[str, str | int | float]

LINES_AN_HOUR: Mapping[Share, int] = {
    "coordinator": 60, "secrecy": 60, "repeated": 60, "stranger": 10, "account": 10,
}  # fmt: skip
MAX_COUNTED = 64
# More than there are codes of secrecy; what comes beyond is counted together, under no code.
MAX_CODES_OF_A_SHARE = 64

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
class LeftOut:
    """Refusals of one share and code that are neither written nor counted by what they were.

    Attributes:
        code: Of each; empty for those of whatever code the share had no more room for.
        times: How many.
        last_seconds: When one came last; 1970, UTC.
    """

    share: Share
    code: str
    times: int = 0
    last_seconds: float = 0.0

    def line(self) -> Line:
        """Give the line of them."""
        who = self.share if self.share in ("stranger", "account") else "coordinator"
        code: Line = {"code": self.code} if self.code else {}
        when = round(self.last_seconds, 3)
        return {"left_out": self.times, "from": who, **code, "last_utc_seconds": when}


@dataclass(frozen=True)
class Tally:
    """What is remembered of refusals between two of them.

    Attributes:
        counted: Those that are known, the one that came last at the end.
        hour: The one that the next two are of, in hours since 1970.
        num_lines: Written of each share.
        left_out: What had no line and no count of its own, each share and code once.
    """

    counted: tuple[Counted, ...] = ()
    hour: int = 0
    num_lines: Mapping[Share, int] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    def unwritten(self) -> tuple[Line, ...]:
        """Give the lines that its counts are to become."""
        counts = (one.again() for one in self.counted if one.times)
        return (*(one.line() for one in self.left_out), *counts)


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


def note_one_more(tally: Tally, share: Share, line: Line, *, now_seconds: float) -> Noted:
    """Take one more refusal in.

    Args:
        tally: So far.
        share: Whose limit counts.
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
    num_lines = tally.num_lines.get(share, 0)
    if num_lines >= LINES_AN_HOUR[share]:
        left_out = _with_one_more(tally.left_out, share, str(line.get("code", "")), now_seconds)
        return Noted(replace(tally, left_out=left_out), lines, is_new=False)
    tally = replace(tally, num_lines={**tally.num_lines, share: num_lines + 1})
    forgotten = others[: max(0, len(others) + 1 - MAX_COUNTED)]
    lines += tuple(one.again() for one in forgotten if one.times)
    kept = (*others[len(forgotten) :], Counted(line, now_seconds))
    return Noted(replace(tally, counted=kept), (*lines, line), is_new=True)


def _with_one_more(
    left_out: tuple[LeftOut, ...], share: Share, code: str, now_seconds: float
) -> tuple[LeftOut, ...]:
    of_share = {one.code: one for one in left_out if one.share == share}
    if code not in of_share and len(of_share) >= MAX_CODES_OF_A_SHARE:
        code = ""
    known = of_share.get(code)
    times = known.times if known else 0
    others = tuple(one for one in left_out if one is not known)
    return (*others, LeftOut(share, code, times + 1, now_seconds))


def _with_counts_written(tally: Tally, now_seconds: float) -> tuple[Tally, tuple[Line, ...]]:
    """Begin a new hour where one has come, and write what was counted long enough."""
    lines: tuple[Line, ...] = ()
    hour = int(now_seconds // _HOUR_SECONDS)
    if hour != tally.hour:
        lines += tuple(one.line() for one in tally.left_out)
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
