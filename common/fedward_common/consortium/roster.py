"""The roster: who belongs to a consortium, signed by its certificate authority.

Its bytes are canonical CBOR: a body with every member's certificate, and the authority's signature
over it. A `Roster` is what was verified of them. Every certificate counted when the roster was
issued, and from then on the roster's own age is what bounds it: a renewal changes no roster, and a
member that is late with its own spoils it for nobody else.

There are as many versions as there were changes; whoever has seen one believes no lower version,
and no other roster of the same version. Names of sites, and of organisations, that a person could
confuse never stand in one roster: organisations are counted, and one that is written in two ways
would count twice.
"""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fedward_common.consortium.organisations import without_spelling
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import (
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.identities import SiteId, parse_site_ids
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

if TYPE_CHECKING:
    from fedward_common.consortium.certificates import AuthorityCertificate, SiteCertificate

Role = Literal["site", "coordinator"]

MAX_ROSTER_BYTES = 1 << 19
# Clocks of hospitals differ: a roster may come from this far in the future.
CLOCK_SKEW_SECONDS = 600

_CONTEXT = "fedward roster v1"


@dataclass(frozen=True)
class RosterEntry:
    """One member: the key is the one it signs with, by its certificate."""

    site: SiteId
    organisation: str
    role: Role
    key: VerifyingKey


@dataclass(frozen=True)
class Roster:
    """One verified version.

    Attributes:
        sha256: Of the signed bytes, in hex; manifests name it.
        max_age_seconds: After `issued_at_seconds` nobody believes it any longer than this.
        entries: Sorted by site; the coordinator is one of them.
        removed: Sites that this version named, and that a newer one no longer has.
    """

    consortium: str
    version: int
    sha256: str
    issued_at_seconds: int
    max_age_seconds: int
    entries: tuple[RosterEntry, ...]
    removed: frozenset[SiteId] = frozenset()

    def entry_of(self, site: str) -> RosterEntry:
        """Give a member's entry.

        Raises:
            UnverifiedMessageError: `NOT_IN_ROSTER`.
        """
        entry = self._by_site.get(site)
        if entry is None:
            raise UnverifiedMessageError(
                f"{site[:60]!r} is not in roster version {self.version}",
                hint="only members of the consortium take part",
                code="NOT_IN_ROSTER",
            )
        return entry

    @functools.cached_property
    def sites(self) -> tuple[SiteId, ...]:
        """The hospitals, without the coordinator."""
        return tuple(entry.site for entry in self.entries if entry.role == "site")

    @property
    def num_sites_named(self) -> int:
        """Hospitals of this version, whoever is gone since: what a run reckons with to its end."""
        return len(self.sites) + len(self.removed)

    @functools.cached_property
    def keys_of_sites(self) -> Mapping[SiteId, VerifyingKey]:
        """Key of each hospital, without the coordinator."""
        return {entry.site: entry.key for entry in self.entries if entry.role == "site"}

    @functools.cached_property
    def _by_site(self) -> Mapping[str, RosterEntry]:
        return {entry.site: entry for entry in self.entries}


@dataclass(frozen=True)
class _Signed:
    body: bytes
    signature: bytes


@dataclass(frozen=True)
class _Body:
    consortium: str
    version: int
    issued_at_seconds: int
    max_age_seconds: int
    certificates: tuple[bytes, ...]


def make_roster(
    authority_key: SigningKey,
    authority: "AuthorityCertificate",
    certificates: Iterable["SiteCertificate"],
    *,
    version: int,
    issued_at_seconds: int,
    max_age_seconds: int,
) -> bytes:
    """Sign a version of the roster.

    Raises:
        ConfigurationError: It would break a rule that `verify_roster` keeps.
    """
    members = sorted(certificates, key=lambda certificate: certificate.site)
    body = _Body(
        authority.consortium,
        version,
        issued_at_seconds,
        max_age_seconds,
        tuple(member.der for member in members),
    )
    plain = dataclasses.asdict(body) | {"certificates": list(body.certificates)}
    encoded = encode_canonically(plain)
    signature = authority_key.sign(encoded, context=_CONTEXT)
    signed = encode_canonically({"body": encoded, "signature": signature})
    try:
        verify_roster(signed, authority, now_seconds=issued_at_seconds)
    except (UnverifiedMessageError, MalformedMessageError) as error:
        raise ConfigurationError(
            f"this roster cannot be issued: {error}", hint=error.hint, code=error.code
        ) from error
    return signed


def verify_roster(
    unverified: bytes, authority: "AuthorityCertificate", *, now_seconds: float
) -> Roster:
    """Check a roster and every certificate in it.

    Args:
        unverified: What came.
        authority: Of the consortium, pinned.
        now_seconds: Seconds since 1970, UTC.

    Raises:
        MalformedMessageError: It is no canonical encoding of a roster.
        UnverifiedMessageError: Not signed by the authority, outside its time, a certificate that
            did not hold when the roster was issued, or a list that breaks a rule; each by a code
            of its own.
    """
    body, certificates = _verified(unverified, authority, now_seconds)
    entries = tuple(RosterEntry(c.site, c.organisation, c.role, c.key) for c in certificates)
    _verify_members(entries)
    digest = hashlib.sha256(unverified).hexdigest()
    return Roster(
        body.consortium, body.version, digest, body.issued_at_seconds, body.max_age_seconds, entries
    )


def issued_at_seconds_of(unverified: bytes) -> int:
    """Give when a roster says that it was issued; nothing is verified.

    With this time `verify_roster` checks a roster that no longer counts, as it did then.

    Raises:
        MalformedMessageError: It is no roster.
    """
    signed = plain_dataclass(_Signed, decode_canonically(unverified, max_bytes=MAX_ROSTER_BYTES))
    body = decode_canonically(signed.body, max_bytes=MAX_ROSTER_BYTES)
    return plain_dataclass(_Body, body).issued_at_seconds


def certificates_of_roster(
    unverified: bytes, authority: "AuthorityCertificate", *, now_seconds: float
) -> tuple["SiteCertificate", ...]:
    """Give the certificates in a roster; checked and refused as `verify_roster` does."""
    verify_roster(unverified, authority, now_seconds=now_seconds)
    return _verified(unverified, authority, now_seconds)[1]


def _verified(
    unverified: bytes, authority: "AuthorityCertificate", now_seconds: float
) -> tuple[_Body, tuple["SiteCertificate", ...]]:
    """Check signature, head and certificates, but not yet the members among each other."""
    # X.509 takes 60 ms to import, and a round asks for none.
    from fedward_common.consortium.certificates import (
        require_authority_counts,
        verify_certificate,
    )

    signed = plain_dataclass(_Signed, decode_canonically(unverified, max_bytes=MAX_ROSTER_BYTES))
    try:
        authority.key.verify(signed.signature, signed.body, context=_CONTEXT)
    except UnverifiedMessageError as error:
        raise UnverifiedMessageError(
            "the roster is not signed by this consortium's authority", code="ROSTER_SIGNATURE"
        ) from error
    body = plain_dataclass(_Body, decode_canonically(signed.body, max_bytes=MAX_ROSTER_BYTES))
    _verify_head(body, authority.consortium, now_seconds)
    require_authority_counts(authority, now_seconds=now_seconds)
    issued_at = body.issued_at_seconds
    return body, tuple(
        verify_certificate(der, authority, now_seconds=issued_at) for der in body.certificates
    )


def as_left_by(roster: Roster, newer: Roster) -> Roster:
    """Give a run's roster as a newer one leaves it: members go at once, and nobody comes.

    Args:
        roster: Verified, of a run under way.
        newer: Verified; who is new in it waits for the next run. Who has another key, organisation
            or role in it is somebody else, and gone.

    Raises:
        UnverifiedMessageError: `ROSTER_CONSORTIUM`, `ROSTER_OLD` or `ROSTER_FORKED`.
    """
    if newer.consortium != roster.consortium:
        raise UnverifiedMessageError(
            "the roster is of another consortium", code="ROSTER_CONSORTIUM"
        )
    require_not_older(newer, version=roster.version, sha256=roster.sha256)
    left = set(newer.entries)
    entries = tuple(entry for entry in roster.entries if entry in left)
    gone = {entry.site for entry in roster.entries} - {entry.site for entry in entries}
    return dataclasses.replace(roster, entries=entries, removed=roster.removed | gone)


def require_not_older(roster: Roster, *, version: int, sha256: str) -> None:
    """Check a roster against the newest one that was seen.

    Raises:
        UnverifiedMessageError: `ROSTER_OLD`; `ROSTER_FORKED`, where two rosters have one version.
    """
    if roster.version < version:
        raise UnverifiedMessageError(
            f"roster version {roster.version} came, version {version} was seen before",
            hint="whoever sent it must fetch the present roster",
            code="ROSTER_OLD",
        )
    if roster.version == version and roster.sha256 != sha256:
        raise UnverifiedMessageError(
            f"two rosters have version {version}",
            hint="ask the consortium's office: it must sign each version once",
            code="ROSTER_FORKED",
        )


def _verify_head(body: _Body, consortium: str, now_seconds: float) -> None:
    if body.consortium != consortium:
        raise UnverifiedMessageError(
            "the roster is of another consortium", code="ROSTER_CONSORTIUM"
        )
    if body.version < 1 or body.max_age_seconds < 1 or body.issued_at_seconds < 0:
        raise MalformedMessageError("a number in the roster's head is out of its range")
    age_seconds = now_seconds - body.issued_at_seconds
    if age_seconds < -CLOCK_SKEW_SECONDS:
        raise UnverifiedMessageError(
            f"roster version {body.version} was issued {-age_seconds:.0f} s in the future",
            hint="check this machine's clock",
            code="ROSTER_NOT_YET_VALID",
        )
    if age_seconds > body.max_age_seconds:
        raise UnverifiedMessageError(
            f"roster version {body.version} is {age_seconds:.0f} s old, "
            f"it counts for {body.max_age_seconds} s",
            hint="the consortium's office must issue it anew; check this machine's clock too",
            code="ROSTER_EXPIRED",
        )


def _verify_members(entries: tuple[RosterEntry, ...]) -> None:
    if any(b.site < a.site for a, b in itertools.pairwise(entries)):
        raise UnverifiedMessageError("the roster is not sorted by site", code="ROSTER_UNSORTED")
    if len({entry.site for entry in entries}) != len(entries):
        raise UnverifiedMessageError("the roster names a member twice", code="ROSTER_DUPLICATE")
    try:
        parse_site_ids(entry.site for entry in entries if entry.role == "site")
    except ConfigurationError as error:
        raise UnverifiedMessageError(
            f"the roster's {error}", hint=error.hint, code="ROSTER_CONFUSABLE"
        ) from error
    spellings = {entry.organisation for entry in entries}
    if len({without_spelling(spelling) for spelling in spellings}) != len(spellings):
        raise UnverifiedMessageError(
            "the roster spells one organisation in two ways", code="ROSTER_CONFUSABLE"
        )
    if len({entry.key.raw for entry in entries}) != len(entries):
        raise UnverifiedMessageError("two members have one key", code="ROSTER_DUPLICATE_KEY")
    # The name is the coordinator's alone, so there is one at most.
    if not any(entry.role == "coordinator" for entry in entries):
        raise UnverifiedMessageError("the roster has no coordinator", code="ROSTER_NO_COORDINATOR")
