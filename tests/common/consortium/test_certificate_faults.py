"""Certificates that must not be believed, each refused by a code of its own."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import (
    ALDER,
    AUTHORITY,
    AUTHORITY_KEY,
    BEGIN,
    END,
    IS_SITE,
    LEAF,
    NOW,
    SIGNS,
    certificate_of,
    forged,
    key_of,
    name_of,
)

from fedward_common.consortium.certificate_form import ROLE_USAGES, key_usage
from fedward_common.consortium.certificates import verify_certificate
from fedward_common.errors import UnverifiedMessageError

GOOD = certificate_of().der
ORG, CN = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME
TLS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes([9] * 32))
OWN_KEY = Ed25519PrivateKey.from_private_bytes(key_of("alder").to_raw())
EC_KEY = ec.derive_private_key(5, ec.SECP256R1())
PKCS8 = OWN_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PEM_KEY = OWN_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PEM = x509.load_der_x509_certificate(GOOD).public_bytes(Encoding.PEM)
ED25519 = bytes.fromhex("300506032b6570")  # as an algorithm, RFC 8410 section 3
OTHER_ALGORITHM_OUTSIDE = GOOD.replace(ED25519 + b"\x03\x41", ED25519[:-1] + b"\x71\x03\x41")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.25.7"), b"\x05\x00")
ROLES = list(ROLE_USAGES.values())


def code_of(der: bytes, now_seconds: float = NOW) -> str:
    with pytest.raises(UnverifiedMessageError) as caught:
        verify_certificate(der, AUTHORITY, now_seconds=now_seconds)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize(
    ("der", "code"),
    [
        # what came
        (GOOD.ljust(2049, b"\0"), "CERT_TOO_LARGE"),
        (b"", "CERT_MALFORMED"),
        (b"\x30\x00", "CERT_MALFORMED"),
        (b"\xff" * 300, "CERT_MALFORMED"),
        (GOOD + b"\0", "CERT_TRAILING_BYTES"),
        (GOOD + GOOD, "CERT_TRAILING_BYTES"),
        (PEM, "CERT_NOT_DER"),
        (PEM + PEM, "CERT_SEVERAL"),
        (PEM + PEM_KEY, "CERT_PRIVATE_KEY"),
        (PEM_KEY, "CERT_PRIVATE_KEY"),
        (PKCS8, "CERT_PRIVATE_KEY"),
        (GOOD + PKCS8, "CERT_PRIVATE_KEY"),
        # who signed it
        (forged(issuer=ALDER, signed_by=OWN_KEY), "CERT_SELF_SIGNED"),
        (
            forged(public=Ed25519PrivateKey.from_private_bytes(AUTHORITY_KEY.to_raw()).public_key()),
            "CERT_SELF_SIGNED",
        ),
        (AUTHORITY.der, "CERT_SELF_SIGNED"),
        (forged(issuer=name_of((ORG, "other"), (CN, "other"))), "CERT_OTHER_AUTHORITY"),
        (forged(signed_by=OTHER_KEY), "CERT_SIGNATURE"),
        (forged(signed_by=OWN_KEY), "CERT_SIGNATURE"),
        (forged(signed_by=EC_KEY), "CERT_SIGNATURE"),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "CERT_SIGNATURE"),
        (OTHER_ALGORITHM_OUTSIDE, "CERT_SIGNATURE"),
        # whose key it is
        (forged(public=EC_KEY.public_key()), "CERT_KEY_TYPE"),
        (
            forged(public=X25519PrivateKey.from_private_bytes(bytes(31) + b"\x01").public_key()),
            "CERT_KEY_TYPE",
        ),
        # what it is for
        (forged(extensions=(SIGNS, IS_SITE)), "CERT_IS_AUTHORITY"),
        (
            forged(extensions=(x509.BasicConstraints(True, None), SIGNS, IS_SITE)),
            "CERT_IS_AUTHORITY",
        ),
        (forged(extensions=(LEAF, IS_SITE)), "CERT_KEY_USAGE"),
        (forged(extensions=(LEAF, key_usage(is_authority=True), IS_SITE)), "CERT_KEY_USAGE"),
        (forged(extensions=(LEAF, SIGNS)), "CERT_ROLE"),
        (
            forged(extensions=(LEAF, SIGNS, TLS)),
            "CERT_ROLE",
        ),
        (forged(extensions=(LEAF, SIGNS, x509.ExtendedKeyUsage(ROLES))), "CERT_ROLE"),
        (
            forged(
                extensions=(LEAF, SIGNS, IS_SITE, UNKNOWN),
                critical=(x509.BasicConstraints, x509.UnrecognizedExtension),
            ),
            "CERT_UNKNOWN_CRITICAL",
        ),
        (
            forged(
                extensions=(LEAF, SIGNS, IS_SITE, x509.InhibitAnyPolicy(0)),
                critical=(x509.InhibitAnyPolicy,),
            ),
            "CERT_UNKNOWN_CRITICAL",
        ),
        # whom it names
        (forged(extensions=(LEAF, SIGNS, x509.ExtendedKeyUsage(ROLES[1:]))), "CERT_NAMES"),
        (forged(subject=name_of((ORG, "a"), (CN, "coordinator"))), "CERT_NAMES"),
        (forged(subject=name_of((ORG, "a"), (CN, "../etc"))), "CERT_NAMES"),
        (forged(subject=name_of((ORG, "a"))), "CERT_NAMES"),
        (forged(subject=name_of((CN, "alder"))), "CERT_NAMES"),
        (forged(subject=name_of((CN, "alder"), (ORG, "a"))), "CERT_NAMES"),
        (forged(subject=name_of((ORG, "a"), (CN, "alder"), (CN, "birch"))), "CERT_NAMES"),
        (forged(subject=name_of((ORG, "a\nb"), (CN, "alder"))), "CERT_NAMES"),
        (forged(subject=name_of((ORG, "a\u202eb"), (CN, "alder"))), "CERT_NAMES"),
        (forged(subject=name_of((ORG, " a"), (CN, "alder"))), "CERT_NAMES"),
        (
            forged(subject=name_of((ORG, "a"), (CN, "alder"), (NameOID.COUNTRY_NAME, "NO"))),
            "CERT_NAMES",
        ),
    ],
)  # fmt: skip
def test_a_certificate_is_refused_by_the_code_of_its_fault(der: bytes, code: str) -> None:
    assert code_of(der) == code


def test_a_certificate_is_refused_before_and_after_its_time() -> None:
    assert code_of(GOOD, BEGIN - 0.5) == "CERT_NOT_YET_VALID"
    assert code_of(GOOD, END + 0.5) == "CERT_EXPIRED"


def sequence(content: bytes) -> bytes:
    """A DER sequence of 128 to 65,535 bytes (X.690 section 8.1.3)."""
    octets = (len(content).bit_length() + 7) // 8
    return bytes([0x30, 0x80 + octets]) + len(content).to_bytes(octets, "big") + content


def content_of(der: bytes) -> bytes:
    return der[2 + (der[1] & 0x7F) :]


VERSION_3 = bytes.fromhex("a003020102")  # explicit tag 0, RFC 5280 section 4.1


def test_a_certificate_of_version_1_or_2_is_refused() -> None:
    der = forged(extensions=())
    signed = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    assert sequence(content_of(signed)) == signed
    after = content_of(der).removeprefix(signed)
    without = sequence(content_of(signed).removeprefix(VERSION_3))
    assert code_of(sequence(without + after)) == "CERT_VERSION"
    assert code_of(der.replace(VERSION_3, bytes.fromhex("a003020101"), 1)) == "CERT_VERSION"


def test_an_extension_that_is_unknown_but_not_critical_changes_nothing() -> None:
    der = forged(extensions=(LEAF, SIGNS, IS_SITE, UNKNOWN))
    assert verify_certificate(der, AUTHORITY, now_seconds=NOW).site == "alder"


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_a_certificate_cut_anywhere_is_refused(length: int) -> None:
    assert code_of(GOOD[:length]) == "CERT_MALFORMED"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_flipped_bit_is_believed() -> None:
    for place in range(8 * len(GOOD)):
        changed = bytearray(GOOD)
        changed[place // 8] ^= 1 << (place % 8)
        assert code_of(bytes(changed)).startswith("CERT_"), place


@given(unverified=st.binary(max_size=300))
def test_random_bytes_are_no_certificate(unverified: bytes) -> None:
    assert code_of(unverified).startswith("CERT_")
