"""The form of a certificate, before anybody asks who signed it: bytes, fields and extensions.

Exactly one certificate in DER, of a bounded size. Whatever the parser stumbles on is one code;
mistakes that people make (a private key sent along, two certificates in one file) have their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from fedward_common.consortium.roster import Role
from fedward_common.crypto.signing import VerifyingKey
from fedward_common.errors import UnverifiedMessageError

MAX_CERTIFICATE_BYTES = 2048
AUTHORITY_NAME = "Fedward certificate authority"

# Below 2.25 each UUID is an arc that needs no registration (ITU-T X.667).
_ROLES = "2.25.268094379587136341201043214457265113377"
ROLE_USAGES: Mapping[Role, x509.ObjectIdentifier] = {
    "site": x509.ObjectIdentifier(f"{_ROLES}.1"),
    "coordinator": x509.ObjectIdentifier(f"{_ROLES}.2"),
}

_HINTS = {
    "CERT_PRIVATE_KEY": "whoever saw it can speak as its owner: make a new key, and send only "
    "the certificate",
    "CERT_SEVERAL": "send one certificate, without those that signed it",
    "CERT_NOT_DER": "send the certificate in DER",
    "CERT_EXPIRED": "renew it at the consortium's office; check this machine's clock too",
    "CERT_NOT_YET_VALID": "check this machine's clock",
    "CERT_AUTHORITY_EXPIRED": "the consortium must renew its authority; check this machine's clock",
}
_ANY_OTHER = "ask the consortium's office for a certificate"

E = TypeVar("E", bound=x509.ExtensionType)


@dataclass(frozen=True)
class ParsedCertificate:
    """What a certificate says; nothing of it is believed yet.

    Attributes:
        after_signed: What follows the signed bytes: the algorithm once more, and the signature.
    """

    subject: x509.Name
    issuer: x509.Name
    key: VerifyingKey
    not_before_seconds: int
    not_after_seconds: int
    serial: int
    extensions: x509.Extensions
    signature_algorithm: x509.ObjectIdentifier
    signature: bytes
    signed_bytes: bytes
    after_signed: bytes

    def extension(self, kind: type[E]) -> E | None:
        """Give an extension, or None where there is none."""
        for extension in self.extensions:
            if isinstance(extension.value, kind):
                return extension.value
        return None


def refused(code: str, how: str) -> UnverifiedMessageError:
    """Give the error of a certificate that breaks the rule `code`."""
    return UnverifiedMessageError(
        f"a certificate {how}", hint=_HINTS.get(code, _ANY_OTHER), code=code
    )


def key_usage(*, is_authority: bool) -> x509.KeyUsage:
    """Give what a key may be used for: an authority signs certificates, a member all else."""
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def parse_certificate(unverified_der: bytes) -> ParsedCertificate:
    """Read one certificate.

    Raises:
        UnverifiedMessageError: It is no X.509 v3 certificate in DER with an Ed25519 key.
    """
    if len(unverified_der) > MAX_CERTIFICATE_BYTES:
        raise refused(
            "CERT_TOO_LARGE",
            f"has {len(unverified_der)} bytes, at most {MAX_CERTIFICATE_BYTES} are taken",
        )
    _refuse_what_people_send(unverified_der)
    try:
        parsed = _fields_of(x509.load_der_x509_certificate(unverified_der), unverified_der)
    except x509.InvalidVersion as error:
        raise refused("CERT_VERSION", "is not of version 3") from error
    # Fields are parsed when they are asked for, and each has errors of its own.
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise refused("CERT_MALFORMED", f"cannot be read: {type(error).__name__}") from error
    if parsed.serial <= 0:
        raise refused("CERT_MALFORMED", "has a serial number that is not positive")
    return parsed


def _fields_of(certificate: x509.Certificate, der: bytes) -> ParsedCertificate:
    if certificate.version is not x509.Version.v3:
        raise refused("CERT_VERSION", "is not of version 3")
    public = certificate.public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise refused("CERT_KEY_TYPE", "has a key that is not Ed25519")
    return ParsedCertificate(
        certificate.subject,
        certificate.issuer,
        VerifyingKey(public.public_bytes_raw()),
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
        certificate.serial_number,
        certificate.extensions,
        certificate.signature_algorithm_oid,
        certificate.signature,
        certificate.tbs_certificate_bytes,
        der.partition(certificate.tbs_certificate_bytes)[2],
    )


def verify_leaf_extensions(parsed: ParsedCertificate) -> Role:
    """Check that a certificate is a member's, and give the member's role.

    Raises:
        UnverifiedMessageError: It may sign certificates, may do something else than sign, has no
            role or several, or demands something that is not known here.
    """
    known = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
    if any(e.critical and not isinstance(e.value, known) for e in parsed.extensions):
        raise refused("CERT_UNKNOWN_CRITICAL", "has a critical extension that is unknown here")
    constraints = parsed.extension(x509.BasicConstraints)
    if constraints is None or constraints.ca:
        raise refused("CERT_IS_AUTHORITY", "is not one of a member: it does not say CA:FALSE")
    if parsed.extension(x509.KeyUsage) != key_usage(is_authority=False):
        raise refused("CERT_KEY_USAGE", "is not for digital signatures alone")
    usages = list(parsed.extension(x509.ExtendedKeyUsage) or ())
    for role, usage in ROLE_USAGES.items():
        if usages == [usage]:
            return role
    raise refused("CERT_ROLE", "has no role in a consortium, or several")


def _refuse_what_people_send(unverified: bytes) -> None:
    if b"-----BEGIN" in unverified:
        if b"PRIVATE KEY-----" in unverified:
            raise refused("CERT_PRIVATE_KEY", "came with a private key")
        if unverified.count(b"-----BEGIN") > 1:
            raise refused("CERT_SEVERAL", "came with another one")
        raise refused("CERT_NOT_DER", "came as PEM text")
    rest = unverified[_length_of_first(unverified) :]
    if _is_private_key(unverified) or _is_private_key(rest):
        raise refused("CERT_PRIVATE_KEY", "came with a private key")
    if rest:
        raise refused("CERT_TRAILING_BYTES", f"is followed by {len(rest)} more bytes")


def _length_of_first(der: bytes) -> int:
    """Give the length of the first DER value, head included (X.690 section 8.1.3)."""
    if len(der) < 2 or der[1] < 0x80:
        return len(der) if len(der) < 2 else 2 + der[1]
    num_octets = der[1] & 0x7F
    return 2 + num_octets + int.from_bytes(der[2 : 2 + num_octets], "big")


def _is_private_key(der: bytes) -> bool:
    # PKCS #8 begins with a sequence and a small version, where a certificate has a sequence.
    if not der.startswith(b"\x30") or b"\x02\x01" not in der[2:6]:
        return False
    try:
        load_der_private_key(der, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
