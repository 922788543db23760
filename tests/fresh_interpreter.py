"""A program in an interpreter of its own, in which no test imported or used anything before."""

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def printed_by(program: str, *arguments: str) -> str:
    """Run it to its end, which must be a good one, and give what it printed.

    It may import from `tests`.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
