"""An invitation: what the office gives a hospital so that it can ask for a certificate, once.

Its text is the token. It carries a key pair's private half, which signs the request and itself goes
nowhere; the office keeps the public half alone, so whoever reads the office's files learns nothing
to join with. It also carries the SHA-256 of the authority's certificate: what comes back from the
office is believed by that alone. Where requests travel online it carries the coordinator's address
and the certificate that vouches for its TLS, so that a site believes the server from the first
message on, and nothing is placed by hand.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from fedward_common.consortium.organisations import parse_organisation
from fedward_common.consortium.roster import Role
from fedward_common.consortium.tls_authority import parse_tls_authority
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import (
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.identities import COORDINATOR, SiteId, parse_site_id
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

MAX_TOKEN_LENGTH = 6000
MAX_ADDRESS_LENGTH = 200

_PREFIX = "fedward-invitation-1."
_CHECKSUM_BYTES = 4
_ADDRESS = re.compile(r"https://[A-Za-z0-9.\-\[\]:]+(?:/[A-Za-z0-9._~/\-]*)?\Z")


@dataclass(frozen=True)
class Invitation:
    """Who may join which consortium, until when.

    Attributes:
        authority_sha256: Of the authority's certificate, 32 bytes.
        site: A site, or the coordinator by its name.
        expires_at_seconds: Since 1970, UTC; the last second in which the office takes a request.
        address: Where a request is sent online, `https://...`; empty where files are exchanged.
        key: Signs the request.
        tls_authority: Certificate, DER, that the server at the address must be vouched for by;
            empty where there is no address.
    """

    consortium: str
    authority_sha256: bytes
    site: SiteId
    organisation: str
    role: Role
    expires_at_seconds: int
    address: str
    key: SigningKey
    tls_authority: bytes = b""

    def __post_init__(self) -> None:
        parse_organisation(self.consortium)
        parse_organisation(self.organisation)
        parse_member_name(self.site, self.role)
        if len(self.authority_sha256) != hashlib.sha256().digest_size:
            raise ConfigurationError("the authority's fingerprint has not 32 bytes")
        if bool(self.address) != bool(self.tls_authority):
            raise ConfigurationError(
                "an address and the certificate of its TLS authority are invited with together",
                hint="give both --address and --tls-authority, or neither and exchange files",
            )
        if self.address:
            parse_address(self.address)
            parse_tls_authority(self.tls_authority)


@dataclass(frozen=True)
class _Body:
    consortium: str
    authority_sha256: bytes
    site: str
    organisation: str
    role: Role
    expires_at_seconds: int
    address: str
    key: bytes
    tls_authority: bytes


def parse_member_name(unverified: str, role: Role) -> SiteId:
    """Accept a site's name for a site, and the coordinator's alone for a coordinator.

    Raises:
        ConfigurationError: Any other.
    """
    if role == "site":
        return parse_site_id(unverified)
    if unverified != COORDINATOR:
        raise ConfigurationError(
            f"a coordinator is named {unverified[:60]!r}", hint=f"its name is {COORDINATOR!r}"
        )
    return COORDINATOR


def parse_address(unverified: str) -> str:
    """Accept an https address without user, query or fragment.

    Raises:
        ConfigurationError: Any other text.
    """
    if len(unverified) > MAX_ADDRESS_LENGTH or not _ADDRESS.match(unverified):
        raise ConfigurationError(
            f"address {unverified[:80]!r} cannot be used",
            hint="https://HOST, https://HOST:PORT or one of these with a path",
        )
    return unverified


def token_of(invitation: Invitation) -> str:
    """Give the one line of text that is sent to the hospital; it is a secret."""
    body = encode_canonically(
        {
            "consortium": invitation.consortium,
            "authority_sha256": invitation.authority_sha256,
            "site": invitation.site,
            "organisation": invitation.organisation,
            "role": invitation.role,
            "expires_at_seconds": invitation.expires_at_seconds,
            "address": invitation.address,
            "key": invitation.key.to_raw(),
            "tls_authority": invitation.tls_authority,
        }
    )
    return _PREFIX + base64.urlsafe_b64encode(body + _checksum(body)).rstrip(b"=").decode()


def parse_token(unverified: str) -> Invitation:
    """Read a token; line breaks and spaces that a mail program put in do not matter.

    Raises:
        ConfigurationError: `TOKEN_MALFORMED`: it is no token, or not a whole one.
    """
    if len(unverified) > 2 * MAX_TOKEN_LENGTH:
        raise _malformed("it is too long")
    text = "".join(unverified.split())
    if not text.startswith(_PREFIX) or len(text) > MAX_TOKEN_LENGTH:
        raise _malformed(f"it does not begin with {_PREFIX}")
    encoded = text.removeprefix(_PREFIX).encode("utf-8", "replace")
    try:
        content = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("it has letters that no token has") from error
    body, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if checksum != _checksum(body):
        raise _malformed("a part of it is missing or was mistyped")
    invitation = _invitation_in(body)
    if token_of(invitation) != text:  # base64 has spare bits
        raise _malformed("it is not written as the office writes it")
    return invitation


def token_given(token: str | None, file: Path | None, answer: Path | None) -> str:
    """Give the token of a command that takes it, a file with it, or the office's answer.

    Returns:
        The text; empty where the answer was given.

    Raises:
        ConfigurationError: Not exactly one was given, or the file is no text of that length.
    """
    if sum(one is not None for one in (token, file, answer)) != 1:
        raise ConfigurationError(
            "exactly one of TOKEN, --token-file and --answer is needed",
            hint="first the token that the office gave, later the answer to the request",
        )
    if file is None:
        return token or ""
    with file.open("rb") as opened:
        content = opened.read(2 * MAX_TOKEN_LENGTH + 1)
    return content.decode("ascii", "replace")


def require_unexpired(invitation: Invitation, now_seconds: float) -> None:
    """Check that the office still takes a request of this invitation.

    Raises:
        UnverifiedMessageError: `TOKEN_EXPIRED`.
    """
    if now_seconds > invitation.expires_at_seconds:
        raise UnverifiedMessageError(
            f"the invitation of {invitation.site} has expired",
            hint="ask the consortium's office for a new one; check this machine's clock too",
            code="TOKEN_EXPIRED",
        )


def _invitation_in(body: bytes) -> Invitation:
    try:
        fields = plain_dataclass(_Body, decode_canonically(body, max_bytes=MAX_TOKEN_LENGTH))
        if fields.expires_at_seconds < 0:
            raise MalformedMessageError("its last second is before 1970")
        return Invitation(
            fields.consortium,
            fields.authority_sha256,
            parse_member_name(fields.site, fields.role),
            fields.organisation,
            fields.role,
            fields.expires_at_seconds,
            fields.address,
            SigningKey.from_raw(fields.key),
            fields.tls_authority,
        )
    except (MalformedMessageError, ConfigurationError) as error:
        raise _malformed(str(error)) from error


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"fedward invitation checksum v1" + body).digest()[:_CHECKSUM_BYTES]


def _malformed(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"this is no invitation of a consortium: {why}",
        hint=f"copy the whole line that begins with {_PREFIX}",
        code="TOKEN_MALFORMED",
    )
