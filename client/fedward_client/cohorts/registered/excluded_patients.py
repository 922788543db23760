"""`excluded_patients.json`: who was taken out of every cohort, by pseudonym.

Only ever added to. No id stands in it, and none is printed.
"""

import contextlib
import csv
import fcntl
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from fedward_client.cohorts.manifest_csv import Manifest, read_manifest
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome, write_private_file
from fedward_common.errors import ConfigurationError, CorruptFileError

_SCHEMA = "fedward-excluded-patients/1"
_MAX_BYTES = 64 * 1024 * 1024
_USUAL_COLUMNS = ("patient", "patientid")
_SIGNS_OF_A_TABLE = (",", ";", "\t", '"')


def excluded_patients(home: SiteHome) -> frozenset[str]:
    """Give the pseudonyms of excluded patients, `pseudonym(key, "patient", id)`.

    Raises:
        CorruptFileError: The file is damaged; nobody is then taken for not excluded.
    """
    return frozenset(_read(home.excluded_patients_file))


def is_excluded(key: bytes, excluded: Collection[str], ids: Collection[str]) -> bool:
    """Say whether any of a case's ids is excluded."""
    return any(pseudonym(key, "patient", one) in excluded for one in ids if one)


def add_excluded_patients(home: SiteHome, pseudonyms: Collection[str], reason: str) -> int:
    """Add patients; give the number of those who were not excluded before."""
    path = home.excluded_patients_file
    with _locked(home):
        known = _read(path)
        new = {one: reason for one in pseudonyms if one not in known}
        if new:
            table = {"schema": _SCHEMA, "excluded": dict(sorted((known | new).items()))}
            write_private_file(path, json.dumps(table, indent=1).encode())
    return len(new)


def read_patient_ids(path: Path, column: str | None) -> frozenset[str]:
    """Read ids from a list, one a line, or from a column of a CSV file.

    A file is a list if its first line has no column of the usual names. A line of a list with a
    sign that separates columns is refused: taken for one id, it would exclude nobody.

    Raises:
        ConfigurationError: It cannot be read, has no such column or several, looks like a table
            though no column is known, or holds no id.
    """
    if column is None and not _has_usual_column(path):
        ids = _lines_of(path)
        if any(sign in line for line in ids for sign in _SIGNS_OF_A_TABLE):
            raise ConfigurationError(
                f"{path} looks like a table, and none of its columns has a usual name",
                hint="name the column of the ids with --column; separate columns by commas",
            )
    else:
        manifest = read_manifest(path)
        name = manifest.require_column(column or _usual_column(manifest), "patients")
        ids = [row.cells[name] for row in manifest.rows]
    found = frozenset(one for one in ids if one)
    if not found:
        raise ConfigurationError(f"{path} holds no patient id", hint="one id a line")
    return found


def _usual_column(manifest: Manifest) -> str:
    usual = [one for one in manifest.columns if _plain(one) in _USUAL_COLUMNS]
    if len(usual) > 1:
        raise ConfigurationError(
            f"{manifest.path} has {len(usual)} columns that may hold patient ids",
            hint="name the one that counts with --column",
        )
    return usual[0]


def _has_usual_column(path: Path) -> bool:
    first = next(iter(_lines_of(path)), "")
    try:
        cells = next(csv.reader([first], strict=True), [])
    except csv.Error:
        return False
    return any(_plain(cell) in _USUAL_COLUMNS for cell in cells)


def _lines_of(path: Path) -> list[str]:
    try:
        if not path.is_file():
            raise ConfigurationError(f"{path} is no file", hint="name a text or CSV file")
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigurationError(f"{path} is too large", hint=f"at most {_MAX_BYTES} bytes")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8", hint="save it as UTF-8") from None
    return [line.strip() for line in text.splitlines()]


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _read(path: Path) -> dict[str, str]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        table = json.loads(content)
        entries = table["excluded"]
        sound = table["schema"] == _SCHEMA and all(
            isinstance(k, str) and isinstance(v, str) for k, v in entries.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise CorruptFileError(f"{path} is damaged", hint="restore it; nobody may be forgotten")
    return dict(entries)


@contextlib.contextmanager
def _locked(home: SiteHome) -> Iterator[None]:
    descriptor = os.open(home.folder / ".excluded.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
