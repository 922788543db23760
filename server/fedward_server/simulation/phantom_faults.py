"""What the faults of a phantom hospital are written into, and what a check must say of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fedward_server.simulation.phantom_files import CLASS_NAMES, Archive, Drawn, Kind, LabelRow

TaskKind = Literal["classification", "segmentation"]
BOTH_TASKS: tuple[TaskKind, ...] = ("classification", "segmentation")

REGISTER_WITH = ("--max-excluded-share", "1", "--min-patients", "1")
MAP_LABELS = tuple(part for name in CLASS_NAMES for part in ("--map", f"{name}={name}"))


@dataclass
class FaultBook:
    """The faults of one label file and of the archive it is registered over.

    Args:
        archive: Where faulty files go.
        kind: What the label file lists.
        rows: Its faulty lines and their neighbours that are whole.
        lines: For each task, findings of its lines by code.
        in_archive: Findings of the archive by code, whatever a label file lists.
    """

    archive: Archive
    kind: Kind
    rows: list[LabelRow] = field(default_factory=list)
    lines: dict[TaskKind, Counter[str]] = field(
        default_factory=lambda: {"classification": Counter(), "segmentation": Counter()}
    )
    in_archive: Counter[str] = field(default_factory=Counter)

    def expect(self, code: str, count: int = 1, tasks: Sequence[TaskKind] = BOTH_TASKS) -> None:
        """Note that a check must give `code` for so many lines more, in these tasks."""
        for task in tasks:
            self.lines[task][code] += count

    def expect_in_archive(self, code: str, count: int = 1) -> None:
        """Note that a scan must give `code` so many times more."""
        self.in_archive[code] += count

    def whole(self, drawn: Drawn, label: int = 0, split: str = "train") -> LabelRow:
        """Write an image or series as it should be, with its line; give that line."""
        self.archive.add(drawn)
        row = drawn.row(self.kind, label, split)
        self.rows.append(row)
        return row


def findings_in_archive(books: Iterable[FaultBook], archive: Counter[str]) -> Counter[str]:
    """Give all findings of the archive: of the books, and those that they know nothing of."""
    return sum((book.in_archive for book in books), archive)


def expected_findings(
    books: Mapping[str, FaultBook],
    in_archive: Counter[str],
    further: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """Give what `expected_findings.json` holds.

    Args:
        books: By the label file's name.
        in_archive: Findings of the archive.
        further: What a check must say of each further label file.
    """
    return {
        "register_with": {
            "classification": [*REGISTER_WITH, *MAP_LABELS],
            "segmentation": list(REGISTER_WITH),
        },
        "archive": dict(sorted(in_archive.items())),
        "lines": {
            name: {task: dict(sorted(found.items())) for task, found in book.lines.items()}
            for name, book in books.items()
        },
        "further": list(further),
    }
