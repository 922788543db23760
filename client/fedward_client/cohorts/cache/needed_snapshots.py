"""Which snapshots, and which job views, a site still needs.

Needed are the newest snapshot of every registered cohort and the snapshots that a run in use was
accepted with (`runs/RUN/snapshots.json`), and the view that such a run goes on with
(`runs/RUN/view`). A run is in use until it was tested (`test-sums.npy`), or nothing was written in
its folder for 30 days. What is not needed can be made again, from the archive if not from the
cache; so can what is needed, unless the archive's files changed.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from fedward_client.cohorts.registered.cohort_folder import registered_names
from fedward_client.cohorts.registered.snapshot_store import snapshot_numbers
from fedward_client.site_home import SiteHome

UNUSED_AFTER_SECONDS = 30 * 86_400

_SNAPSHOT = re.compile(r"[^@/]+@[1-9][0-9]{0,8}\Z")


def needed_snapshots(home: SiteHome) -> frozenset[str]:
    """Give the snapshots that are needed, `NAME@k`, all of them registered in this home."""
    numbers = {name: snapshot_numbers(home, name) for name in registered_names(home)}
    newest = {f"{name}@{found[-1]}" for name, found in numbers.items() if found}
    pinned = {one for folder in _runs_in_use(home) for one in _pins_of(folder)}
    there = {f"{name}@{number}" for name, found in numbers.items() for number in found}
    return frozenset(newest | (pinned & there))


def views_of_runs_in_use(home: SiteHome) -> frozenset[str]:
    """Give the fingerprints of the views that runs in use go on with."""
    files = (folder / "view" for folder in _runs_in_use(home))
    return frozenset(file.read_text().strip() for file in files if file.is_file())


def _runs_in_use(home: SiteHome) -> Iterator[Path]:
    oldest = time.time() - UNUSED_AFTER_SECONDS
    for folder in sorted((home.folder / "runs").glob("*/")):
        if (folder / "test-sums.npy").exists():
            continue
        written = [one.stat().st_mtime for one in (folder, *folder.iterdir())]
        if max(written) >= oldest:
            yield folder


def _pins_of(folder: Path) -> Iterator[str]:
    """Give what a run was accepted with; a file that cannot be read pins nothing more."""
    try:
        names = json.loads((folder / "snapshots.json").read_bytes())
    except (OSError, ValueError):
        return
    yield from (one for one in names if isinstance(one, str) and _SNAPSHOT.match(one))
