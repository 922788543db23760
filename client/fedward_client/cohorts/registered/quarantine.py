"""`quarantine.json`: cases that only decoding showed to be unusable, with their code.

An entry holds as long as the case's files are those that were looked at; a file that was exported
anew gets another chance. Each `cohort check` writes the list anew.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedward_client.cohorts.registered.snapshot import FileState, SnapshotCase
from fedward_client.site_home import write_private_file
from fedward_common.errors import CorruptFileError

_SCHEMA = "fedward-quarantine/1"


@dataclass(frozen=True)
class Quarantine:
    """Codes by case.

    Args:
        entries: Case id -> (hash of its files' states, code).
    """

    entries: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    def code_of(self, case: SnapshotCase) -> str | None:
        """Give the code of a case in quarantine, or None."""
        content, code = self.entries.get(case.case_id, ("", ""))
        return code if code and content == state_hash(case) else None


def quarantine_of(codes: Iterable[tuple[SnapshotCase, str]]) -> Quarantine:
    """Put cases into quarantine."""
    return Quarantine({case.case_id: (state_hash(case), code) for case, code in codes})


def state_hash(case: SnapshotCase) -> str:
    """Hash the names, sizes and times of a case's files and mask, and what the mask means."""
    mask = case.mask.files if case.mask is not None else ()
    table: list[object] = [[_plain(one) for one in files] for files in (case.files, mask)]
    if case.mask is not None and case.mask.folder:
        table.append(case.mask.folder)
    if case.mask is not None and case.mask.meanings:
        table.append(case.mask.meanings)
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()


def _plain(state: FileState) -> list[str | int]:
    return [state.locator, state.size_bytes, state.modified_ns]


def read_quarantine(path: Path) -> Quarantine:
    """Read the list; none is an empty one.

    Raises:
        CorruptFileError: It is damaged.
    """
    if not path.exists():
        return Quarantine()
    try:
        table = json.loads(path.read_bytes())
        entries = {str(k): (str(v[0]), str(v[1])) for k, v in table["cases"].items()}
        sound = table["schema"] == _SCHEMA
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        sound = False
    if not sound:
        raise CorruptFileError(f"{path} is damaged", hint="delete it and check the cohort again")
    return Quarantine(entries)


def write_quarantine(path: Path, quarantine: Quarantine) -> None:
    """Write the list whole or not at all, for its owner alone."""
    cases = {case_id: list(entry) for case_id, entry in sorted(quarantine.entries.items())}
    table = {"schema": _SCHEMA, "cases": cases}
    write_private_file(path, json.dumps(table, indent=1).encode())
