"""Where a ledger lies, and who may open it.

```
ledger/entries.jsonl       the chain of entries
ledger/head.json           vouches for the last entry; so does trust/ledger-head.json
ledger/patients/SHA256.npy sets of patients, by pseudonym
ledger/damaged-K.jsonl     what an override put aside
ledger_begun.json          says which ledger was begun in this home (`beginning`)
```
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import sync_folder
from fedward_common.errors import LockedError
from fedward_common.file_lock import held_lock


@dataclass(frozen=True)
class LedgerFolder:
    """Paths of one ledger.

    Args:
        path: The folder.
        second_head: The copy of the head that lies elsewhere.
        begun_mark: Says that a ledger was begun.
        runs: Folder of the runs; one that has trained or evaluated must stand in the ledger.
        seal_key: Of the site's seals.
    """

    path: Path
    second_head: Path
    begun_mark: Path
    runs: Path
    seal_key: bytes = field(repr=False)

    @property
    def entries_file(self) -> Path:
        """`entries.jsonl`."""
        return self.path / "entries.jsonl"

    @property
    def heads(self) -> tuple[Path, Path]:
        """Both copies of the head."""
        return self.path / "head.json", self.second_head

    @property
    def patients(self) -> Path:
        """Folder of the patient sets."""
        return self.path / "patients"

    def has_traces(self) -> bool:
        """Say whether anything but entries and heads shows that there was a ledger."""
        return (
            self.begun_mark.exists()
            or any(self.patients.glob("*.npy"))
            or any(self.runs.glob("*/privacy.json"))
            or any(self.runs.glob("*/activity.jsonl"))
        )

    def is_unused(self) -> bool:
        """Say whether there is no ledger, nor a sign that there was one."""
        places = (self.entries_file, *self.heads)
        return not self.has_traces() and not any(path.exists() for path in places)

    def create(self) -> None:
        """Make the folders, for the owner alone; what is there stays."""
        for folder in (self.path, self.patients, self.second_head.parent):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(folder.parent)

    @contextlib.contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Keep everybody else out, this process included.

        Raises:
            LockedError: The ledger is open, and nobody wants to wait.
        """
        held = LockedError(
            f"the privacy ledger {self.path} is in use, and two at a time could spend "
            "one budget twice",
            hint="try again in a moment",
        )
        with held_lock(self.path / ".lock", if_held=None if wait else held):
            yield


def ledger_folder(home: SiteHome) -> LedgerFolder:
    """Give the place of a site's ledger.

    Raises:
        ConfigurationError: The site's key is missing.
    """
    return LedgerFolder(
        home.ledger,
        home.trust / "ledger-head.json",
        home.folder / "ledger_begun.json",
        home.folder / "runs",
        home.seal_key(),
    )
