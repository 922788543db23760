"""Single values of a header, each checked and bounded.

What is absent, damaged, of the wrong kind, not finite, out of bounds or too long is None or "".
Whatever pydicom raises on the way ends here: its texts quote the value.
"""

import math
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from fedward_client.dicom.raw_values import NOT_PLAIN, plain_value

MAX_TEXT_CHARACTERS = 128

_UID = re.compile(r"[0-9A-Za-z._-]{1,128}", re.ASCII)  # real files have letters and 65th digits
_DATE = re.compile(r"(\d{4})[.:-]?(\d{2})[.:-]?(\d{2})", re.ASCII)
_MAX_ITEMS = 64


def value_of(dataset: Any, keyword: str) -> Any:
    """Give one element's value: text, number, several of them in a list, or a sequence."""
    try:
        value = plain_value(dataset, keyword)
        return dataset.get(keyword) if value is NOT_PLAIN else value
    except Exception:  # pydicom raises anything on a damaged value
        return None


def is_filled(dataset: Any, keyword: str) -> bool:
    """Say whether an element is there and not empty, whatever it holds."""
    return keyword in dataset and dataset.get_item(keyword).value not in (None, "", b"")


def text_of(dataset: Any, keyword: str, max_characters: int = MAX_TEXT_CHARACTERS) -> str:
    """Give a text without unprintable characters; several values stay apart by a backslash."""
    return _text(value_of(dataset, keyword), max_characters)


def code_of(dataset: Any, keyword: str) -> str:
    """Give a text in capitals."""
    return text_of(dataset, keyword).upper()


def uid_of(dataset: Any, keyword: str) -> str:
    """Give a single UID; a few forbidden characters and digits too many are let pass."""
    text = text_of(dataset, keyword)
    return text if _UID.fullmatch(text) else ""


def meta_uid_of(dataset: Any, keyword: str) -> str:
    """Give a UID of the file's meta information."""
    meta = getattr(dataset, "file_meta", None)
    return "" if meta is None else uid_of(meta, keyword)


def date_of(dataset: Any, keyword: str) -> date | None:
    """Give a day that the calendar has; also in the old form with dots."""
    found = _DATE.match(text_of(dataset, keyword))
    if found is None:
        return None
    try:
        return date(*(int(part) for part in found.groups()))
    except ValueError:
        return None


def finite(value: Any, low: float, high: float) -> float | None:
    """Give `value` as a number between the bounds."""
    try:
        number = float(value)
    except Exception:  # None, text, a sequence, more digits than a number has
        return None
    return number if math.isfinite(number) and low <= number <= high else None


def integer_of(dataset: Any, keyword: str, low: int, high: int) -> int | None:
    """Give a whole number between the bounds."""
    number = finite(value_of(dataset, keyword), low, high)
    return int(number) if number is not None and number.is_integer() else None


def vector(value: Any, length: int, low: float, high: float) -> tuple[float, ...] | None:
    """Give so many numbers, each between the bounds."""
    if not _is_list(value) or len(value) != length:
        return None
    numbers = [number for one in value if (number := finite(one, low, high)) is not None]
    return tuple(numbers) if len(numbers) == length else None


def numbers_of(dataset: Any, keyword: str, limit: float) -> list[float]:
    """Give the numbers of an element that may have several; none where one of them is unusable."""
    value = value_of(dataset, keyword)
    several = list(value[:_MAX_ITEMS]) if _is_list(value) else [value]
    numbers = [number for one in several if (number := finite(one, -limit, limit)) is not None]
    return numbers if len(numbers) == len(several) else []


def items_along(dataset: Any, *keywords: str) -> list[Any]:
    """Give every item at the end of a path of sequences, the first 64 of each."""
    found = [dataset]
    for keyword in keywords:
        deeper: list[Any] = []
        for one in found:
            value = value_of(one, keyword)
            if _is_list(value):
                deeper += [item for item in value[:_MAX_ITEMS] if hasattr(item, "get_item")]
        found = deeper[:_MAX_ITEMS]
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _text(value: Any, max_characters: int) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    try:
        text = "\\".join(str(one) for one in value) if _is_list(value) else str(value)
    except Exception:
        return ""
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    text = text.strip()
    return text if len(text) <= max_characters else ""
