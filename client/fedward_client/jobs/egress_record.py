"""What left the site: one line for each signed answer, with its kind and its sizes in bytes.

`egress/RUN.jsonl` of the home. A line is written before its answer leaves, so nothing leaves that
is not listed; an answer that is then lost on its way is listed all the same. Sizes are those of the
answer itself, without what the transport adds.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import full_disk_named, write_all

# No run can have this name, for it is no plain one.
_OTHER = "no-run"


@dataclass(frozen=True)
class Departure:
    """One signed answer.

    Attributes:
        run: That it names.
        kind: Of message, such as `train.reply`.
        round: That it names.
        code: Of a refusal; else empty.
        message_bytes: Header, body and signature.
        array_bytes: Of each array beside it, by its name.
    """

    run: str
    kind: str
    round: int
    code: str
    message_bytes: int
    array_bytes: Mapping[str, int]


@dataclass(frozen=True)
class EgressLine:
    """All that left in one run of one kind.

    Attributes:
        part: "message", or the name of an array.
    """

    run: str
    kind: str
    part: str
    count: int
    num_bytes: int


def note_departure(home: SiteHome, departure: Departure, *, now_seconds: float) -> None:
    """Append one line.

    Raises:
        DiskFullError: It is not written.
    """
    folder = home.folder / "egress"
    folder.mkdir(mode=0o700, exist_ok=True)
    name = departure.run if departure.run.isalnum() else _OTHER
    path = folder / f"{name[:64]}.jsonl"
    entry = {"utc_seconds": round(now_seconds, 3), **vars(departure)}
    # A line begins with a break of its own: one that a full disk cut short spoils no other.
    line = "\n" + json.dumps(entry, separators=(",", ":")) + "\n"
    with full_disk_named(path):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(file, line.encode())
        finally:
            os.close(file)


def egress_of(home: SiteHome, run: str | None = None) -> tuple[list[EgressLine], int]:
    """Add up what left, by run, kind and part; and count lines that cannot be read.

    Args:
        home: Of the site.
        run: Only of this run.
    """
    totals: dict[tuple[str, str, str], tuple[int, int]] = {}
    num_unreadable = 0
    for path in sorted((home.folder / "egress").glob("*.jsonl")):
        if run is not None and path.stem != run:
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            if line and not _add(totals, path, line):
                num_unreadable += 1
    lines = [EgressLine(*key, *total) for key, total in sorted(totals.items())]
    return lines, num_unreadable


def _add(totals: dict[tuple[str, str, str], tuple[int, int]], path: Path, line: str) -> bool:
    try:
        entry: dict[str, Any] = json.loads(line)
        code = str(entry["code"])
        kind = str(entry["kind"]) + (f" {code}" if code else "")
        parts = {"message": int(entry["message_bytes"])}
        parts |= {str(name): int(size) for name, size in entry["array_bytes"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    for part, size in parts.items():
        count, num_bytes = totals.get((path.stem, kind, part), (0, 0))
        totals[path.stem, kind, part] = count + 1, num_bytes + size
    return True
