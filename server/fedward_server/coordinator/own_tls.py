"""TLS of a coordinator's own, for whoever has no authority: one that vouches for this host alone.

Hospitals believe the authority's certificate, which travels in their tokens. Its key stays beside
the server's, so that the next server certificate needs nothing from them. It signs no member of a
consortium.

Source: RFC 5280 §4.2.1.
"""

import datetime
import ipaddress
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import ConfigurationError

AUTHORITY = "authority.pem"
AUTHORITY_KEY = "authority.key"
SERVER = "server.crt"
SERVER_KEY = "server.key"

AUTHORITY_DAYS = 3650
SERVER_DAYS = 398

_BEGINS_EARLIER = datetime.timedelta(days=1)  # clocks of hospitals may be behind
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")


def require_host(host: str) -> str:
    """Accept an IP address, or a host's name in lower case.

    Raises:
        ConfigurationError: It is neither, or stands for every address.
    """
    address = _address(host)
    if address is not None and not address.is_unspecified:
        return host
    if address is None and len(host) <= 253 and _HOST_NAME.fullmatch(host):
        return host
    raise ConfigurationError(
        f"host {host[:80]!r} is none that hospitals could connect to",
        hint="a name in lower case such as fedward.example.org, or an IP address",
    )


def make_own_tls(folder: Path, host: str, now: datetime.datetime) -> None:
    """Make an authority that vouches for one host, and a server certificate of it.

    Args:
        folder: For the four files; keys are for their owner alone.
        host: Name or IP address that hospitals connect to.
        now: Both count from the day before.

    Raises:
        ConfigurationError: `host` is none.
    """
    require_host(host)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name(f"Fedward authority {host}")
    usage = _key_usage(signs_certificates=True)
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_constraints(host), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(subject_key, critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / AUTHORITY_KEY, key)
    write_atomically(folder / AUTHORITY, certificate.public_bytes(Encoding.PEM))
    _issue(folder, key, certificate, host, now)


def renew_own_tls(folder: Path, now: datetime.datetime) -> None:
    """Make the next server certificate, of the same authority and for the same host.

    Raises:
        ConfigurationError: There is no authority of our own, it is over before the certificate
            would be, or a file is damaged.
    """
    try:
        authority = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
        key = load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), password=None)
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
        host = _host_of((constraints.permitted_subtrees or [])[0])
    except (OSError, ValueError, TypeError, IndexError, x509.ExtensionNotFound) as error:
        raise ConfigurationError(
            f"{folder} holds no TLS authority that fedward coordinator init made",
            hint="renew the certificate where it came from",
        ) from error
    if (
        not isinstance(key, ec.EllipticCurvePrivateKey)
        or key.public_key() != authority.public_key()
    ):
        raise ConfigurationError(
            f"{folder / AUTHORITY_KEY} is not the key of {AUTHORITY}", hint="restore both"
        )
    if now + datetime.timedelta(SERVER_DAYS) > authority.not_valid_after_utc:
        raise ConfigurationError(
            f"{folder / AUTHORITY} ends before a next server certificate would",
            hint="make another home with fedward coordinator init; hospitals need its authority",
        )
    _issue(folder, key, authority, host, now)


def _issue(
    folder: Path,
    authority_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    host: str,
    now: datetime.datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([_general_name(host)])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    certificate = (
        _builder(_common_name(f"Fedward server {host}"), authority.subject, key, now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write_key(folder / SERVER_KEY, key)
    write_atomically(folder / SERVER, certificate.public_bytes(Encoding.PEM))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEGINS_EARLIER)
        .not_valid_after(now + datetime.timedelta(days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomically(file, content, mode=0o600)


def _common_name(text: str) -> x509.Name:
    # At most 64 characters. With a blank it is no host name, which OpenSSL would hold against the
    # constraints; hosts stand in the alternative name alone.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _general_name(host: str) -> x509.GeneralName:
    address = _address(host)
    return x509.DNSName(host) if address is None else x509.IPAddress(address)


def _constraints(host: str) -> x509.NameConstraints:
    """Allow this host; a kind of name that is not spoken of would be free (§4.2.1.10)."""
    address = _address(host)
    if address is None:
        everywhere = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
        return x509.NameConstraints([x509.DNSName(host)], [x509.IPAddress(n) for n in everywhere])
    alone = x509.IPAddress(ipaddress.ip_network(address))
    return x509.NameConstraints([alone], [x509.DNSName("")])


def _host_of(constraint: x509.GeneralName) -> str:
    if isinstance(constraint, x509.IPAddress):
        return str(constraint.value).partition("/")[0]
    return str(constraint.value)
