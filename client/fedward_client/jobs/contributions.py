"""How often this site's part of a round left, by what the record of departures says.

The record grows with every answer, so what was read of it once is not read again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward_client.site_home import SiteHome

_MASKED = "masked"
_OPEN_KIND = "train.reply"
_MASKED_KIND = "secure.step-reply"
_MAX_READ_BYTES = 64 << 20


@dataclass(frozen=True)
class Contributions:
    """What left in all runs together.

    Attributes:
        num_updates: Updates that left in clear, sealed to the coordinator.
        num_masked: Masked vectors: of rounds, and of evaluations.
        last_utc_seconds: When the last of either left; None where none did.
    """

    num_updates: int
    num_masked: int
    last_utc_seconds: float | None


class ContributionCount:
    """Counts, and goes on where it was.

    Args:
        home: Of the site.
    """

    def __init__(self, home: SiteHome) -> None:
        self._folder = home.folder / "egress"
        self._read: dict[Path, tuple[int, int]] = {}
        self._counted = {_OPEN_KIND: 0, _MASKED_KIND: 0}
        self._last: float | None = None

    def so_far(self) -> Contributions:
        """Count what was added since the last time."""
        for path in sorted(self._folder.glob("*.jsonl")):
            for line in self._new_lines(path):
                self._add(line)
        return Contributions(self._counted[_OPEN_KIND], self._counted[_MASKED_KIND], self._last)

    def _new_lines(self, path: Path) -> list[bytes]:
        try:
            state = path.stat()
            inode, offset = self._read.get(path, (state.st_ino, 0))
            if state.st_size <= offset or inode != state.st_ino:
                return []
            with path.open("rb") as file:
                file.seek(offset)
                content = file.read(_MAX_READ_BYTES)
        except OSError:
            return []
        whole = content.rfind(b"\n") + 1
        self._read[path] = inode, offset + whole
        return content[:whole].split(b"\n")

    def _add(self, line: bytes) -> None:
        try:
            entry: dict[str, Any] = json.loads(line)
            kind, at = str(entry["kind"]), float(entry["utc_seconds"])
            is_part = kind == _OPEN_KIND or (
                kind == _MASKED_KIND and _MASKED in entry["array_bytes"]
            )
        except (ValueError, KeyError, TypeError):
            return
        if is_part:
            self._counted[kind] += 1
            self._last = at if self._last is None else max(at, self._last)
