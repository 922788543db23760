"""A further label file over a phantom archive, and what a check must say of it.

The first label file is keyed by image or series and has its mask beside it. What only shows with
other columns, other options or in a second delivery has a file of its own.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedward_server.simulation.phantom_faults import BOTH_TASKS, REGISTER_WITH, TaskKind
from fedward_server.simulation.phantom_files import write_table


@dataclass
class LabelList:
    """One further label file, line by line.

    Args:
        name: Of the file.
        columns: Its header.
        tasks: What it can be registered for.
        register_with: Further arguments of `cohort add`.
        update_of: The label file whose cohort it updates, with `cohort update --labels`; "" where
            it is a cohort of its own.
        limits_passed: Limits of the cohort that its check must name.
        rows: Its lines.
        lines: For each task, findings of its lines by code.
        of_no_line: Findings beside those of the archive that are no line's.
    """

    name: str
    columns: tuple[str, ...]
    tasks: tuple[TaskKind, ...] = ("classification",)
    register_with: tuple[str, ...] = REGISTER_WITH
    update_of: str = ""
    limits_passed: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    lines: dict[TaskKind, Counter[str]] = field(
        default_factory=lambda: {"classification": Counter(), "segmentation": Counter()}
    )
    of_no_line: Counter[str] = field(default_factory=Counter)

    def add(self, *cells: str, code: str = "", tasks: Sequence[TaskKind] = BOTH_TASKS) -> None:
        """Add a line; a check must give it `code` in these tasks, or nothing at all."""
        self.rows.append(cells)
        for task in tasks if code else ():
            self.lines[task][code] += 1

    def write(self, folder: Path) -> None:
        """Write the file into the hospital's folder."""
        write_table(folder / self.name, self.columns, self.rows)

    def expected(self, archive: Counter[str]) -> list[dict[str, Any]]:
        """Give what `expected_findings.json` says of it, once for each task.

        Args:
            archive: Findings of the archive by code.
        """
        return [
            {
                "labels": self.name,
                "update_of": self.update_of,
                "task": task,
                "register_with": list(self.register_with),
                "archive": dict(sorted((archive + self.of_no_line).items())),
                "lines": dict(sorted(self.lines[task].items())),
                "limits_passed": list(self.limits_passed),
            }
            for task in self.tasks
        ]
