"""Room in a site's cache, whose quota is of decoded arrays and job views together.

What goes, and when: an array is needed by the snapshots of `needed_snapshots`. A view is needed if
a run in use goes on with it, or if all the registered snapshots it was built from are needed, and
there is one. After `cohort update`, `exclude` and `check` whatever is not needed goes
(`free_cache`). Where the quota would be passed all the same, views go that no run in use goes on
with, however new. A view of which an excluded patient is a case goes whoever needs it, and is built
again without. No view goes while a process has it open: it goes at the next of these occasions.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedward_client.cohorts.cache.needed_snapshots import needed_snapshots, views_of_runs_in_use
from fedward_client.cohorts.registered.excluded_patients import excluded_patients
from fedward_client.cohorts.registered.snapshot_store import read_snapshot
from fedward_client.cohorts.views.view_folders import (
    INDEX_FILE,
    bytes_of_views,
    ordered_fingerprint,
    remove_view,
    sweep_views,
    view_folders,
)
from fedward_client.site_home import SiteHome
from fedward_common.errors import CorruptFileError


@dataclass(frozen=True)
class Freed:
    """What was taken away."""

    arrays: int
    views: int


def free_cache(home: SiteHome) -> Freed:
    """Take away what is not needed, and views that hold an excluded patient.

    Where a needed snapshot is damaged no array goes, for nobody knows which it needs.

    Raises:
        CorruptFileError: The list of excluded patients is damaged.
    """
    from fedward_client.cohorts.cache.native_cache import open_native_cache

    room = SiteRoom(home)
    num_views = room.free_views()
    if not (home.cache / "native").is_dir():
        return Freed(0, num_views)
    try:
        names = room.needed_names()
    except CorruptFileError:
        return Freed(0, num_views)
    return Freed(open_native_cache(home).prune(names), num_views)


@dataclass(frozen=True)
class SiteRoom:
    """The job views of a home, beside which the arrays lie; keeps `native_cache.Surroundings`."""

    home: SiteHome

    def used_bytes(self) -> int:
        """What all views take of the disk."""
        return bytes_of_views(self.home.cache)

    def needed_names(self) -> frozenset[str]:
        """Give the names of arrays that needed snapshots have.

        Raises:
            CorruptFileError: One of them is damaged.
        """
        from fedward_client.cohorts.cache.native_decoding import names_of_case

        snapshots = (read_snapshot(self.home, one) for one in needed_snapshots(self.home))
        return frozenset(
            name for one in snapshots for case in one.cases for name in names_of_case(case)
        )

    def make_room(self) -> None:
        """Take away all views that no run in use goes on with."""
        self.free_views(only_of_runs=True)

    def free_views(self, *, only_of_runs: bool = False) -> int:
        """Take away the views that are not needed; give their number."""
        sweep_views(self.home.cache)
        in_use = views_of_runs_in_use(self.home)
        snapshots = frozenset() if only_of_runs else needed_snapshots(self.home)
        excluded = frozenset(map(bytes.fromhex, excluded_patients(self.home)))
        num_views = 0
        for folder in view_folders(self.home.cache):
            # one that lacks cases is kept for its runs alone: the next may have them again
            is_whole = ordered_fingerprint(folder) == folder.name
            needed = folder.name in in_use or (is_whole and _is_of(folder, snapshots))
            if not needed or _has_case_of(folder, excluded):
                num_views += remove_view(folder)
        return num_views


def _is_of(folder: Path, snapshots: frozenset[str]) -> bool:
    """Say whether a view was built from some of these snapshots and from no other."""
    try:
        index: Mapping[str, Any] = json.loads((folder / INDEX_FILE).read_bytes())
        built_from = set(index["snapshots"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(built_from) and built_from <= snapshots


def _has_case_of(folder: Path, excluded: frozenset[bytes]) -> bool:
    """Say whether a patient is a case of a view; of one that cannot be read, yes."""
    import numpy as np

    try:
        pseudonyms = np.load(folder / "pseudonyms.npy", allow_pickle=False)
        return any(row.tobytes() in excluded for row in pseudonyms)
    except (OSError, ValueError):
        return True
