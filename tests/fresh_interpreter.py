"""A program in an interpreter of its own, in which no test imported or used anything before."""

import subprocess
import sys


def printed_by(program: str) -> str:
    """Run it to its end, which must be a good one, and give what it printed."""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    return ended.stdout
