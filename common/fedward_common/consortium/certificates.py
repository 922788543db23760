"""Certificates of a consortium: X.509 v3 with Ed25519 keys, signed by its own authority.

A member's certificate says which key a site or the coordinator signs with, and which organisation
it belongs to. It is a leaf (CA:FALSE), for digital signatures alone, its role is an extended key
usage of our own, its subject an organisation (O) and a name (CN), and nothing else. The authority
signs no chain: one certificate, pinned at each member, signs all others. Its key signs rosters too;
those are framed (`crypto.signing`) and begin with a zero byte, which no certificate does.

Pure: time and the serial number's randomness are arguments. What breaks a rule is refused by a code
of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from fedward_common.consortium.certificate_form import (
    AUTHORITY_NAME,
    ROLE_USAGES,
    ParsedCertificate,
    key_usage,
    parse_certificate,
    refused,
    verify_leaf_extensions,
)
from fedward_common.consortium.organisations import parse_organisation
from fedward_common.consortium.roster import Role
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import ConfigurationError, FedwardError
from fedward_common.identities import COORDINATOR, SiteId, parse_site_id

# Ed25519 without parameters, then a bit string of 64 octets (RFC 8410 sections 3 and 6).
_BEFORE_SIGNATURE = bytes.fromhex("300506032b6570034100")

Entropy = Callable[[int], bytes]


@dataclass(frozen=True)
class AuthorityCertificate:
    """The consortium's own certificate, which each member pins.

    Attributes:
        not_before_seconds: Since 1970, UTC; the first second in which it counts.
        not_after_seconds: The last one.
    """

    consortium: str
    key: VerifyingKey
    not_before_seconds: int
    not_after_seconds: int
    serial: int
    der: bytes


@dataclass(frozen=True)
class SiteCertificate:
    """A member's certificate; the times are as in `AuthorityCertificate`."""

    site: SiteId
    organisation: str
    role: Role
    key: VerifyingKey
    not_before_seconds: int
    not_after_seconds: int
    serial: int
    der: bytes


def make_authority(
    authority_key: SigningKey,
    *,
    consortium: str,
    not_before_seconds: int,
    not_after_seconds: int,
    entropy: Entropy,
) -> AuthorityCertificate:
    """Make the certificate that a consortium's members pin.

    Args:
        authority_key: Signs it, itself and all others.
        consortium: Its name, one line as an organisation's.
        not_before_seconds: Since 1970, UTC.
        not_after_seconds: The last second in which it counts.
        entropy: Gives random bytes, for the serial number.

    Raises:
        ConfigurationError: The name cannot be used, or the window is empty.
    """
    name = _authority_name(parse_organisation(consortium))
    builder = _builder(
        name, name, authority_key.verifying_key, not_before_seconds, not_after_seconds, entropy
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(key_usage(is_authority=True), critical=True)
    return read_authority(_signed(builder, authority_key))


def issue_certificate(
    authority_key: SigningKey,
    authority: AuthorityCertificate,
    *,
    site: str,
    organisation: str,
    role: Role,
    key: VerifyingKey,
    not_before_seconds: int,
    not_after_seconds: int,
    entropy: Entropy,
) -> SiteCertificate:
    """Certify a member's key.

    Args:
        authority_key: The private half of the authority's key.
        authority: Its certificate; the window must lie inside its own.
        site: Name of the site; a coordinator's is `coordinator`.
        organisation: Which it belongs to.
        role: What it may do.
        key: What it signs with; whoever asks has proved to hold the private half.
        not_before_seconds: Since 1970, UTC.
        not_after_seconds: The last second in which it counts.
        entropy: Gives random bytes, for the serial number.

    Raises:
        ConfigurationError: The certificate would break a rule that `verify_certificate` keeps.
    """
    if authority_key.verifying_key.raw != authority.key.raw:
        raise ConfigurationError("the key is not the one of the authority's certificate")
    if not_before_seconds < authority.not_before_seconds or (
        not_after_seconds > authority.not_after_seconds
    ):
        raise ConfigurationError(
            "a certificate would outlive the authority's own",
            hint="give it a shorter time, or renew the authority",
        )
    subject = _name(parse_organisation(organisation), _parse_member(site, role))
    issuer = _authority_name(authority.consortium)
    builder = _builder(subject, issuer, key, not_before_seconds, not_after_seconds, entropy)
    der = _signed(_as_leaf(builder, role, authority), authority_key)
    try:
        return verify_certificate(der, authority, now_seconds=not_before_seconds)
    except FedwardError as error:
        raise ConfigurationError(
            f"this certificate cannot be issued: {error}", hint=error.hint, code=error.code
        ) from error


def read_authority(pinned_der: bytes) -> AuthorityCertificate:
    """Read the certificate that this member pinned; its window is checked with those it signed.

    Raises:
        ConfigurationError: It is no authority's certificate.
    """
    try:
        parsed = parse_certificate(pinned_der)
        names = {attribute.oid: str(attribute.value) for attribute in parsed.subject}
        consortium = parse_organisation(names.get(NameOID.ORGANIZATION_NAME, ""))
        _verify_signature(parsed, parsed.key)
    except FedwardError as error:
        raise ConfigurationError(
            f"this is no certificate of an authority: {error}",
            hint="fetch it again from the consortium's office",
            code=error.code,
        ) from error
    constraints = parsed.extension(x509.BasicConstraints)
    is_authority = constraints is not None and constraints.ca
    if not is_authority or parsed.subject != _authority_name(consortium):
        raise ConfigurationError(
            "this is a certificate, but no authority's",
            hint="pin the consortium's own certificate, not a member's",
        )
    return AuthorityCertificate(
        consortium,
        parsed.key,
        parsed.not_before_seconds,
        parsed.not_after_seconds,
        parsed.serial,
        pinned_der,
    )


def verify_certificate(
    unverified_der: bytes, authority: AuthorityCertificate, *, now_seconds: float
) -> SiteCertificate:
    """Check a member's certificate.

    Args:
        unverified_der: What came.
        authority: Of the consortium, pinned.
        now_seconds: Since 1970, UTC.

    Raises:
        UnverifiedMessageError: It breaks a rule; `code` says which.
    """
    parsed = parse_certificate(unverified_der)
    _verify_issuer(parsed, authority)
    role = verify_leaf_extensions(parsed)
    site, organisation = _verified_names(parsed.subject, role)
    _verify_window(parsed, authority, now_seconds)
    return SiteCertificate(
        site,
        organisation,
        role,
        parsed.key,
        parsed.not_before_seconds,
        parsed.not_after_seconds,
        parsed.serial,
        unverified_der,
    )


def require_authority_counts(authority: AuthorityCertificate, *, now_seconds: float) -> None:
    """Check the window of the authority's own certificate.

    Raises:
        UnverifiedMessageError: `CERT_AUTHORITY_EXPIRED`.
    """
    if not authority.not_before_seconds <= now_seconds <= authority.not_after_seconds:
        raise refused("CERT_AUTHORITY_EXPIRED", "is of an authority whose own time is over")


def is_renewal_due(certificate: SiteCertificate, *, now_seconds: float) -> bool:
    """Say whether two thirds of a certificate's life are over."""
    life = certificate.not_after_seconds - certificate.not_before_seconds
    return 3 * (now_seconds - certificate.not_before_seconds) >= 2 * life


def _name(organisation: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _authority_name(consortium: str) -> x509.Name:
    return _name(consortium, AUTHORITY_NAME)


def _parse_member(name: str, role: Role) -> SiteId:
    """A coordinator has the name that no site may have, so neither passes for the other."""
    if role == "site":
        return parse_site_id(name)
    if name != COORDINATOR:
        raise ConfigurationError(
            f"a coordinator is named {name[:60]!r}", hint=f"its name is {COORDINATOR!r}"
        )
    return COORDINATOR


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: VerifyingKey,
    not_before_seconds: int,
    not_after_seconds: int,
    entropy: Entropy,
) -> x509.CertificateBuilder:
    if not 0 <= not_before_seconds < not_after_seconds:
        raise ConfigurationError("a certificate's time would be over before it begins")
    public = Ed25519PublicKey.from_public_bytes(key.raw)
    # 159 random bits: at most 20 octets and positive, RFC 5280 section 4.1.2.2.
    serial = max(1, int.from_bytes(entropy(20), "big") >> 1)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public)
        .serial_number(serial)
        .not_valid_before(datetime.fromtimestamp(not_before_seconds, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after_seconds, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _as_leaf(
    builder: x509.CertificateBuilder, role: Role, authority: AuthorityCertificate
) -> x509.CertificateBuilder:
    issuer = Ed25519PublicKey.from_public_bytes(authority.key.raw)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ROLE_USAGES[role]]), critical=False)
        .add_extension(issuer_id, critical=False)
    )


def _signed(builder: x509.CertificateBuilder, key: SigningKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    private = Ed25519PrivateKey.from_private_bytes(key.to_raw())
    return builder.sign(private, None).public_bytes(Encoding.DER)


def _verify_signature(parsed: ParsedCertificate, key: VerifyingKey) -> None:
    # The parser reads the signed copy of the algorithm and lets the other one be anything.
    is_exact = parsed.after_signed == _BEFORE_SIGNATURE + parsed.signature
    if parsed.signature_algorithm != SignatureAlgorithmOID.ED25519 or not is_exact:
        raise refused("CERT_SIGNATURE", "is not signed with Ed25519")
    try:
        public = Ed25519PublicKey.from_public_bytes(key.raw)
        public.verify(parsed.signature, parsed.signed_bytes)
    except InvalidSignature as error:
        raise refused("CERT_SIGNATURE", "has a signature that does not fit") from error


def _verify_issuer(parsed: ParsedCertificate, authority: AuthorityCertificate) -> None:
    if parsed.key.raw == authority.key.raw or parsed.issuer == parsed.subject:
        raise refused("CERT_SELF_SIGNED", "signed itself")
    if parsed.issuer != _authority_name(authority.consortium):
        raise refused("CERT_OTHER_AUTHORITY", "is of another authority")
    _verify_signature(parsed, authority.key)


def _verified_names(subject: x509.Name, role: Role) -> tuple[SiteId, str]:
    found = {attribute.oid: str(attribute.value) for attribute in subject}
    organisation = found.get(NameOID.ORGANIZATION_NAME, "")
    try:
        site = _parse_member(found.get(NameOID.COMMON_NAME, ""), role)
        organisation = parse_organisation(organisation)
    except ConfigurationError as error:
        raise refused("CERT_NAMES", f"names nobody: {error}") from error
    if subject != _name(organisation, site):
        raise refused("CERT_NAMES", "has other names than an organisation and a site")
    return site, organisation


def _verify_window(
    parsed: ParsedCertificate, authority: AuthorityCertificate, now_seconds: float
) -> None:
    require_authority_counts(authority, now_seconds=now_seconds)
    if now_seconds < parsed.not_before_seconds:
        raise refused("CERT_NOT_YET_VALID", "does not count yet")
    if now_seconds > parsed.not_after_seconds:
        raise refused("CERT_EXPIRED", "counts no longer")
