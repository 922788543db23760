"""Which segments of a SEG, or ROIs of an RTSTRUCT, are drawn into a mask, and as what value.

Their numbers differ from patient to patient where a person drew them, and their names do not: so
either may be told. Nothing is guessed: a name is known as it was told, but for capitals and blanks
around it.
"""

from collections.abc import Mapping, Sequence

from fedward_client.cohorts.source import E_LABEL_UNMAPPED, UnusableCaseError

Meanings = Mapping[str, int | None]
"""`segment_key` of a number or a name -> value in the mask, from 1 on; None: not to be drawn."""


def segment_key(text: str) -> str:
    """Give what names of one segment have in common."""
    return text.strip().casefold()


def values_to_draw(
    segments: Mapping[int, str], meanings: Meanings | None, wanted: Sequence[int] | None
) -> dict[int, int]:
    """Give the value that each segment is drawn as; the others are not looked at.

    Args:
        segments: Number -> SegmentLabel or ROIName.
        meanings: None where each is drawn as its own number. A number counts before a name.
        wanted: Numbers to take; all if None.

    Raises:
        UnusableCaseError: `E_LABEL_UNMAPPED`: neither number nor name of one was told.
    """
    numbers = [number for number in segments if wanted is None or number in wanted]
    if meanings is None:
        return {number: number for number in numbers}
    found: dict[int, int] = {}
    for number in numbers:
        keys = [key for key in (str(number), segment_key(segments[number])) if key in meanings]
        if not keys:
            raise UnusableCaseError(E_LABEL_UNMAPPED)
        value = meanings[keys[0]]
        if value is not None:
            found[number] = value
    return found
