"""What the office gives back: the authority's certificate, the member's own, and the roster.

The authority's certificate is believed by the SHA-256 that the invitation carried; all else is
signed by it. So it does not matter by which way an answer comes, or who brings it. Online an answer
may also be that nobody has decided yet, a refusal, of which only the code is told, or the roster
alone, for a member that asked for news of it.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from fedward_common.consortium.certificates import (
    AuthorityCertificate,
    SiteCertificate,
    read_authority,
    verify_certificate,
)
from fedward_common.consortium.roster import MAX_ROSTER_BYTES, Role, Roster, verify_roster
from fedward_common.crypto.signing import VerifyingKey
from fedward_common.errors import (
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

MAX_ANSWER_BYTES = MAX_ROSTER_BYTES + (1 << 14)

Status = Literal["admitted", "waiting", "refused", "roster"]

_CODE = re.compile(r"[A-Z][A-Z_]{0,59}\Z")


@dataclass(frozen=True)
class Asked:
    """What a member knows of itself when an answer comes.

    Attributes:
        authority_sha256: Of the authority's certificate, 32 bytes.
        key: What it signs with.
    """

    authority_sha256: bytes
    site: str
    organisation: str
    role: Role
    key: VerifyingKey


@dataclass(frozen=True)
class Membership:
    """A verified answer.

    Attributes:
        signed_roster: The bytes of `roster`.
    """

    authority: AuthorityCertificate
    certificate: SiteCertificate
    roster: Roster
    signed_roster: bytes


@dataclass(frozen=True)
class _Answer:
    status: Status
    code: str
    authority: bytes
    certificate: bytes
    roster: bytes


def admitted(*, authority: bytes, certificate: bytes, roster: bytes) -> bytes:
    """Encode the answer to somebody who is a member.

    Args:
        authority: The authority's certificate, DER.
        certificate: The member's, DER.
        roster: Signed bytes of the present version.
    """
    return _encoded(_Answer("admitted", "", authority, certificate, roster))


def waiting() -> bytes:
    """Encode that the request is there and nobody has decided."""
    return _encoded(_Answer("waiting", "", b"", b"", b""))


def refused(code: str) -> bytes:
    """Encode a refusal."""
    return _encoded(_Answer("refused", code, b"", b"", b""))


def present_roster(roster: bytes) -> bytes:
    """Encode the signed roster; empty where whoever asked has the newest."""
    return _encoded(_Answer("roster", "", b"", b"", roster))


def roster_in(unverified: bytes) -> bytes:
    """Give the roster of an answer, which nobody checked yet; empty where there is none newer.

    Raises:
        MalformedMessageError: It is no answer with a roster alone.
        UnverifiedMessageError: It is a refusal; its code is the coordinator's.
    """
    is_waiting(unverified)
    answer = _decoded(unverified)
    if answer.status != "roster":
        raise MalformedMessageError(f"an answer came that is {answer.status!r}, not a roster")
    return answer.roster


def is_waiting(unverified: bytes) -> bool:
    """Say whether an answer is that nobody has decided; nobody signs that.

    Raises:
        MalformedMessageError: It is no answer.
        UnverifiedMessageError: It is a refusal; its code is the office's.
    """
    answer = _decoded(unverified)
    if answer.status == "refused":
        raise UnverifiedMessageError(
            f"the consortium's office refuses the request: {answer.code}",
            hint="ask the office what it means; it can invite this site anew",
            code=answer.code,
        )
    return answer.status == "waiting"


def verify_answer(
    unverified: bytes, asked: Asked, *, now_seconds: float, is_renewal: bool = False
) -> Membership:
    """Check an answer by the authority's fingerprint.

    Args:
        unverified: What came.
        asked: What was asked for.
        now_seconds: Seconds since 1970, UTC.
        is_renewal: A member that was late may stand in the next roster only.

    Raises:
        MalformedMessageError: It is no answer of a member.
        UnverifiedMessageError: `ANSWER_AUTHORITY`, `ANSWER_CERTIFICATE`, `ANSWER_ROSTER`, a refusal
            of the office's, or a certificate or roster that does not hold, by its own code.
    """
    if is_waiting(unverified):
        raise MalformedMessageError(
            "the office has not decided yet", hint="it gives the answer after 'consortium approve'"
        )
    answer = _decoded(unverified)
    if hashlib.sha256(answer.authority).digest() != asked.authority_sha256:
        raise UnverifiedMessageError(
            "the answer is of another authority than the invitation's",
            hint="ask the office by telephone before anything else: somebody may stand between",
            code="ANSWER_AUTHORITY",
        )
    try:
        authority = read_authority(answer.authority)
    except ConfigurationError as error:
        raise UnverifiedMessageError(
            f"the answer's authority cannot be used: {error}", code="ANSWER_AUTHORITY"
        ) from error
    certificate = verify_certificate(answer.certificate, authority, now_seconds=now_seconds)
    _require_own(certificate, asked)
    roster = verify_roster(answer.roster, authority, now_seconds=now_seconds)
    if not is_renewal:
        _require_in(roster, certificate)
    return Membership(authority, certificate, roster, answer.roster)


def _require_own(certificate: SiteCertificate, asked: Asked) -> None:
    came = certificate.site, certificate.organisation, certificate.role, certificate.key.raw
    if came != (asked.site, asked.organisation, asked.role, asked.key.raw):
        raise UnverifiedMessageError(
            "the certificate in the answer is not for this member and its key",
            hint="it answers another request; ask the office for the answer to yours",
            code="ANSWER_CERTIFICATE",
        )


def _require_in(roster: Roster, certificate: SiteCertificate) -> None:
    entry = roster.entry_of(certificate.site)
    there = entry.organisation, entry.role, entry.key.raw
    if there != (certificate.organisation, certificate.role, certificate.key.raw):
        raise UnverifiedMessageError(
            "the roster in the answer has this member as something else",
            hint="ask the office for a new answer",
            code="ANSWER_ROSTER",
        )


def _encoded(answer: _Answer) -> bytes:
    return encode_canonically(
        {
            "status": answer.status,
            "code": answer.code,
            "authority": answer.authority,
            "certificate": answer.certificate,
            "roster": answer.roster,
        }
    )


def _decoded(unverified: bytes) -> _Answer:
    if unverified.startswith(b"-----BEGIN"):
        raise MalformedMessageError(
            "PEM text came instead of an answer", hint="take the file that the office wrote"
        )
    try:
        plain = decode_canonically(unverified, max_bytes=MAX_ANSWER_BYTES)
        answer = plain_dataclass(_Answer, plain)
    except MalformedMessageError as error:
        error.hint = error.hint or "take the file that the office wrote, as it is"
        raise
    is_refusal = answer.status == "refused"
    if is_refusal != bool(answer.code) or (is_refusal and not _CODE.match(answer.code)):
        raise MalformedMessageError("an answer's code and status contradict each other")
    return answer
