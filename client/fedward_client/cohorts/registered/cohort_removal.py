"""Taking a cohort away: its settings, index, quarantine list, snapshots and local reports.

What the site must never forget stays: the split record, who is excluded, and the reports that a
coordinator saw. A snapshot that a run was accepted with says on whom a model was trained, so such a
cohort stays too.
"""

import json
import secrets
import shutil

from fedward_client.cohorts.registered.cohort_folder import CohortFolder, registered_names
from fedward_client.cohorts.registered.snapshot_store import snapshot_numbers
from fedward_client.cohorts.registered.split_record import only_snapshot_maker
from fedward_client.site_home import SiteHome
from fedward_common.errors import CohortError, ConfigurationError, CorruptFileError


def require_removable(home: SiteHome, name: str) -> None:
    """See that there is such a cohort, and that no run needs it.

    Raises:
        ConfigurationError: There is none.
        CohortError: Runs were accepted with a snapshot of it.
        CorruptFileError: Nobody can say what a run was accepted with.
    """
    if not CohortFolder(home, name).path.is_dir():
        names = ", ".join(registered_names(home)) or "none yet"
        raise ConfigurationError(f"there is no cohort {name!r}", hint=f"registered: {names}")
    pinned = _pins(home, name)
    if pinned:
        shown = ", ".join(f"{snapshot} (run {run})" for run, snapshot in pinned)
        raise CohortError(
            f"cohort {name} stays: runs were accepted with {shown}",
            hint="its snapshots say on whom these runs trained; register under another name",
        )


def remove_cohort(home: SiteHome, name: str) -> int:
    """Remove a cohort; give the number of its snapshots.

    Killed at any point, it leaves the whole cohort or none.

    Raises:
        ConfigurationError, CohortError, CorruptFileError: As `require_removable`.
        LockedError: Another command works on it.
    """
    folder = CohortFolder(home, name)
    removed = home.folder / ".removed"
    require_removable(home, name)  # first, for a lock is a file in the folder
    with folder.locked(), only_snapshot_maker(home.folder):
        require_removable(home, name)
        num_snapshots = len(snapshot_numbers(home, name))
        removed.mkdir(mode=0o700, exist_ok=True)
        folder.path.rename(removed / secrets.token_hex(8))
    shutil.rmtree(removed)  # with what a removal left that was killed
    return num_snapshots


def _pins(home: SiteHome, name: str) -> list[tuple[str, str]]:
    """Give every run and the snapshot of this cohort that it was accepted with."""
    pinned: list[tuple[str, str]] = []
    for file in sorted((home.folder / "runs").glob("*/snapshots.json")):
        try:
            sources = [str(one) for one in json.loads(file.read_bytes())]
        except (ValueError, TypeError, RecursionError):
            raise CorruptFileError(
                f"{file} is damaged: nobody can say which snapshots the run needs",
                hint="restore it from the backup",
            ) from None
        run = file.parent.name
        pinned += [(run, one) for one in sources if one.partition("@")[0] == name]
    return pinned
