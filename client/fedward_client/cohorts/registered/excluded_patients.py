"""`excluded_patients.json`: who was taken out of every cohort, by pseudonym.

Only ever added to. No id stands in it, and none is printed. It is sealed (`home_seal`) and there
from the home's first day, so a list that is gone is noticed; one that is shorter than it was is
noticed where the split record is asked too.
"""

import contextlib
import csv
import functools
from collections.abc import Collection
from pathlib import Path

from fedward_client.cohorts.manifest_csv import (
    Manifest,
    plain_name,
    read_manifest,
    separator_of,
)
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.home_seal import EXCLUDED_PATIENTS, open_sealed_table, sealed_table
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome, write_private_file
from fedward_common.errors import ConfigurationError, CorruptFileError, FedwardError
from fedward_common.file_lock import held_lock

_MAX_BYTES = 64 * 1024 * 1024
_USUAL_COLUMNS = ("patient", "patientid")
_HINT = "restore it from the backup; nobody may be forgotten"
_SIGNS_OF_A_TABLE = (",", ";", "\t", '"')


def excluded_patients(home: SiteHome) -> frozenset[str]:
    """Give the pseudonyms of excluded patients, `pseudonym(key, "patient", id)`.

    Raises:
        CorruptFileError: The file is damaged or gone; nobody is then taken for not excluded.
    """
    path = home.excluded_patients_file
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _damaged(path) from None
    # Asked at every message of a run, so a file that nobody touched is not read again.
    return _names_in(home, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@functools.lru_cache(maxsize=64)
def _names_in(home: SiteHome, state: tuple[int, ...]) -> frozenset[str]:
    return frozenset(_read(home))


def all_excluded_patients(home: SiteHome, record: SplitRecord) -> frozenset[str]:
    """Give what `excluded_patients` does, and see that nobody who was ever noted is missing.

    Raises:
        CorruptFileError: The file is damaged, gone, or an older copy.
    """
    noted = record.num_excluded
    names = excluded_patients(home)
    if len(names) < noted:
        raise CorruptFileError(
            f"{home.excluded_patients_file} is an older copy: it names {len(names)} patients, and"
            f" {noted} were excluded",
            hint="restore the newest copy, or exclude the others again: cohort exclude",
        )
    return names


def is_excluded(key: bytes, excluded: Collection[str], ids: Collection[str]) -> bool:
    """Say whether any of a case's ids is excluded."""
    return any(pseudonym(key, "patient", one) in excluded for one in ids if one)


def add_excluded_patients(home: SiteHome, pseudonyms: Collection[str], reason: str) -> int:
    """Add patients; give the number of those who were not excluded before."""
    with held_lock(home.folder / ".excluded.lock"):
        known = _read(home)
        new = {one: reason for one in pseudonyms if one not in known}
        if new:
            table = sealed_table(home.seal_key(), EXCLUDED_PATIENTS, known | new)
            write_private_file(home.excluded_patients_file, table)
        # A record that is lost or busy must keep nobody in.
        with contextlib.suppress(FedwardError):
            SplitRecord.of_home(home).note_excluded(len(known | new))
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
                hint="name the column of the ids with --column",
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
    usual = [one for one in manifest.columns if plain_name(one) in _USUAL_COLUMNS]
    if len(usual) > 1:
        raise ConfigurationError(
            f"{manifest.path} has {len(usual)} columns that may hold patient ids",
            hint="name the one that counts with --column",
        )
    return usual[0]


def _has_usual_column(path: Path) -> bool:
    first = next(iter(_lines_of(path)), "")
    try:
        cells = next(csv.reader([first], delimiter=separator_of(first), strict=True), [])
    except csv.Error:
        return False
    return any(plain_name(cell) in _USUAL_COLUMNS for cell in cells)


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


def _read(home: SiteHome) -> dict[str, str]:
    path = home.excluded_patients_file
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise _damaged(path) from None
    return open_sealed_table(home.seal_key(), EXCLUDED_PATIENTS, content, _damaged(path))


def _damaged(path: Path) -> CorruptFileError:
    return CorruptFileError(f"{path} is missing or not what was written here", hint=_HINT)
