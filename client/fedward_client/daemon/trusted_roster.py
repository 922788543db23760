"""Which roster this site believes, and for which run.

The site pins one certificate, that of its consortium's authority. It believes a roster that this
authority signed, if the run's manifest names it, if the site stands in it as what its own
certificate says, and if the coordinator that signs the messages is the one in it. It remembers the
newest version it has seen, and believes no older one for a new run. Who is new in it is accepted by
the site itself (`accepted_members`), for the next run. Who is gone from it is gone at once, from
the runs that are under way as well.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedward_client.enrolment.accepted_members import (
    KnownMembers,
    members_of,
    newest_members,
    require_accepted,
)
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import read_policy
from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.certificates import (
    AuthorityCertificate,
    SiteCertificate,
    read_authority,
    verify_certificate,
)
from fedward_common.consortium.roster import Roster, require_not_older, verify_roster
from fedward_common.errors import (
    ConfigurationError,
    CorruptFileError,
    UnverifiedMessageError,
)
from fedward_common.file_lock import held_lock
from fedward_common.identities import COORDINATOR
from fedward_common.unchanged_file import read_once

if TYPE_CHECKING:
    from pathlib import Path

    from fedward_client.daemon.site_state import OpenSite
    from fedward_common.wire.manifest import Manifest

_SEEN = "newest-roster.json"
_KEPT = "roster.cbor"


def trusted_roster(site: "OpenSite", manifest: "Manifest", unverified: bytes) -> Roster:
    """Check the roster of a run, and remember its version.

    Args:
        site: Whose trust counts.
        manifest: Of the run; it names the roster.
        unverified: The roster's signed bytes.

    Raises:
        UnverifiedMessageError: It is not the manifest's, not signed, out of date, older than one
            seen before, or the site, the coordinator or a training site is not in it as it should.
        ConfigurationError: This home lacks a certificate.
        CorruptFileError: It forgot which version it saw.
    """
    roster = _verified(site, manifest, unverified)
    see_roster(site.home, roster)
    require_accepted(site.home, read_policy(site.home), roster)
    return roster


def roster_of_accepted_run(site: "OpenSite", manifest: "Manifest", unverified: bytes) -> Roster:
    """Check the roster of a run that this site accepted, which may be older than the newest.

    Args:
        site: Whose trust counts.
        manifest: Of the run; it names the roster.
        unverified: The roster's signed bytes.

    Returns:
        The roster without those who are gone from a newer one; see `without_removed`.

    Raises:
        UnverifiedMessageError: As `trusted_roster`, but for its age among rosters and for who is
            new; or as `without_removed`.
        ConfigurationError: This home lacks a certificate.
        CorruptFileError: It forgot which version it saw.
    """
    return without_removed(site, _verified(site, manifest, unverified))


def without_removed(site: "OpenSite", roster: Roster) -> Roster:
    """Give a run's roster as a newer one leaves it: members go at once, and nobody comes.

    Args:
        site: Whose home says which members the newest roster seen has.
        roster: Verified.

    Raises:
        UnverifiedMessageError: `ROSTER_OLD`, where only the version of the newest is known, or
            `NOT_IN_ROSTER`, where this site or the coordinator is gone or is somebody else now.
        CorruptFileError: The home forgot which version it saw.
    """
    known = _newest_in(site.home.consortium)
    newest = known.members
    if newest is None or newest.version <= roster.version:
        if known.seen is not None:
            _require_not_older(roster, known.seen)
        return roster
    left = set(newest.members)
    members = zip(roster.entries, members_of(roster).members, strict=True)
    entries = tuple(entry for entry, member in members if member in left)
    if len(entries) == len(roster.entries):
        return roster
    gone = {entry.site for entry in roster.entries} - {entry.site for entry in entries}
    present = dataclasses.replace(roster, entries=entries, removed=roster.removed | gone)
    present.entry_of(site.site_id)
    present.entry_of(COORDINATOR)
    return present


def keep_roster(run_folder: "Path", signed: bytes) -> None:
    """Keep a run's roster, so that any process of the site can go on with the run."""
    write_atomically(run_folder / _KEPT, signed)


def kept_roster(run_folder: "Path") -> bytes:
    """Give the bytes that `keep_roster` wrote; `trusted_roster` says whether to believe them.

    Raises:
        CorruptFileError: They are gone.
    """
    path = run_folder / _KEPT
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptFileError(
            f"{path} cannot be read", hint="restore it, or start a new run"
        ) from error


def _verified(site: "OpenSite", manifest: "Manifest", unverified: bytes) -> Roster:
    now_seconds = site.utc_seconds()
    authority, own = _membership(site.home, now_seconds)
    roster = verify_roster(unverified, authority, now_seconds=now_seconds)
    if (roster.version, roster.sha256) != (manifest.roster_version, manifest.roster_sha256):
        raise UnverifiedMessageError(
            "the manifest names another roster than the one that came", code="ROSTER_OTHER"
        )
    if roster.consortium != manifest.consortium:
        raise UnverifiedMessageError(
            "the roster is of another consortium", code="ROSTER_CONSORTIUM"
        )
    _verify_own_entry(site, roster, own)
    _verify_others(site, roster, manifest)
    return roster


def _membership(home: SiteHome, now_seconds: float) -> tuple[AuthorityCertificate, SiteCertificate]:
    authority = read_authority(_certificate_in(home.authority_file))
    own = _certificate_in(home.certificate_file)
    return authority, verify_certificate(own, authority, now_seconds=now_seconds)


def _certificate_in(path: "Path") -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read", hint="join the consortium again", code="NO_CERTIFICATE"
        ) from error


def _verify_own_entry(site: "OpenSite", roster: Roster, own: SiteCertificate) -> None:
    entry = roster.entry_of(site.site_id)
    wanted = own.site, own.organisation, own.role, site.key.verifying_key.raw
    if (entry.site, entry.organisation, entry.role, entry.key.raw) != wanted:
        raise UnverifiedMessageError(
            "the roster has this site with another key, organisation or role",
            hint="compare certificate and roster with the consortium's office",
            code="ROSTER_OWN_ENTRY",
        )


def _verify_others(site: "OpenSite", roster: Roster, manifest: "Manifest") -> None:
    coordinator = roster.entry_of(manifest.coordinator)
    if coordinator.role != "coordinator" or coordinator.key.raw != site.coordinator_key.raw:
        raise UnverifiedMessageError(
            "the coordinator that signs messages is not the roster's", code="ROSTER_COORDINATOR"
        )
    for name in manifest.training_sites:
        if roster.entry_of(name).role != "site":
            raise UnverifiedMessageError("a member that is no site would train", code="ROSTER_ROLE")


def see_roster(home: SiteHome, roster: Roster) -> None:
    """Remember a verified roster if it is newer than all that were seen.

    Raises:
        UnverifiedMessageError: `ROSTER_OLD` or `ROSTER_FORKED`.
        CorruptFileError: The home forgot which version it saw.
    """
    path = home.consortium / _SEEN
    with held_lock(home.consortium / ".lock"):  # several processes may open one home
        if _require_newest(home, roster):
            return
        content = {"version": roster.version, "sha256": roster.sha256}
        write_atomically(path, json.dumps(content).encode())


def _require_newest(home: SiteHome, roster: Roster) -> bool:
    """Refuse a roster that is older than the newest seen; say whether it is that one."""
    path = home.consortium / _SEEN
    if not path.exists():
        return False
    seen = _read_seen(path)
    _require_not_older(roster, seen)
    return seen[0] == roster.version


def _require_not_older(roster: Roster, seen: tuple[int, str]) -> None:
    version, sha256 = seen
    require_not_older(roster, version=version, sha256=sha256)


def forget_seen_roster(home: SiteHome) -> None:
    """Let any version be the first; for a home that joins another consortium."""
    (home.consortium / _SEEN).unlink(missing_ok=True)


def _read_seen(path: "Path") -> tuple[int, str]:
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        return int(content["version"]), str(content["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"{path} no longer says which roster was seen last",
            hint="restore it from the backup; without it an old roster could pass for the present",
        ) from error


@dataclass(frozen=True)
class _Newest:
    """What a home knows of the newest roster: its members, and the version and hash of it."""

    members: KnownMembers | None
    seen: tuple[int, str] | None


def _read_newest(consortium: "Path") -> _Newest:
    seen = consortium / _SEEN
    home = SiteHome(consortium.parent)
    return _Newest(newest_members(home), _read_seen(seen) if seen.exists() else None)


_newest_in = read_once(_read_newest)  # files come into the folder by a rename, which changes it
