"""Whom a run under way may still ask: its roster's sites, less those a newer roster no longer has.

The newest roster is looked at whenever somebody asks, so whoever is removed is asked for nothing
more, and an answer of theirs counts no longer. Who is new waits for the next run, and so does a
removed site that comes back. A newer roster that cannot be read or believed changes nothing.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fedward_common.consortium.roster import Roster, as_left_by
from fedward_common.crypto.signing import VerifyingKey
from fedward_common.errors import FedwardError
from fedward_common.identities import SiteId
from fedward_common.unchanged_file import read_once
from fedward_server.coordinator.run_setup import roster_beside


class PresentMembers(Mapping[SiteId, VerifyingKey]):
    """Keys of the sites that are left.

    Args:
        roster: The run's.
        newest: Gives the newest roster, verified; the same object while nothing changed.
        note: Tells a person.
    """

    def __init__(
        self,
        roster: Roster,
        newest: Callable[[], Roster],
        note: Callable[[str], None],
    ) -> None:
        self._present = roster
        self._newest = newest
        self._seen = roster
        self._note = note
        self._told = ""

    def __getitem__(self, site: SiteId) -> VerifyingKey:
        """Give a site's key."""
        return self._left()[site]

    def __iter__(self) -> Iterator[SiteId]:
        """Go through the sites that are left."""
        return iter(self._left())

    def __len__(self) -> int:
        """Count the sites that are left."""
        return len(self._left())

    def _left(self) -> Mapping[SiteId, VerifyingKey]:
        try:
            newest = self._newest()
            if newest is not self._seen:
                self._leave_out(as_left_by(self._present, newest), newest.version)
                self._seen = newest
        except (FedwardError, OSError) as error:
            code = error.code if isinstance(error, FedwardError) else type(error).__name__
            if code != self._told:
                self._told = code
                self._note(f"the newest roster cannot be used ({code}); the one before it counts")
        return self._present.keys_of_sites

    def _leave_out(self, left: Roster, version: int) -> None:
        gone = sorted(left.removed - self._present.removed)
        self._present = left
        if gone:
            self._note(f"roster version {version} has no {', '.join(gone)} any more: not asked")


def newest_roster_of(
    key_file: Path,
    now_seconds: Callable[[], float],
    *,
    now_ns: Callable[[], int] = time.time_ns,
) -> Callable[[], Roster]:
    """Give a reader of `roster.cbor` beside the coordinator's key, which looks when it changed."""
    path = key_file.with_name("roster.cbor")

    def verified(path: Path) -> Roster:
        return roster_beside(key_file, path.read_bytes(), now_seconds=now_seconds())

    read = read_once(verified, now_ns=now_ns)
    return lambda: read(path)
