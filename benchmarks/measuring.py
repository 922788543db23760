"""What the benchmark programs share: child processes with their time and memory, and tables."""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FEDWARD = str(Path(sys.executable).with_name("fedward"))
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Finished:
    """One finished child: wall and processor seconds of it and its children, peak memory."""

    wall_seconds: float
    cpu_seconds: float
    peak_mebibytes: float
    stdout: str


def run_child(arguments: Sequence[str]) -> Finished:
    """Run a command to its end; a failure ends the benchmark with what the command printed.

    The peak is the largest single process's, as the operating system counts it.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Finished(wall, cpu, after.ru_maxrss / 1024, done.stdout)


def data_root() -> Path:
    """The folder of real images: `$FEDWARD_DATA_ROOT`, else `../shared/data`."""
    named = os.environ.get("FEDWARD_DATA_ROOT")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        sys.exit(f"no real images in {folder}: set FEDWARD_DATA_ROOT")
    return folder


def machine() -> str:
    """Name the machine a figure was measured on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def parser(description: str) -> argparse.ArgumentParser:
    """Make a parser that has `--json`."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def show(title: str, rows: Sequence[dict[str, Any]], *, as_json: bool, **more: Any) -> None:
    """Print rows as a table, or everything as one JSON object."""
    if as_json:
        sys.stdout.write(json.dumps({"machine": machine(), "rows": list(rows), **more}) + "\n")
        return
    console = Console()
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == next(iter(rows[0])) else "right")
    for row in rows:
        table.add_row(*[_text(value) for value in row.values()])
    console.print(table)
    for name, value in more.items():
        console.print(f"{name.replace('_', ' ')}: {_text(value)}", highlight=False)
    console.print(f"machine: {machine()}", highlight=False)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
