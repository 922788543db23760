"""A coordinator's own TLS: what OpenSSL believes of it, and for whom."""

import datetime
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from fedward_common.consortium.tls_authority import tls_authority_of_pem
from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.own_tls import make_own_tls, renew_own_tls, require_host
from fedward_server.coordinator.tls_certificate import days_left

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


def greet(folder: Path, host: str) -> str:
    """Shake hands with a server on these files as a client that believes their authority alone."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    client = ssl.create_default_context(cafile=folder / "authority.pem")
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    answering = threading.Thread(target=serve)
    answering.start()
    try:
        with client.wrap_socket(ours, server_hostname=host) as line:
            return line.version() or ""
    finally:
        ours.close()
        answering.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fedward.example.org", "localhost"])
def test_a_strict_client_believes_the_server_of_its_host_and_of_no_other(
    tmp_path: Path, host: str
) -> None:
    make_own_tls(tmp_path, host, NOW)
    assert greet(tmp_path, host) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(tmp_path, "other.example.org")


def test_keys_are_for_their_owner_and_the_authority_fits_in_a_token(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    make_own_tls(folder, "127.0.0.1", NOW)
    for name in ("authority.key", "server.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(tls_authority_of_pem((folder / "authority.pem").read_bytes())) < 1000


def test_a_renewed_certificate_is_believed_by_whoever_had_the_authority(tmp_path: Path) -> None:
    make_own_tls(tmp_path, "127.0.0.1", NOW - 390 * DAY)
    authority = (tmp_path / "authority.pem").read_bytes()
    before = (tmp_path / "server.key").read_bytes()
    assert days_left(tmp_path / "server.crt", now_seconds=NOW.timestamp()) == pytest.approx(8)
    renew_own_tls(tmp_path, NOW)
    assert days_left(tmp_path / "server.crt", now_seconds=NOW.timestamp()) == pytest.approx(398)
    assert (tmp_path / "authority.pem").read_bytes() == authority
    assert (tmp_path / "server.key").read_bytes() != before
    assert greet(tmp_path, "127.0.0.1") == "TLSv1.3"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fedward.example.org"])
@pytest.mark.parametrize("other", ["bank.example", "192.0.2.7", "2001:db8::7"])
def test_what_a_stolen_authority_signs_for_another_host_is_not_believed(
    tmp_path: Path, host: str, other: str
) -> None:
    make_own_tls(tmp_path, host, NOW)
    make_own_tls(tmp_path / "other", other, NOW)
    for name in ("authority.pem", "authority.key"):
        (tmp_path / "other" / name).write_bytes((tmp_path / name).read_bytes())
    forge_server_certificate(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
        greet(tmp_path / "other", other)


def forge_server_certificate(folder: Path) -> None:
    """Sign the server's certificate with the authority's key, whatever that may vouch for."""
    authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    stolen = load_pem_private_key((folder / "authority.key").read_bytes(), None)
    assert isinstance(stolen, ec.EllipticCurvePrivateKey)
    own = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    builder = x509.CertificateBuilder(
        authority.subject, own.subject, own.public_key(), 7, NOW - DAY, NOW + DAY
    )
    for extension in own.extensions:
        value = extension.value
        if isinstance(value, x509.AuthorityKeyIdentifier):
            value = x509.AuthorityKeyIdentifier.from_issuer_public_key(stolen.public_key())
        builder = builder.add_extension(value, extension.critical)
    forged = builder.sign(stolen, hashes.SHA256())
    (folder / "server.crt").write_bytes(forged.public_bytes(Encoding.PEM))


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "Example.org", "a b", "a_b", "-a", "x" * 300],  # noqa: S104
)
def test_what_nobody_can_connect_to_is_no_host(host: str) -> None:
    with pytest.raises(ConfigurationError, match="none that hospitals"):
        require_host(host)


def test_tls_that_came_from_elsewhere_is_renewed_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no TLS authority"):
        renew_own_tls(tmp_path, NOW)
    make_own_tls(tmp_path, "127.0.0.1", NOW)
    (tmp_path / "authority.key").write_bytes((tmp_path / "server.key").read_bytes())
    with pytest.raises(ConfigurationError, match="not the key"):
        renew_own_tls(tmp_path, NOW)


def test_an_authority_vouches_for_nothing_that_outlives_it(tmp_path: Path) -> None:
    make_own_tls(tmp_path, "127.0.0.1", NOW - 3300 * DAY)
    with pytest.raises(ConfigurationError, match="ends before"):
        renew_own_tls(tmp_path, NOW)
