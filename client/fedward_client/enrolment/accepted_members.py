"""With whom this site takes part: the members it accepted, and those that wait for its word.

Whom the authority certified is believed to be who they are; whether this site works with them is
its own decision (`accept_roster` of its policy). Who is gone from a newer roster is gone at once,
without anybody being asked. Who is new, or has a new key, organisation or role, is asked for.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedward_client.site_home import SiteHome
from fedward_client.site_policy import SitePolicy
from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.roster import Roster
from fedward_common.errors import ConfigurationError, CorruptFileError, UnverifiedMessageError
from fedward_common.unchanged_file import read_once

_ACCEPTED = "accepted-members.json"
_WAITING = "waiting-members.json"

Member = tuple[str, str, str, str]
"""Site, organisation, role, and key in hex."""


@dataclass(frozen=True)
class KnownMembers:
    """Members of one version of the roster, as they were kept at home.

    Attributes:
        members: Sorted by site.
    """

    version: int
    sha256: str
    members: tuple[Member, ...]

    def others_than(self, known: "KnownMembers | None") -> tuple[Member, ...]:
        """Give the members that are not in `known` just as they are here."""
        before = set(known.members) if known is not None else set()
        return tuple(one for one in self.members if one not in before)


def members_of(roster: Roster) -> KnownMembers:
    """Give the members of a verified roster."""
    members = ((e.site, e.organisation, e.role, e.key.raw.hex()) for e in roster.entries)
    return KnownMembers(roster.version, roster.sha256, tuple(members))


def accept_members(home: SiteHome, roster: Roster) -> None:
    """Take part with these members from now on, and no longer with those who are not there."""
    _write(home, _ACCEPTED, members_of(roster))
    (home.consortium / _WAITING).unlink(missing_ok=True)


def require_accepted(home: SiteHome, policy: SitePolicy, roster: Roster) -> None:
    """Check that this site takes part with all members of a roster; remember it if it is newer.

    Args:
        home: Of the site.
        policy: The site's.
        roster: Verified, and no older than the newest that was seen.

    Raises:
        UnverifiedMessageError: `ROSTER_NOT_ACCEPTED`; what is new is kept for a person to look at.
        CorruptFileError: What was kept is damaged.
    """
    accepted, offered = accepted_members(home), members_of(roster)
    if accepted is not None and accepted.sha256 == offered.sha256:
        return
    new = offered.others_than(accepted)
    if new and policy.consortium.accept_roster == "ask":
        _write(home, _WAITING, offered)
        raise UnverifiedMessageError(
            f"roster version {roster.version} has {len(new)} members that this site has not "
            f"accepted: {', '.join(one[0] for one in new[:10])}",
            hint=f"look with: fedward-site roster; then: fedward-site roster --accept "
            f"{roster.version}",
            code="ROSTER_NOT_ACCEPTED",
        )
    accept_members(home, roster)


def accept_waiting(home: SiteHome, version: int) -> KnownMembers:
    """Accept the members that wait, if they are those of this version.

    Raises:
        ConfigurationError: Nobody waits, or another version.
        CorruptFileError: What was kept is damaged.
    """
    waiting = waiting_members(home)
    if waiting is None or waiting.version != version:
        which = "nobody waits" if waiting is None else f"version {waiting.version} waits"
        raise ConfigurationError(
            f"roster version {version} does not wait to be accepted: {which}",
            hint="fedward-site roster shows what does",
        )
    _write(home, _ACCEPTED, waiting)
    (home.consortium / _WAITING).unlink(missing_ok=True)
    return waiting


def accepted_members(home: SiteHome) -> KnownMembers | None:
    """Give whom this site takes part with; None before it joined.

    Raises:
        CorruptFileError: The file is damaged.
    """
    return _read(home, _ACCEPTED)


def waiting_members(home: SiteHome) -> KnownMembers | None:
    """Give the newest roster that was not accepted, if there is one.

    Raises:
        CorruptFileError: The file is damaged.
    """
    return _read(home, _WAITING)


def newest_members(home: SiteHome) -> KnownMembers | None:
    """Give the members of the newest roster that was kept, accepted or not.

    Raises:
        CorruptFileError: A file is damaged.
    """
    kept = [one for one in (accepted_members(home), waiting_members(home)) if one is not None]
    return max(kept, key=lambda one: one.version, default=None)


def forget_members(home: SiteHome) -> None:
    """Take part with nobody; for a site that leaves."""
    for name in (_WAITING, _ACCEPTED):
        (home.consortium / name).unlink(missing_ok=True)


def _write(home: SiteHome, name: str, known: KnownMembers) -> None:
    content = {"version": known.version, "sha256": known.sha256, "members": known.members}
    write_atomically(home.consortium / name, json.dumps(content, indent=1).encode(), mode=0o600)


def _read(home: SiteHome, name: str) -> KnownMembers | None:
    path = home.consortium / name
    return _known_members(path) if path.exists() else None


def _read_members(path: Path) -> KnownMembers:
    try:
        content = json.loads(path.read_bytes())
        members = tuple(_member(one) for one in content["members"])
        return KnownMembers(int(content["version"]), str(content["sha256"]), members)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptFileError(
            f"{path} is damaged", hint="restore it from the backup, or join the consortium again"
        ) from error


_known_members = read_once(_read_members)


def _member(parts: Iterable[object]) -> Member:
    site, organisation, role, key = (str(part) for part in parts)
    return site, organisation, role, key
