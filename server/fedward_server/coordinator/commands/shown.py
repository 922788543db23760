"""How these commands print: tables for a person, JSON for a program."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from fedward_common.command_line import printable


def print_json(content: object) -> None:
    """Print one JSON value on stdout."""
    sys.stdout.write(json.dumps(content, indent=1, allow_nan=False) + "\n")


def print_line(text: str) -> None:
    """Print one line for a person, at once."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table with a head."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*(escape(printable(str(cell))) for cell in row))
    Console(highlight=False).print(table)


def print_pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Print names with their values, one pair a line."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows:
        table.add_row(escape(name), escape(printable(str(value))))
    Console(highlight=False).print(table)


def bytes_text(num_bytes: int) -> str:
    """Give a number of bytes as a person reads it: `3.2 MB` of 10^6."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"
