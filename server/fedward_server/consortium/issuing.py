"""What the authority signs: a member's next certificate, and the roster's next version."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from fedward_common.consortium.certificate_form import parse_certificate
from fedward_common.consortium.certificates import (
    AuthorityCertificate,
    SiteCertificate,
    issue_certificate,
    read_authority,
    verify_certificate,
)
from fedward_common.consortium.enrolment_request import JoinRequest
from fedward_common.consortium.roster import (
    CLOCK_SKEW_SECONDS,
    MAX_ROSTER_BYTES,
    Roster,
    make_roster,
    verify_roster,
)
from fedward_common.crypto.entropy import Entropy
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import ConfigurationError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import decode_canonically
from fedward_server.consortium.office_state import Member, OfficeState

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Authority:
    """The authority's key, opened for one command, with its certificate."""

    key: SigningKey
    certificate: AuthorityCertificate


def lapsed_members(state: OfficeState, *, now_seconds: float) -> tuple[str, ...]:
    """Name the members whose certificate counts no longer; a new roster leaves them out."""
    certificates = _counting_certificates(state.authority, state.members, now_seconds)
    return tuple(sorted(state.members.keys() - {one.site for one in certificates}))


def next_roster(
    state: OfficeState,
    authority: Authority,
    members: Mapping[str, Member],
    now_seconds: float,
    *,
    above: int = 0,
) -> tuple[int, bytes]:
    """Sign a roster of these members, without those whose certificate counts no longer.

    Raises:
        ConfigurationError: There is no coordinator among them, or it breaks another rule.
    """
    certificates = _counting_certificates(authority.certificate.der, members, now_seconds)
    if not any(one.role == "coordinator" for one in certificates):
        raise ConfigurationError(
            "no coordinator has a certificate that counts, and a roster needs one",
            hint="fedward consortium invite --coordinator, then approve its request first; "
            "or renew its certificate",
            code="ROSTER_NO_COORDINATOR",
        )
    version = max(state.roster_version, above) + 1
    roster = make_roster(
        authority.key,
        authority.certificate,
        certificates,
        version=version,
        issued_at_seconds=int(now_seconds),
        max_age_seconds=state.roster_days * DAY_SECONDS,
    )
    return version, roster


def _counting_certificates(
    authority_der: bytes, members: Mapping[str, Member], now_seconds: float
) -> list[SiteCertificate]:
    authority = read_authority(authority_der)
    counting = []
    for member in members.values():
        # Only the end of its own time is a reason to leave a member out.
        with contextlib.suppress(UnverifiedMessageError):
            counting.append(
                verify_certificate(member.certificate, authority, now_seconds=now_seconds)
            )
    return counting


def next_certificate(
    state: OfficeState,
    authority: Authority,
    who: JoinRequest | Member,
    key: VerifyingKey,
    now_seconds: float,
    entropy: Entropy,
) -> SiteCertificate:
    """Certify a key for as long as this consortium's certificates count.

    Raises:
        ConfigurationError: It would outlive the authority's own.
    """
    now = int(now_seconds)
    return issue_certificate(
        authority.key,
        authority.certificate,
        site=who.site,
        organisation=who.organisation,
        role=who.role,
        key=key,
        # A member's clock may be behind the office's.
        not_before_seconds=max(now - CLOCK_SKEW_SECONDS, authority.certificate.not_before_seconds),
        not_after_seconds=now + state.certificate_days * DAY_SECONDS,
        entropy=entropy,
    )


def end_of_certificate(member: Member) -> int:
    """Give the last second in which a member's newest certificate counts."""
    return parse_certificate(member.certificate).not_after_seconds


def read_own_roster(signed: bytes, authority: AuthorityCertificate) -> Roster:
    """Read a roster that this office issued, however old it is by now."""
    head = decode_canonically(
        decode_canonically(signed, max_bytes=MAX_ROSTER_BYTES)["body"], max_bytes=MAX_ROSTER_BYTES
    )
    return verify_roster(signed, authority, now_seconds=head["issued_at_seconds"])
