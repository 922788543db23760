"""Which of a cohort's counts may be shown, so that no small one can be worked out from the others.

A count below 10 is never shown. What is shown is a band, or for a total the nearest multiple of 5.
A reader knows moreover which counts add up to which. From all of that together, each hidden small
count must still be able to be anything from 1 to 9; until that holds, further counts are hidden
(complementary suppression, the smallest first).

The bounds of what a reader can work out are exact: sums form a tree (each ties counts that no other
path of sums ties), and on a tree narrowing interval by interval gives the true range.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from fedward_common.patient_bands import PatientBand, band_of

SMALLEST_SHOWN = 10
ROUNDED_TO = 5


@dataclass(frozen=True)
class Sum:
    """A total and the counts that make it up, by name."""

    total: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """What a reader knows of a count, both ends included."""

    low: int
    high: float  # infinity where nothing bounds it


_ANYTHING = Range(0, math.inf)


def rounded(count: int) -> int:
    """Give the nearest multiple of 5."""
    return ROUNDED_TO * ((count + ROUNDED_TO // 2) // ROUNDED_TO)


def shown_names(
    counts: Mapping[str, int],
    sums: Sequence[Sum],
    rounded_names: Set[str],
) -> frozenset[str]:
    """Choose the counts that may be shown.

    Args:
        counts: True counts by name.
        sums: Every tie between them that a reader may know of; a tree.
        rounded_names: Those shown as multiples of 5; the others are shown as bands.

    Returns:
        Names of the counts that may be shown; each of the others stays hidden.
    """
    shown = {name for name, n in counts.items() if n >= SMALLEST_SHOWN}
    small = {name for name, n in counts.items() if n < SMALLEST_SHOWN}

    def exposed() -> set[str]:
        ranges = ranges_for_reader(counts, sums, rounded_names, shown)
        return {name for name in small if not _may_be_anything_small(ranges[name])}

    hidden: list[str] = []
    while in_sight := exposed():
        hidden.append(_next_to_hide(in_sight, shown, counts, sums))
        shown.discard(hidden[-1])
    for name in hidden[::-1]:  # some were hidden for what hiding others protects as well
        shown.add(name)
        if exposed():
            shown.discard(name)
    return frozenset(shown)


def band_shown(count: int) -> PatientBand:
    """Give what is shown of a count that is no total."""
    return band_of(count)


def _may_be_anything_small(known: Range) -> bool:
    # one more than 9, for a category that is only named if somebody is in it takes one away
    return known.low <= 1 and known.high >= SMALLEST_SHOWN


def _next_to_hide(
    exposed: Set[str], shown: Set[str], counts: Mapping[str, int], sums: Sequence[Sum]
) -> str:
    """The smallest shown count beside an exposed one; a total only where no part is left."""
    beside = [one for one in sums if exposed & {one.total, *one.parts}]
    for names in (
        {name for one in beside for name in one.parts},
        {one.total for one in beside},
        shown,
    ):
        hideable = names & shown
        if hideable:
            return min(hideable, key=lambda name: (counts[name], name))
    raise AssertionError("a count nobody knows anything of is not exposed")


def ranges_for_reader(
    counts: Mapping[str, int], sums: Sequence[Sum], rounded_names: Set[str], shown: Set[str]
) -> dict[str, Range]:
    """Work out what a reader of the shown counts knows of every count."""
    ranges = {
        name: _range_shown(count, name in rounded_names) if name in shown else _ANYTHING
        for name, count in counts.items()
    }
    changed = True
    while changed:
        changed = False
        for one in sums:
            for name, known in _narrowed(one, ranges).items():
                if known != ranges[name]:
                    ranges[name] = known
                    changed = True
    return ranges


def _range_shown(count: int, is_rounded: bool) -> Range:
    if is_rounded:
        value, reach = rounded(count), ROUNDED_TO // 2
        return Range(max(SMALLEST_SHOWN, value - reach), value + reach)
    band = band_shown(count)
    return Range(band.low, band.high)


def _narrowed(one: Sum, ranges: Mapping[str, Range]) -> dict[str, Range]:
    total = ranges[one.total]
    parts = {name: ranges[name] for name in one.parts}
    low, high = sum(p.low for p in parts.values()), sum(p.high for p in parts.values())
    result = {one.total: Range(max(total.low, low), min(total.high, high))}
    for name, part in parts.items():
        others_high = _sum_of_high(other for key, other in parts.items() if key != name)
        least = total.low - others_high if math.isfinite(others_high) else 0
        result[name] = Range(
            max(part.low, int(least)), min(part.high, total.high - (low - part.low))
        )
    return result


def _sum_of_high(ranges: Iterable[Range]) -> float:
    return sum(one.high for one in ranges)
