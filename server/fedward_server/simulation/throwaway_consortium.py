"""The consortium of a simulation: an authority that nobody outside its folder has reason to trust.

Beside the coordinator's key lie the authority's key and certificate, and the roster of each set of
homes: of the simulation's sites, and of the one site that pools their data. All of them are made
once and kept, so that a run that goes on finds what its manifest names. A home whose key is new
(somebody removed it before a run began) gets a new certificate, and the roster its next version.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.certificates import (
    AuthorityCertificate,
    SiteCertificate,
    issue_certificate,
    make_authority,
    read_authority,
)
from fedward_common.consortium.roster import (
    RosterEntry,
    certificates_of_roster,
    make_roster,
    verify_roster,
)
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError, FedwardError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_server.coordinator.run_setup import authority_file_beside

CONSORTIUM = "simulation"

_DAY_SECONDS = 24 * 3600
_LIFETIME_SECONDS = 30 * 365 * _DAY_SECONDS


@dataclass(frozen=True)
class Enrolled:
    """What the homes of a simulation are given.

    Attributes:
        authority_der: The authority's certificate, which each home pins.
        certificates: Of each site, DER.
        roster: Signed bytes.
    """

    authority_der: bytes
    certificates: Mapping[SiteId, bytes]
    roster: bytes


def private_key(file: Path) -> SigningKey:
    """Give a throwaway key, made at the first call.

    Raises:
        ConfigurationError: The file is no key.
    """
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, SigningKey.generate().to_raw().hex().encode(), mode=0o600)
    try:
        return SigningKey.from_raw(bytes.fromhex(file.read_text()))
    except (ValueError, ConfigurationError) as error:
        raise ConfigurationError(
            f"{file} holds no key",
            hint="restore it; or remove it and start anew in another --out folder",
        ) from error


def enrol(
    key_file: Path,
    roster_name: str,
    applicants: Sequence[RosterEntry],
    *,
    now_seconds: float,
) -> Enrolled:
    """Certify sites and the coordinator, and put them into a roster; what is there is kept.

    Args:
        key_file: The coordinator's key; everything lies beside it.
        roster_name: Of the file; each set of homes has its own.
        applicants: The sites with their keys and organisations.
        now_seconds: Since 1970, UTC; a new authority counts from the day before on.

    Raises:
        ConfigurationError: What is there was made by another authority or is damaged, or the sites
            cannot stand in one roster.
    """
    authority_key, authority = _authority(key_file, now_seconds)
    coordinator = private_key(key_file).verifying_key
    members = [*applicants, RosterEntry(COORDINATOR, CONSORTIUM, "coordinator", coordinator)]
    file = key_file.with_name(roster_name)
    kept = _kept(file, authority, now_seconds) if file.exists() else (0, ())
    version, certificates = kept
    if not _are_of(members, certificates):
        issued = [_issue(authority_key, authority, member) for member in members]
        certificates = tuple(sorted(issued, key=lambda one: one.site))
        signed = make_roster(
            authority_key,
            authority,
            certificates,
            version=version + 1,
            issued_at_seconds=authority.not_before_seconds,
            max_age_seconds=authority.not_after_seconds - authority.not_before_seconds,
        )
        write_atomically(file, signed)
    return Enrolled(
        authority.der,
        {one.site: one.der for one in certificates if one.role == "site"},
        file.read_bytes(),
    )


def _authority(key_file: Path, now_seconds: float) -> tuple[SigningKey, AuthorityCertificate]:
    key = private_key(key_file.with_name("authority.key"))
    file = authority_file_beside(key_file)
    if not file.exists():
        begin = int(now_seconds) - _DAY_SECONDS
        made = make_authority(
            key,
            consortium=CONSORTIUM,
            not_before_seconds=begin,
            not_after_seconds=begin + _LIFETIME_SECONDS,
            entropy=os.urandom,
        )
        write_atomically(file, made.der)
    authority = read_authority(file.read_bytes())
    if authority.key.raw != key.verifying_key.raw:
        raise ConfigurationError(
            f"{file} is not the certificate of the key beside it",
            hint="restore both, or start anew in another --out folder",
        )
    return key, authority


def _kept(
    file: Path, authority: AuthorityCertificate, now_seconds: float
) -> tuple[int, tuple[SiteCertificate, ...]]:
    try:
        signed = file.read_bytes()
        roster = verify_roster(signed, authority, now_seconds=now_seconds)
        return roster.version, certificates_of_roster(signed, authority, now_seconds=now_seconds)
    except FedwardError as error:
        raise ConfigurationError(
            f"{file} cannot be used: {error}",
            hint="restore the folder with the keys, or start anew in another --out folder",
            code=error.code,
        ) from error


def _are_of(members: Iterable[RosterEntry], certificates: Iterable[SiteCertificate]) -> bool:
    def content(one: RosterEntry | SiteCertificate) -> tuple[str, str, str, bytes]:
        return one.site, one.organisation, one.role, one.key.raw

    return sorted(map(content, members)) == sorted(map(content, certificates))


def _issue(
    authority_key: SigningKey, authority: AuthorityCertificate, member: RosterEntry
) -> SiteCertificate:
    return issue_certificate(
        authority_key,
        authority,
        site=member.site,
        organisation=member.organisation,
        role=member.role,
        key=member.key,
        not_before_seconds=authority.not_before_seconds,
        not_after_seconds=authority.not_after_seconds,
        entropy=os.urandom,
    )
