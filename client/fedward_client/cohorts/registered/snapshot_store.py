"""Snapshots on disk: `cohorts/NAME/snapshots/K.json`, written once, verified whenever read.

Canonical JSON (keys sorted, no blanks, ASCII) of the form
`{"sha256":"...","snapshot":{...}}`, the hash being that of the snapshot's own bytes.
"""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.snapshot import (
    FileState,
    MaskReference,
    Snapshot,
    SnapshotCase,
)
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_common.settings import from_table

_SCHEMA = "fedward-snapshot/1"
_HEAD = b'{"sha256":"%s","snapshot":'
_HEAD_BYTES = len(_HEAD) - 2 + 64
_TAIL = b"}\n"
_READ_ONLY = 0o400
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")


def snapshot_numbers(home: SiteHome, name: str) -> tuple[int, ...]:
    """Give the numbers of a cohort's snapshots, ascending."""
    folder = CohortFolder(home, name).snapshots
    stems = (path.stem for path in folder.glob("*.json")) if folder.is_dir() else ()
    return tuple(sorted(int(stem) for stem in stems if _NUMBER.match(stem)))


def write_snapshot(home: SiteHome, snapshot: Snapshot) -> Path:
    """Write a snapshot, which must be new.

    Raises:
        ConfigurationError: There is one of this number.
    """
    path = _path(home, snapshot.name, snapshot.number)
    if path.exists():
        raise ConfigurationError(
            f"snapshot {snapshot.full_name} exists", hint="snapshots are never written twice"
        )
    body = _canonical(_table_of(snapshot))
    digest = hashlib.sha256(body).hexdigest().encode()
    write_atomically(path, (_HEAD % digest, body, _TAIL), mode=_READ_ONLY)
    return path


def newest_snapshot(home: SiteHome, name: str) -> Snapshot | None:
    """Read the newest snapshot; None where there is none yet."""
    numbers = snapshot_numbers(home, name)
    return _read(home, name, numbers[-1]) if numbers else None


def read_snapshot(home: SiteHome, full_name: str) -> Snapshot:
    """Read `NAME@k`, or the newest of `NAME`.

    Raises:
        ConfigurationError: There is no such snapshot.
        CorruptFileError: It is not what was written.
    """
    name, at, number = full_name.partition("@")
    numbers = snapshot_numbers(home, name)
    if at:
        wanted = int(number) if _NUMBER.match(number) else 0
        if wanted not in numbers:
            raise _missing(f"{name}@{number}", numbers)
        return _read(home, name, wanted)
    if not numbers:
        raise _missing(name, numbers)
    return _read(home, name, numbers[-1])


def _missing(full_name: str, numbers: tuple[int, ...]) -> ConfigurationError:
    there = f"there are 1 to {numbers[-1]}" if numbers else "register it with cohort add"
    return ConfigurationError(f"there is no snapshot {full_name[:80]!r}", hint=there)


def _path(home: SiteHome, name: str, number: int) -> Path:
    return CohortFolder(home, name).snapshots / f"{number}.json"


def _read(home: SiteHome, name: str, number: int) -> Snapshot:
    path = _path(home, name, number)
    content = path.read_bytes()
    head, body = content[:_HEAD_BYTES], content[_HEAD_BYTES : -len(_TAIL)]
    expected = _HEAD % hashlib.sha256(body).hexdigest().encode()
    if head != expected or not content.endswith(_TAIL):
        raise _corrupt(path)
    try:
        snapshot = _snapshot_of(json.loads(body))
    except (ValueError, KeyError, TypeError, RecursionError, ConfigurationError):
        raise _corrupt(path) from None
    if (snapshot.name, snapshot.number) != (name, number):
        raise _corrupt(path)
    return snapshot


def _corrupt(path: Path) -> CorruptFileError:
    return CorruptFileError(
        f"{path} is not what was written", hint="restore it, or make the next one: cohort update"
    )


def _canonical(table: Any) -> bytes:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def _table_of(snapshot: Snapshot) -> dict[str, Any]:
    """Give plain values; files as [locator, bytes, time], for there may be a million of them."""
    table = {f.name: getattr(snapshot, f.name) for f in dataclasses.fields(snapshot)}
    table["cases"] = [_table_of_case(one) for one in snapshot.cases]
    table["findings"] = [[one.code, one.line, one.place] for one in snapshot.findings]
    return {"schema": _SCHEMA, **table}


def _table_of_case(case: SnapshotCase) -> dict[str, Any]:
    table = {f.name: getattr(case, f.name) for f in dataclasses.fields(case)}
    table["files"] = [_list_of(one) for one in case.files]
    if case.mask is not None:
        files = [_list_of(one) for one in case.mask.files]
        table["mask"] = [case.mask.kind, files, case.mask.folder]
    return table


def _list_of(state: FileState) -> list[str | int]:
    return [state.locator, state.size_bytes, state.modified_ns]


def _snapshot_of(table: dict[str, Any]) -> Snapshot:
    if table.pop("schema") != _SCHEMA:
        raise ValueError("another schema")
    cases, findings = table.pop("cases"), table.pop("findings")
    whole = from_table(Snapshot, {**table, "cases": (), "findings": ()})
    return dataclasses.replace(
        whole,
        cases=tuple(_case_of(one) for one in cases),
        findings=tuple(Finding(code, line, place) for code, line, place in findings),
    )


def _case_of(table: dict[str, Any]) -> SnapshotCase:
    files, mask = table.pop("files"), table.pop("mask")
    label = table.pop("label")
    if mask is not None:
        kind, states, *folder = mask
        mask = MaskReference(kind, tuple(FileState(*one) for one in states), *folder)
    return SnapshotCase(
        **table,
        label=tuple(label) if isinstance(label, list) else label,
        files=tuple(FileState(*one) for one in files),
        mask=mask,
    )
