"""Snapshots on disk: `cohorts/NAME/snapshots/K.json`, written once, verified whenever read.

Canonical JSON (keys sorted, no blanks, ASCII) of the form
`{"recorded":N,"seal":"...","snapshot":{...}}`. N is the number of identities in the split record
when it was written; the seal (`home_seal`) is that of N and of the snapshot's own bytes.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator
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
from fedward_client.home_seal import seal_of, verify_seal
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_common.settings import from_table

_SCHEMA = "fedward-snapshot/2"
_HEAD = b'{"recorded":%d,"seal":"%s","snapshot":'
_HEAD_READ = re.compile(rb'\{"recorded":(0|[1-9][0-9]{0,14}),"seal":"([0-9a-f]{64})","snapshot":')
_TAIL = b"}\n"
_READ_ONLY = 0o400
_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")


def snapshot_numbers(home: SiteHome, name: str) -> tuple[int, ...]:
    """Give the numbers of a cohort's snapshots, ascending."""
    folder = CohortFolder(home, name).snapshots
    stems = (path.stem for path in folder.glob("*.json")) if folder.is_dir() else ()
    return tuple(sorted(int(stem) for stem in stems if _NUMBER.match(stem)))


def write_snapshot(home: SiteHome, snapshot: Snapshot, num_recorded: int) -> Path:
    """Write a snapshot, which must be new.

    Args:
        home: The site's.
        snapshot: Its identities stand in the split record.
        num_recorded: What `SplitRecord.add` gave: the record never holds fewer again.

    Raises:
        ConfigurationError: There is one of this number.
    """
    path = _path(home, snapshot.name, snapshot.number)
    if path.exists():
        raise ConfigurationError(
            f"snapshot {snapshot.full_name} exists", hint="snapshots are never written twice"
        )
    body = _canonical(_table_of(snapshot))
    seal = seal_of(home.seal_key(), _SCHEMA, (b"%d\0" % num_recorded, body))
    head = _HEAD % (num_recorded, seal.encode())
    write_atomically(path, (head, body, _TAIL), mode=_READ_ONLY)
    return path


def newest_snapshot(home: SiteHome, name: str) -> Snapshot | None:
    """Read the newest snapshot; None where there is none yet."""
    numbers = snapshot_numbers(home, name)
    return _read(home, name, numbers[-1]) if numbers else None


def newest_recorded_counts(home: SiteHome) -> Iterator[int]:
    """Give how many identities the split record had when each cohort's newest was written.

    A snapshot that is damaged says nothing; the one before it does.
    """
    for folder in sorted(home.cohorts.glob("*/snapshots")):
        numbers = sorted(
            (int(one.stem) for one in folder.glob("*.json") if _NUMBER.match(one.stem)),
            reverse=True,
        )
        for number in numbers:
            with contextlib.suppress(CorruptFileError, OSError):
                yield _opened(home, folder / f"{number}.json")[0]
                break


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
    _, body = _opened(home, path)
    try:
        snapshot = _snapshot_of(json.loads(body))
    except (ValueError, KeyError, TypeError, RecursionError, ConfigurationError):
        raise _corrupt(path) from None
    if (snapshot.name, snapshot.number) != (name, number):
        raise _corrupt(path)
    return snapshot


def _opened(home: SiteHome, path: Path) -> tuple[int, bytes]:
    """Give the recorded number and the body of a snapshot whose seal fits."""
    content = path.read_bytes()
    head = _HEAD_READ.match(content)
    if head is None or not content.endswith(_TAIL):
        raise _corrupt(path)
    body = content[head.end() : -len(_TAIL)]
    parts = (b"%s\0" % head[1], body)
    verify_seal(home.seal_key(), _SCHEMA, parts, head[2].decode(), _corrupt(path))
    return int(head[1]), body


def _corrupt(path: Path) -> CorruptFileError:
    return CorruptFileError(
        f"{path} is not what was written here",
        hint="restore it, or make the next one: cohort update",
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
        table["mask"] = [case.mask.kind, files, case.mask.folder, case.mask.meanings]
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
    label, identities = table.pop("label"), table.pop("identities")
    if mask is not None:
        kind, states, folder, meanings = mask
        mask = MaskReference(
            kind,
            tuple(FileState(*one) for one in states),
            folder,
            tuple((key, value) for key, value in meanings),
        )
    return SnapshotCase(
        **table,
        label=tuple(label) if isinstance(label, list) else label,
        files=tuple(FileState(*one) for one in files),
        mask=mask,
        identities=tuple(identities),
    )
