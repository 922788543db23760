"""What a member asks the office for: a first certificate, or the next one for the same key.

A request to join is signed twice over the same bytes: by the new key, which shows that whoever asks
holds it, and by the invitation's key, which shows that the office invited whoever asks. A request
to renew is signed by the member's key and names the certificate that it follows, so an old one is
known as old. Neither holds a secret, and whoever changes a byte makes it worthless.
"""

import hashlib
from dataclasses import dataclass

from fedward_common.consortium.fingerprint_words import fingerprint_words
from fedward_common.consortium.invitation import Invitation, parse_member_name
from fedward_common.consortium.organisations import parse_organisation
from fedward_common.consortium.roster import Role, Roster, RosterEntry
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import (
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.identities import SiteId
from fedward_common.wire.canonical_cbor import Plain, decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

MAX_REQUEST_BYTES = 4096
ENROLMENT_PATH = "/v1/enrolment"
"""Where a coordinator takes requests online, below its address."""

_JOIN, _RENEW = "fedward join request 1", "fedward renewal request 1"
_BY_INVITATION = "fedward invitation v1"
_HINT = "send the request file that 'join' or 'renew' wrote, as it is and nothing else"


@dataclass(frozen=True)
class JoinRequest:
    """A verified request of somebody who holds both keys.

    Attributes:
        key: What the member will sign with.
        node_key: The site's signed statement of what its Flower node connects with (`node_key`);
            empty for a coordinator.
        invitation_key: Public half of the invitation's key; the office knows invitations by it.
        sha256: Of the request's bytes, in hex.
        body: What was signed; the fingerprint words are those of these bytes.
    """

    consortium: str
    authority_sha256: bytes
    site: SiteId
    organisation: str
    role: Role
    key: VerifyingKey
    node_key: bytes
    invitation_key: VerifyingKey
    sha256: str
    body: bytes

    def words(self) -> tuple[str, ...]:
        """Give the words that both sides compare; takes some 0.1 s."""
        return fingerprint_words(self.body)


@dataclass(frozen=True)
class RenewalRequest:
    """A verified request for the next certificate of a key.

    Attributes:
        key: The member's; it signed the request.
        certificate_sha256: Of the certificate that the member has, 32 bytes.
        sha256: Of the request's bytes, in hex.
    """

    consortium: str
    site: SiteId
    key: VerifyingKey
    certificate_sha256: bytes
    sha256: str


@dataclass(frozen=True)
class _Frame:
    kind: str
    body: bytes
    signatures: tuple[bytes, ...]


@dataclass(frozen=True)
class _JoinBody:
    consortium: str
    authority_sha256: bytes
    site: str
    organisation: str
    role: Role
    key: bytes
    node_key: bytes
    invitation_key: bytes


@dataclass(frozen=True)
class _RenewalBody:
    consortium: str
    site: str
    key: bytes
    certificate_sha256: bytes


def make_join_request(invitation: Invitation, key: SigningKey, node_key: bytes) -> bytes:
    """Ask for a first certificate; the same values give the same bytes.

    Args:
        invitation: What the office gave.
        key: The member's own, new.
        node_key: What `state_node_key` gave for the same key; empty for a coordinator.
    """
    body: dict[str, Plain] = {
        "consortium": invitation.consortium,
        "authority_sha256": invitation.authority_sha256,
        "site": invitation.site,
        "organisation": invitation.organisation,
        "role": invitation.role,
        "key": key.verifying_key.raw,
        "node_key": node_key,
        "invitation_key": invitation.key.verifying_key.raw,
    }
    encoded = encode_canonically(body)
    signatures = [
        key.sign(encoded, context=_JOIN),
        invitation.key.sign(encoded, context=_BY_INVITATION),
    ]
    return _framed(_JOIN, encoded, signatures)


def make_renewal_request(
    key: SigningKey, *, consortium: str, site: str, certificate_der: bytes
) -> bytes:
    """Ask for the certificate that follows `certificate_der`, for the same key."""
    body: dict[str, Plain] = {
        "consortium": consortium,
        "site": site,
        "key": key.verifying_key.raw,
        "certificate_sha256": hashlib.sha256(certificate_der).digest(),
    }
    encoded = encode_canonically(body)
    return _framed(_RENEW, encoded, [key.sign(encoded, context=_RENEW)])


def read_request(unverified: bytes) -> JoinRequest | RenewalRequest:
    """Check a request and its signatures; whether its sender may ask is for the office to say.

    Raises:
        MalformedMessageError: It is no request.
        UnverifiedMessageError: `REQUEST_PRIVATE_KEY`, or a signature does not fit.
    """
    try:
        return _read(unverified)
    except (MalformedMessageError, UnverifiedMessageError) as error:
        error.hint = error.hint or _HINT
        raise


def _read(unverified: bytes) -> JoinRequest | RenewalRequest:
    _refuse_what_people_send(unverified)
    frame = plain_dataclass(_Frame, decode_canonically(unverified, max_bytes=MAX_REQUEST_BYTES))
    sha256 = hashlib.sha256(unverified).hexdigest()
    decoded = decode_canonically(frame.body, max_bytes=MAX_REQUEST_BYTES)
    try:
        if frame.kind == _JOIN:
            return _verified_join(frame, plain_dataclass(_JoinBody, decoded), sha256)
        if frame.kind == _RENEW:
            return _verified_renewal(frame, plain_dataclass(_RenewalBody, decoded), sha256)
    except ConfigurationError as error:
        raise MalformedMessageError(f"a request names nobody: {error}") from error
    raise MalformedMessageError(f"{frame.kind[:60]!r} is no kind of request")


def _framed(kind: str, body: bytes, signatures: list[bytes]) -> bytes:
    plain: list[Plain] = list(signatures)
    return encode_canonically({"kind": kind, "body": body, "signatures": plain})


def _verified_join(frame: _Frame, body: _JoinBody, sha256: str) -> JoinRequest:
    key, invitation_key = VerifyingKey(body.key), VerifyingKey(body.invitation_key)
    if len(frame.signatures) != 2:
        raise MalformedMessageError("a request to join has two signatures")
    if body.key == body.invitation_key:
        raise MalformedMessageError("a request uses the invitation's key as the member's")
    key.verify(frame.signatures[0], frame.body, context=_JOIN)
    invitation_key.verify(frame.signatures[1], frame.body, context=_BY_INVITATION)
    request = JoinRequest(
        parse_organisation(body.consortium),
        _require_sha256(body.authority_sha256),
        parse_member_name(body.site, body.role),
        parse_organisation(body.organisation),
        body.role,
        key,
        body.node_key,
        invitation_key,
        sha256,
        frame.body,
    )
    _verify_node_key(request)
    return request


def _verify_node_key(request: JoinRequest) -> None:
    """Check the statement as the coordinator will, once the site is in the roster."""
    if request.role == "coordinator":
        if request.node_key:
            raise MalformedMessageError("a coordinator has no node, and states a key of one")
        return
    from fedward_common.consortium.node_key import verify_node_key

    entry = RosterEntry(request.site, request.organisation, request.role, request.key)
    alone = Roster(request.consortium, 1, "", 0, 1, (entry,))
    try:
        verify_node_key(request.node_key, alone)
    except UnverifiedMessageError as error:
        raise UnverifiedMessageError(
            "a request states the key of a node that is not this site's", code="NODE_KEY_FOREIGN"
        ) from error


def _verified_renewal(frame: _Frame, body: _RenewalBody, sha256: str) -> RenewalRequest:
    key = VerifyingKey(body.key)
    if len(frame.signatures) != 1:
        raise MalformedMessageError("a request to renew has one signature")
    key.verify(frame.signatures[0], frame.body, context=_RENEW)
    # The office compares the name with its list; it need not know here which role it is.
    site = SiteId(body.site)
    digest = _require_sha256(body.certificate_sha256)
    return RenewalRequest(parse_organisation(body.consortium), site, key, digest, sha256)


def _require_sha256(digest: bytes) -> bytes:
    if len(digest) != hashlib.sha256().digest_size:
        raise MalformedMessageError("a SHA-256 in a request has not 32 bytes")
    return digest


def _refuse_what_people_send(unverified: bytes) -> None:
    if b"PRIVATE KEY" in unverified:
        raise UnverifiedMessageError(
            "a private key came instead of a request",
            hint="whoever saw it can speak as its owner: destroy it, remove it from the site's "
            "home and join with a new one",
            code="REQUEST_PRIVATE_KEY",
        )
    if b"-----BEGIN" in unverified:
        raise MalformedMessageError(
            f"{unverified.count(b'-----BEGIN')} PEM texts came instead of a request"
        )
    if not unverified:
        raise MalformedMessageError("an empty file came instead of a request")
