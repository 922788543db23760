"""Where a registered cohort lies in the site's home, and who may write there.

```
cohorts/NAME/cohort.toml      what the data manager said
cohorts/NAME/index.sqlite     what the headers say
cohorts/NAME/quarantine.json  what could not be decoded, and which pixels stand in two splits
cohorts/NAME/snapshots/K.json immutable
cohorts/NAME/reports/         what only the hospital sees
```
"""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from fedward_client.site_home import SiteHome
from fedward_common.errors import ConfigurationError, LockedError
from fedward_common.file_lock import held_lock

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}\Z")


def checked_cohort_name(unverified: str) -> str:
    """Accept 1 to 48 ASCII letters, digits, `_` or `-`, the first a letter or digit.

    Raises:
        ConfigurationError: Any other text.
    """
    if not _NAME.match(unverified):
        raise ConfigurationError(
            f"cohort name {unverified[:60]!r} cannot be used",
            hint="1 to 48 letters, digits, '_' or '-', beginning with a letter or digit",
        )
    return unverified


@dataclass(frozen=True)
class CohortFolder:
    """Paths of one registered cohort; its name is checked before it becomes a path."""

    home: SiteHome
    name: str

    def __post_init__(self) -> None:
        checked_cohort_name(self.name)

    @property
    def path(self) -> Path:
        """`cohorts/NAME`."""
        return self.home.cohorts / self.name

    @property
    def settings_file(self) -> Path:
        """`cohort.toml`."""
        return self.path / "cohort.toml"

    @property
    def index_file(self) -> Path:
        """`index.sqlite`."""
        return self.path / "index.sqlite"

    @property
    def quarantine_file(self) -> Path:
        """`quarantine.json`."""
        return self.path / "quarantine.json"

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots."""
        return self.path / "snapshots"

    @property
    def reports(self) -> Path:
        """Folder of the reports."""
        return self.path / "reports"

    def create(self) -> None:
        """Make the folders, for the owner alone; what is there stays."""
        for path in (self.path, self.snapshots, self.reports):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep other commands from writing this cohort.

        Raises:
            LockedError: One is at work on it.
        """
        held = LockedError(
            f"another command works on cohort {self.name}", hint="wait for it to end"
        )
        return held_lock(self.path / ".lock", if_held=held)


def registered_names(home: SiteHome) -> tuple[str, ...]:
    """Give the names of the registered cohorts, sorted."""
    if not home.cohorts.is_dir():
        return ()
    return tuple(sorted(p.parent.name for p in home.cohorts.glob("*/cohort.toml")))
