"""A run that a person stopped: a file in its folder says so, until it is launched again.

Whoever runs runs looks for the file before each step, so a stop holds through any restart.
"""

import json
from pathlib import Path

from fedward_common.atomic_files import sync_folder, write_atomically

_STOPPED = "stopped.json"


def stop_run(folder: Path, *, now_seconds: float) -> None:
    """Mark a run as stopped; when this returns, it is durable.

    Args:
        folder: Of the run.
        now_seconds: Since 1970, UTC.
    """
    content = json.dumps({"stopped_at_seconds": int(now_seconds)})
    write_atomically(folder / _STOPPED, content.encode())


def is_stopped(folder: Path) -> bool:
    """Say whether a person stopped the run."""
    return (folder / _STOPPED).exists()


def let_go_on(folder: Path) -> None:
    """Take the mark away; a run without one stays as it is."""
    (folder / _STOPPED).unlink(missing_ok=True)
    sync_folder(folder)
