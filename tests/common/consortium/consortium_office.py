"""A consortium's office with fixed keys, and certificates that a careless or hostile one makes."""

import itertools
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedward_common.consortium.certificate_form import AUTHORITY_NAME, ROLE_USAGES, key_usage
from fedward_common.consortium.certificates import (
    AuthorityCertificate,
    SiteCertificate,
    issue_certificate,
    make_authority,
)
from fedward_common.crypto.signing import SigningKey

NOW = 1_800_000_000
DAY = 24 * 3600
BEGIN, END = NOW - DAY, NOW + 365 * DAY

_numbers = itertools.count(1)


def counted_entropy(length: int) -> bytes:
    """Serial numbers that differ and repeat from run to run."""
    return next(_numbers).to_bytes(length, "big")


def key_of(name: str) -> SigningKey:
    """The same key for the same name, always."""
    return SigningKey.from_raw(name.encode().ljust(32, b"."))


AUTHORITY_KEY = key_of("authority")


def authority_of(
    consortium: str = "harbour", key: SigningKey = AUTHORITY_KEY
) -> AuthorityCertificate:
    return make_authority(
        key, consortium=consortium, not_before_seconds=BEGIN - DAY, not_after_seconds=END + DAY,
        entropy=counted_entropy,
    )  # fmt: skip


AUTHORITY = authority_of()


def certificate_of(site: str = "alder", **changes: Any) -> SiteCertificate:
    """Certify a site, or the coordinator by its name."""
    settled: dict[str, Any] = {
        "site": site,
        "organisation": f"{site} hospital",
        "role": "coordinator" if site == "coordinator" else "site",
        "key": key_of(site).verifying_key,
        "not_before_seconds": BEGIN,
        "not_after_seconds": END,
        "entropy": counted_entropy,
    }
    settled |= changes
    return issue_certificate(AUTHORITY_KEY, AUTHORITY, **settled)


def name_of(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


AUTHORITY_SUBJECT = name_of(
    (NameOID.ORGANIZATION_NAME, "harbour"), (NameOID.COMMON_NAME, AUTHORITY_NAME)
)
ALDER = name_of((NameOID.ORGANIZATION_NAME, "alder hospital"), (NameOID.COMMON_NAME, "alder"))
LEAF = x509.BasicConstraints(ca=False, path_length=None)
SIGNS = key_usage(is_authority=False)
IS_SITE = x509.ExtendedKeyUsage([ROLE_USAGES["site"]])
_CRITICAL = (x509.BasicConstraints, x509.KeyUsage)


def forged(
    *,
    subject: x509.Name = ALDER,
    issuer: x509.Name = AUTHORITY_SUBJECT,
    public: Any = None,
    signed_by: Any = None,
    extensions: tuple[x509.ExtensionType, ...] = (LEAF, SIGNS, IS_SITE),
    critical: tuple[type[x509.ExtensionType], ...] = _CRITICAL,
) -> bytes:
    """Make a certificate field by field; without a change it is a good one of `alder`."""
    own = Ed25519PublicKey.from_public_bytes(key_of("alder").verifying_key.raw)
    builder = (
        x509.CertificateBuilder(issuer, subject, public or own, 5)
        .not_valid_before(datetime.fromtimestamp(BEGIN, UTC))
        .not_valid_after(datetime.fromtimestamp(END, UTC))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, critical))
    key = signed_by or Ed25519PrivateKey.from_private_bytes(AUTHORITY_KEY.to_raw())
    algorithm = None if isinstance(key, Ed25519PrivateKey) else SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)
