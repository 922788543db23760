"""What a run has done so far, durable before anybody is told.

`RunJournal` is the protocol; `FileRunJournal` keeps a hash-chained file beside the checkpoints. A
run's state is what its entries say: `replay` derives it, so a run that was killed anywhere goes
on from its last committed round.
"""

import base64
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedward_common.hash_chain import ChainedLines

ENTRIES_FILE = "entries.jsonl"
HOLD_OUT_REJECTED = "HOLD_OUT_REJECTED"


@dataclass(frozen=True)
class JournalHead:
    """The end of a journal: how many lines, and the hash of the last."""

    num_lines: int
    sha256: str


class RunJournal(Protocol):
    """Append-only entries of one run."""

    def append(self, kind: str, **fields: Any) -> None:
        """Add an entry; when this returns, it is durable."""
        ...

    def entries(self) -> Iterator[dict[str, Any]]:
        """Give all entries, oldest first."""
        ...

    def head(self) -> JournalHead:
        """Give the end of what was appended."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


class FileRunJournal:
    """Entries in a hash-chained file of the run's folder, locked for one process.

    Raises:
        LockedError: Another process runs this run.
        CorruptFileError: The file was changed.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = ChainedLines(folder / ENTRIES_FILE)

    def append(self, kind: str, **fields: Any) -> None:
        """Add an entry; when this returns, it is durable."""
        self._lines.append({"kind": kind, **fields})

    def entries(self) -> Iterator[dict[str, Any]]:
        """Give all entries, oldest first."""
        return self._lines.entries()

    def head(self) -> JournalHead:
        """Give the end of what was appended."""
        return JournalHead(sum(1 for _ in self._lines.entries()), self._lines.head)

    def close(self) -> None:
        """Release the file."""
        self._lines.close()


@dataclass
class RunHistory:
    """A run as its journal tells it.

    Attributes:
        accepted: Site to `{band_low, band_high, unit, weight, trains}`.
        participants: One list of sites a round; empty where the round was left out.
        rejected: Rounds among these that the gate on the hold-out set left out; of the others the
            sum was lost.
        failures: `{round, attempt, site, code}` each.
        evaluations: `{round, figures, sites}` each, pooled validation.
        bests: `{round, file, sha256, value, sums}` each time a round was better than all before.
        checkpoints: `(round, file, sha256)` of every committed round.
        attempts: Last attempt of each round that ended; no number is ever used again.
        evaluation_attempts: The same of each split that is evaluated by itself.
        evaluations_lost: How often the sums of a split were lost for good; a site gives them under
            one number once.
        aggregation: Of the last committed round whose contributions came masked; see `Collected`.
        values_clipped: Of all rounds together, because the codec has no room for them.
        receipts: SHA-256 of each site's receipt for the result; None before they were told.
        untold: Why each of the others was not told.
    """

    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)
    participants: list[list[str]] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    bests: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[tuple[int, str, str]] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    evaluation_attempts: dict[str, int] = field(default_factory=dict)
    evaluations_lost: dict[str, int] = field(default_factory=dict)
    aggregation: dict[str, int] | None = None
    values_clipped: int = 0
    final: dict[str, Any] | None = None
    receipts: dict[str, str] | None = None
    untold: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    stopped_early: bool = False
    finished: bool = False

    @property
    def round(self) -> int:
        """Last round that was committed, or left out."""
        return len(self.participants)

    @property
    def best(self) -> dict[str, Any] | None:
        """The best evaluated round so far."""
        return self.bests[-1] if self.bests else None

    @property
    def is_evaluated(self) -> bool:
        """Whether the weights after the last round are; perhaps as those of an earlier round.

        Where rounds after it were left out, nobody is asked about the same weights twice: sites may
        differ between two rounds, and the difference of two sums would be one site's.
        """
        since = self.checkpoints[-1][0] if self.checkpoints else 0
        return any(evaluation["round"] >= since for evaluation in self.evaluations)

    def forget_after(self, round_number: int) -> None:
        """Go back to the end of a round whose checkpoint is still good; later ones are redone."""
        del self.participants[round_number:]
        self.checkpoints = [one for one in self.checkpoints if one[0] <= round_number]
        self.rejected = [number for number in self.rejected if number <= round_number]
        self.failures = [f for f in self.failures if f["round"] <= round_number]
        self.evaluations = [e for e in self.evaluations if e["round"] < round_number]
        self.bests = [b for b in self.bests if b["round"] < round_number]
        self.final, self.finished, self.stopped_early = None, False, False
        self.receipts, self.untold = None, {}


def replay(entries: Iterable[dict[str, Any]]) -> RunHistory:
    """Derive a run's state from its entries."""
    history = RunHistory()
    for entry in entries:
        apply_entry(history, entry)
    return history


def apply_entry(history: RunHistory, entry: dict[str, Any]) -> None:
    """Bring `history` up to date with one more entry."""
    history.seconds = entry.get("seconds", history.seconds)
    if "attempt" in entry:
        history.attempts[entry["round"]] = entry["attempt"]
    history.failures.extend(entry.get("failures", ()))
    if entry.get("evaluation"):
        history.evaluations.append(entry["evaluation"])
    if entry.get("best"):
        history.bests.append(entry["best"])
    change = _CHANGES.get(entry["kind"])
    if change is not None:
        change(history, entry)


def _accepted(history: RunHistory, entry: dict[str, Any]) -> None:
    history.accepted = entry["accepted"]


def _rewound(history: RunHistory, entry: dict[str, Any]) -> None:
    history.forget_after(entry["round"])


def _committed(history: RunHistory, entry: dict[str, Any]) -> None:
    history.participants.append(entry["participants"])
    history.checkpoints.append((entry["round"], entry["file"], entry["sha256"]))
    if entry.get("aggregation"):
        history.aggregation = entry["aggregation"]
        history.values_clipped += entry["aggregation"]["values_clipped"]


def _dropped(history: RunHistory, entry: dict[str, Any]) -> None:
    history.participants.append([])
    if entry.get("code") == HOLD_OUT_REJECTED:
        history.rejected.append(entry["round"])


def _evaluation_abandoned(history: RunHistory, entry: dict[str, Any]) -> None:
    history.evaluation_attempts[entry["split"]] = entry["number"]


def _evaluation_lost(history: RunHistory, entry: dict[str, Any]) -> None:
    split = entry["split"]
    history.evaluations_lost[split] = history.evaluations_lost.get(split, 0) + 1
    history.evaluation_attempts.pop(split, None)


def _stopped_early(history: RunHistory, entry: dict[str, Any]) -> None:
    history.stopped_early = True


def _tested(history: RunHistory, entry: dict[str, Any]) -> None:
    history.final = entry["final"]


def _told(history: RunHistory, entry: dict[str, Any]) -> None:
    history.receipts, history.untold = entry["receipts"], entry["untold"]


def _finished(history: RunHistory, entry: dict[str, Any]) -> None:
    history.finished = True


_CHANGES = {
    "run.accepted": _accepted,
    "run.rewound": _rewound,
    "round.committed": _committed,
    "round.dropped": _dropped,
    "evaluation.abandoned": _evaluation_abandoned,
    "evaluation.lost": _evaluation_lost,
    "run.stopped-early": _stopped_early,
    "evaluation.final": _tested,
    "result.told": _told,
    "run.finished": _finished,
}


def packed(sums: NDArray[np.int64]) -> str:
    """Write a vector of sums as short text; most of its values are 0."""
    return base64.b64encode(zlib.compress(sums.astype("<i8").tobytes())).decode()


def unpacked(text: str) -> NDArray[np.int64]:
    """Read what `packed` wrote."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i8").astype(np.int64)
