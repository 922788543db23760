"""Whose turn it is: each run keeps its place in a file of its folder.

Runs begin one after the other, in the order in which they were launched or launched again. Flower
knows that order as well, but its database may be lost; the places are what counts at a start.
"""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from fedward_common.atomic_files import write_atomically

_PLACE = "place.json"
_MANIFEST = "manifest.cbor"


def take_place(runs: Path, folder: Path) -> None:
    """Put a run behind all others; when this returns, it is durable.

    Args:
        runs: Folder of the runs.
        folder: Of the run; not below `runs` where it is still being laid down.
    """
    last = max((queue_place_of(other) for other in runs.iterdir()), default=0)
    write_atomically(folder / _PLACE, json.dumps({"place": last + 1}).encode())


def queue_place_of(folder: Path) -> int:
    """Give a run's place; 0, before all others, where none can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return int(json.loads((folder / _PLACE).read_bytes())["place"])
    return 0


def in_order(folders: Iterable[Path]) -> list[Path]:
    """Sort runs by their places; those with one place as they were laid down."""
    return sorted(
        folders, key=lambda folder: (queue_place_of(folder), _laid_down_at(folder), folder)
    )


def _laid_down_at(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return (folder / _MANIFEST).stat().st_mtime_ns
    return 0
