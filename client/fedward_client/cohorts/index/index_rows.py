"""How `InstanceFacts` lie in the tables of the index.

What all images of a series have in common is stored once, in `headers`; `files` holds the rest, one
row for every file that was looked at, usable or not. Locators are bytes: a file name need not be
text.
"""

import hashlib
import json
from typing import Any

from fedward_client.dicom.instance_facts import InstanceFacts

SCHEMA_VERSION = 2
APPLICATION_ID = 0x46574449  # "FWDI"

HEADER_FIELDS: tuple[str, ...] = (
    "sop_class_uid",
    "series_instance_uid",
    "study_instance_uid",
    "accession_number",
    "patient_id",
    "person_key",
    "patient_sex",
    "patient_age_years",
    "modality",
    "manufacturer",
    "manufacturer_model_name",
    "image_type",
    "burned_in_annotation",
    "transfer_syntax_uid",
    "photometric_interpretation",
    "rows",
    "columns",
    "samples_per_pixel",
    "has_pixels",
    "frame_of_reference_uid",
    "image_orientation",
    "pixel_spacing_mm",
    "slice_thickness_mm",
    "spacing_between_slices_mm",
    "referenced_series",
)
FILE_FIELDS: tuple[str, ...] = (
    "sop_instance_uid",
    "number_of_frames",
    "instance_number",
    "image_position_mm",
    "phase",
)
FACT_COLUMNS = ", ".join(
    ["f.locator", "f.size_bytes", "f.modified_ns"]
    + [f"f.{name}" for name in FILE_FIELDS]
    + [f"h.{name}" for name in HEADER_FIELDS]
)

_VECTORS = {"image_orientation", "pixel_spacing_mm", "image_position_mm"}
_FACT_NAMES = ("locator", "size_bytes", "modified_ns", *FILE_FIELDS, *HEADER_FIELDS)

_INDICES = {
    "headers_series ON headers (series_instance_uid)": "",
    "headers_study ON headers (study_instance_uid, patient_id)": "",
    "headers_accession ON headers (accession_number, study_instance_uid)": "",
    "headers_patient ON headers (patient_id, study_instance_uid)": "",
    "headers_person ON headers (person_key, patient_id)": "",
    "files_instance ON files (sop_instance_uid, size_bytes)": "sop_instance_uid IS NOT NULL",
    "files_header ON files (header_id)": "header_id IS NOT NULL",
    "files_problem ON files (code, locator)": "code IS NOT NULL",
}
SCHEMA: tuple[str, ...] = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value)",
    f"""CREATE TABLE headers (
        id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, {", ".join(HEADER_FIELDS)}
    )""",
    f"""CREATE TABLE files (
        id INTEGER PRIMARY KEY, locator BLOB NOT NULL UNIQUE, size_bytes INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL, changed_ns INTEGER NOT NULL, scan INTEGER NOT NULL,
        code TEXT, header_id INTEGER, content_sha256 BLOB, {", ".join(FILE_FIELDS)}
    )""",
    *(f"CREATE INDEX {on}{' WHERE ' * bool(of)}{of}" for on, of in _INDICES.items()),
)


def locator_bytes(locator: str) -> bytes:
    """Encode a path, also one whose bytes were no text and stand in it as surrogates."""
    return locator.encode("utf-8", "surrogatepass")


def locator_text(stored: bytes) -> str:
    """Undo `locator_bytes`."""
    return stored.decode("utf-8", "surrogatepass")


def header_row(facts: InstanceFacts) -> tuple[Any, ...]:
    """Give a row of `headers`: digest of the values, then the values."""
    values = [_stored(getattr(facts, name)) for name in HEADER_FIELDS]
    digest = hashlib.sha256(json.dumps(values).encode()).digest()[:16]
    return (digest, *values)


def file_values(facts: InstanceFacts) -> tuple[Any, ...]:
    """Give the values of `FILE_FIELDS`."""
    return tuple(_stored(getattr(facts, name)) for name in FILE_FIELDS)


def facts_from_row(row: tuple[Any, ...]) -> InstanceFacts:
    """Undo the above for a row of `FACT_COLUMNS`."""
    values = dict(zip(_FACT_NAMES, row, strict=True))
    values["locator"] = locator_text(values["locator"])
    values["has_pixels"] = bool(values["has_pixels"])
    for name in _VECTORS:
        if values[name] is not None:
            values[name] = tuple(json.loads(values[name]))
    return InstanceFacts(**values)


def printable_place(locator: str) -> str:
    """Write a path for a person: line breaks, surrogates and the like as escapes."""
    if locator.isprintable():
        return locator
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in locator
    )


def _stored(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, tuple) else value
