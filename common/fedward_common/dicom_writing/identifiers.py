"""UIDs, dates and times that follow from what they stand for: no clock and no chance in a file."""

import datetime
import hashlib

_DOMAIN = b"fedward dicom identifier v1"
_FIRST_DAY = datetime.date(2021, 1, 1)
_NUM_DAYS = 1000

Place = str | int


def _digest(place: tuple[Place, ...]) -> int:
    """Hash a place; each part is length-prefixed, so that ("a", "bc") is not ("ab", "c")."""
    parts = [str(part).encode("utf-8", "surrogatepass") for part in place]
    text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return int.from_bytes(hashlib.sha256(_DOMAIN + text).digest()[:16], "big")


def derived_uid(*place: Place) -> str:
    """Give the UID of a place, such as a seed, a hospital, a patient and a number.

    Source: PS3.5 B.2, a UID made of an UUID: `2.25.` and a number below 2^128.
    """
    return f"2.25.{_digest(place)}"


def derived_number(below: int, *place: Place) -> int:
    """Give a whole number from 0 to `below` - 1."""
    return _digest((*place, "number")) % below


def derived_date(*place: Place) -> str:
    """Give a day from 2021 to 2023 as DICOM writes it, `20220317`."""
    day = _FIRST_DAY + datetime.timedelta(days=_digest((*place, "date")) % _NUM_DAYS)
    return day.strftime("%Y%m%d")


def derived_time(*place: Place) -> str:
    """Give a time between 8 and 18 o'clock as DICOM writes it, `093015`."""
    second = 8 * 3600 + _digest((*place, "time")) % (10 * 3600)
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"
