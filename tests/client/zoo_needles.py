"""What of the zoo's patients no output may hold, and the search for it."""

import csv
import html
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

MIN_NEEDLE = 4  # shorter values (a sex, an age, a slice number) stand in any text by chance

# Values that name nobody and that Fedward itself may rightly say.
GENERIC = {
    "original": "a value of ImageType",
    "derived": "a value of ImageType",
    "primary": "a value of ImageType",
    "secondary": "a value of ImageType",
    "unknown": "what a report says of a maker it does not know",
    "test": "a word of made names; also the split",
    "patient": "a word of made names; also what reports count",
    "anonymized": "what a tool wrote over a name",
    "none": "what is printed where nothing is said",
}
_NAME_PARTS = re.compile(r"[\^=\s]+")
_MAYBE_OF_A_HASH = re.compile(r"[0-9a-f]{4,8}")


def needles(zoo: Path) -> set[str]:
    """Give names, their parts, ids, dates, UIDs and free texts, casefolded."""
    found = {one.strip().casefold() for one in _values(zoo)}
    return {one for one in found if len(one) >= MIN_NEEDLE and one not in GENERIC}


def present(wanted: Iterable[str], told: str | bytes) -> set[str]:
    """Give the needles that stand in a text or in bytes, plain or escaped, in any case."""
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else told
    text = text.casefold()
    return {one for one in wanted if any(_stands_in(form, text) for form in _forms(one))}


def _forms(needle: str) -> set[str]:
    return {needle, json.dumps(needle)[1:-1], html.escape(needle)}


def _stands_in(form: str, text: str) -> bool:
    """Eight digits or fewer stand inside a hash by chance; they count as a word of their own."""
    if form not in text:
        return False
    if _MAYBE_OF_A_HASH.fullmatch(form) is None:
        return True
    return re.search(rf"(?<![0-9a-z]){form}(?![0-9a-z])", text) is not None


def _values(zoo: Path) -> Iterator[str]:
    for expected in json.loads((zoo / "deid_expected.json").read_text()).values():
        for entry in expected["must_be_removed_or_replaced"]:
            yield str(entry["value"])
    with (zoo / "manifest.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield from _with_parts(row["patient_name"])
    for path in images(zoo):
        yield from _of_header(path)


def _of_header(path: Path) -> Iterator[str]:
    from pydicom import dcmread

    header = dcmread(path, stop_before_pixels=True, force=True)
    yield str(header.get("PatientID") or "")
    yield from _with_parts(str(header.get("PatientName") or ""))


def _with_parts(name: str) -> list[str]:
    return [name, *_NAME_PARTS.split(name)]


def images(zoo: Path) -> list[Path]:
    """Give every file of the zoo but the lists."""
    return sorted(path for path in zoo.iterdir() if path.suffix not in {".json", ".csv"})
