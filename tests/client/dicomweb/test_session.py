"""Requests to a server that is slow, wrong, hostile, or behind TLS."""

import logging
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.client.dicomweb.fake_settings import client_for, settings_for
from tests.client.dicomweb.pacs_server import (
    BOUNDARY,
    Fault,
    Pacs,
    body,
    cut_after,
    endless,
    running_pacs,
    silence,
    status,
)
from tests.tiny_federation import FakeClock

from fedward_client.dicomweb.client import InstanceAddress
from fedward_client.dicomweb.problems import DicomWebError
from fedward_client.dicomweb.session import DicomWebSession
from fedward_common.errors import ConfigurationError


class Sink:
    """Takes an instance."""

    def __init__(self) -> None:
        self.content = b""

    def restart(self) -> None:
        self.content = b""

    def write(self, block: bytes) -> None:
        self.content += block


def retrieve(pacs: Pacs, locator: str, clock: FakeClock | None = None, **keys: Any) -> bytes:
    sink = Sink()
    client_for(pacs, clock, **keys).retrieve(InstanceAddress.of_locator(locator), sink)
    return sink.content


@pytest.fixture
def locator(pacs: Pacs) -> str:
    return pacs.add_series(1)[2][0]


def content_at(pacs: Pacs, locator: str) -> bytes:
    words = locator.split("/")
    return pacs.files[(words[1], words[3], words[5])]


def test_an_instance_arrives_byte_for_byte(pacs: Pacs, locator: str) -> None:
    assert retrieve(pacs, locator) == content_at(pacs, locator)
    assert pacs.requests[-1][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "fault",
    [status(500), status(503), status(429), cut_after(40), cut_after(700), silence,
     body(b"no multipart", f"multipart/related; boundary={BOUNDARY}")],
)  # fmt: skip
def test_what_fails_once_is_asked_again(pacs: Pacs, locator: str, fault: Fault) -> None:
    clock = FakeClock()
    pacs.fail("instances", fault)
    content = retrieve(pacs, locator, clock, read_timeout_seconds=0.3)
    assert content == content_at(pacs, locator)
    assert clock.now == 0.5


def test_pauses_grow_and_tries_end(pacs: Pacs, locator: str) -> None:
    clock = FakeClock()
    pacs.fail("instances", *[status(503)] * 9)
    with pytest.raises(DicomWebError) as caught:
        retrieve(pacs, locator, clock, attempts=9)
    assert caught.value.code == "E_SERVER_UNREACHABLE"
    assert clock.now == 0.5 + 1 + 2 + 4 + 8 + 16 + 30 + 30
    assert pacs.asked("instances") == 9


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (status(401), "E_SERVER_REFUSED"),
        (status(403), "E_SERVER_REFUSED"),
        (status(404), "E_SERVER_NOT_FOUND"),
        (status(400), "E_SERVER_ANSWER"),
        (status(300), "E_SERVER_ANSWER"),
        (body(b"<html>sign in</html>", "text/html"), "E_SERVER_ANSWER"),
        (body(b"", ""), "E_SERVER_ANSWER"),
        (status(200, Content_Encoding="gzip"), "E_SERVER_ANSWER"),
        (status(302), "E_SERVER_ANSWER"),
        (status(302, Location="https://elsewhere.example/steal"), "E_SERVER_ANSWER"),
        (status(302, Location="http://127.0.0.1:1/steal"), "E_SERVER_ANSWER"),
        (status(302, Location="//elsewhere.example/steal"), "E_SERVER_ANSWER"),
        (status(302, Location="http://[bad/"), "E_SERVER_ANSWER"),
        (body(b"--a-boundary\r\nContent-Type: text/html\r\n\r\nx\r\n--a-boundary--",
              f"multipart/related; boundary={BOUNDARY}"), "E_SERVER_ANSWER"),
    ],
)  # fmt: skip
def test_what_cannot_pass_ends_at_once_with_a_code_and_without_the_servers_words(
    pacs: Pacs, locator: str, fault: Fault, code: str
) -> None:
    pacs.fail("instances", fault)
    with pytest.raises(DicomWebError) as caught:
        retrieve(pacs, locator)
    assert caught.value.code == code
    assert pacs.asked("instances") == 1
    assert_says_nothing(caught.value, pacs, locator)


def assert_says_nothing(error: BaseException, pacs: Pacs, locator: str) -> None:
    texts = []
    walk: BaseException | None = error
    while walk is not None:
        texts.append(f"{walk} {walk!r} {getattr(walk, 'hint', '')}")
        walk = walk.__cause__ or (None if walk.__suppress_context__ else walk.__context__)
    everything = " ".join(texts)
    for needle in ("Needle", "elsewhere.example", "127.0.0.1", *locator.split("/")[1::2]):
        assert needle not in everything


def test_a_redirect_on_the_same_server_is_followed_three_times_at_most(
    pacs: Pacs, locator: str
) -> None:
    place = f"/dicom-web/{locator}"
    pacs.fail("instances", *[status(307, Location=place)] * 3)
    assert retrieve(pacs, locator) == content_at(pacs, locator)
    pacs.fail("instances", *[status(307, Location=place)] * 9)
    with pytest.raises(DicomWebError, match="too many redirects"):
        retrieve(pacs, locator)


def test_endless_data_is_cut(pacs: Pacs, locator: str) -> None:
    pacs.fail("instances", endless)
    with pytest.raises(DicomWebError) as caught:
        retrieve(pacs, locator, max_instance_bytes=1 << 20)
    assert caught.value.code == "E_SERVER_TOO_LARGE"
    assert pacs.asked("instances") == 1


def test_an_answer_that_takes_too_long_as_a_whole_is_cut(pacs: Pacs, locator: str) -> None:
    pacs.fail("instances", *[endless] * 2)
    clock = FakeClock(tick=1.0)
    with pytest.raises(DicomWebError) as caught:
        retrieve(pacs, locator, clock, deadline_seconds=20.0, attempts=2)
    assert caught.value.code == "E_SERVER_UNREACHABLE"


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        pacs = Pacs(url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(DicomWebError) as caught:
            retrieve(pacs, "studies/1/series/2/instances/3")
    assert caught.value.code == "E_SERVER_UNREACHABLE"


def test_basic_and_bearer_credentials_reach_the_server_and_no_log(
    pacs: Pacs, locator: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = tmp_path / "secret"
    secret.write_text("hush-hush\n")
    secret.chmod(0o600)
    keys: dict[str, Any] = {"secret_file": str(secret)}
    for auth, user, header in (
        ("basic", "ada", "Basic YWRhOmh1c2gtaHVzaA=="),  # base64 of ada:hush-hush
        ("bearer", "", "Bearer hush-hush"),
    ):
        pacs.authorization = header
        assert retrieve(pacs, locator, auth=auth, user=user, **keys)
        secret.write_text("wrong-one\n")
        with pytest.raises(DicomWebError) as caught:
            retrieve(pacs, locator, auth=auth, user=user, **keys)
        assert caught.value.code == "E_SERVER_REFUSED"
        secret.write_text("hush-hush\n")
    assert "hush" not in caplog.text
    assert "wrong-one" not in caplog.text


def test_a_renewed_token_is_used_without_a_new_session(
    pacs: Pacs, locator: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("first")
    pacs.authorization = "Bearer first"
    client = client_for(pacs, auth="bearer", secret_file=str(token))
    client.retrieve(InstanceAddress.of_locator(locator), Sink())
    token.write_text("second")
    pacs.authorization = "Bearer second"
    client.retrieve(InstanceAddress.of_locator(locator), Sink())


def test_no_uid_is_logged_even_where_every_library_may_speak(
    pacs: Pacs, locator: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "urllib3.connectionpool", "fedward_client"):
        caplog.set_level(logging.DEBUG, logger=name)
    pacs.fail("instances", status(500), cut_after(10))
    retrieve(pacs, locator)
    assert "in try 2" in caplog.text
    for uid in locator.split("/")[1::2]:
        assert uid not in caplog.text


def test_proxies_and_passwords_in_the_environment_are_not_used(
    pacs: Pacs, locator: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password x\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert retrieve(pacs, locator)
    assert "authorization" not in pacs.requests[-1][1]


def test_a_proxy_that_was_told_is_used(pacs: Pacs, locator: str) -> None:
    elsewhere = Pacs(url="http://pacs.invalid/dicom-web")
    proxy = pacs.url.removesuffix("/dicom-web")
    pacs.fail("pacs.invalid", status(404))
    with pytest.raises(DicomWebError) as caught:
        retrieve(elsewhere, locator, proxy=proxy, plain_http_hosts=("pacs.invalid",))
    assert caught.value.code == "E_SERVER_NOT_FOUND"
    assert pacs.requests[-1][0].startswith("GET http://pacs.invalid/")


def test_text_that_is_no_uid_never_becomes_a_path() -> None:
    for text in ("../../x", "1.2/3", "1.2?x=y", "", "1." * 40, "1..2", "\uff11.2"):
        with pytest.raises(DicomWebError):
            InstanceAddress("1", "2", text)
    for locator in ("", "a/b", "studies/1/series/2/frames/3", "/studies/1/series/2/instances/3"):
        with pytest.raises(DicomWebError):
            InstanceAddress.of_locator(locator)


# --- TLS ---


def certificate(
    folder: Path, name: str, issuer: tuple[x509.Certificate, Any] | None = None
) -> tuple[x509.Certificate, Any, Path]:
    """Make a certificate for 127.0.0.1, or an authority; give it, its key and a file of both."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
            critical=False,
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=issuer is None,
                crl_sign=issuer is None, encipher_only=False, decipher_only=False,
            ), critical=True,
        )
        .sign(signing_key, hashes.SHA256())
    )  # fmt: skip
    path = folder / f"{name}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made, key, path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem signed by it, and other.pem, another authority."""
    folder = tmp_path_factory.mktemp("tls")
    made, key, _ = certificate(folder, "ca")
    certificate(folder, "server", (made, key))
    certificate(folder, "other")
    return folder


@pytest.fixture
def tls_pacs(authority: Path) -> Iterator[Pacs]:
    with running_pacs(authority / "server.pem") as running:
        yield running


def test_a_private_authority_that_was_named_is_trusted(tls_pacs: Pacs, authority: Path) -> None:
    locator = tls_pacs.add_series(1)[2][0]
    assert retrieve(tls_pacs, locator, ca_file=str(authority / "ca.pem"))


@pytest.mark.parametrize("ca_file", ["", "other.pem"])
def test_a_certificate_of_an_unknown_authority_is_refused_at_once(
    tls_pacs: Pacs, authority: Path, ca_file: str
) -> None:
    locator = tls_pacs.add_series(1)[2][0]
    clock = FakeClock()
    with pytest.raises(DicomWebError) as caught:
        retrieve(tls_pacs, locator, clock, ca_file=str(authority / ca_file) if ca_file else "")
    assert caught.value.code == "E_SERVER_CERTIFICATE"
    assert clock.now == 0
    assert tls_pacs.requests == []


def test_a_certificate_of_another_host_is_refused(tls_pacs: Pacs, authority: Path) -> None:
    elsewhere = Pacs(url=tls_pacs.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(DicomWebError) as caught:
        retrieve(elsewhere, "studies/1/series/2/instances/3", ca_file=str(authority / "ca.pem"))
    assert caught.value.code == "E_SERVER_CERTIFICATE"


def test_an_unusable_ca_file_is_told_before_anything_is_sent(pacs: Pacs, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigurationError, match="ca_file"):
            DicomWebSession(settings_for(pacs, ca_file=str(tmp_path / name)))


def test_plain_text_from_a_tls_port_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail server ready\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        pacs = Pacs(url=f"https://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DicomWebError):
            retrieve(pacs, "studies/1/series/2/instances/3", attempts=1)
        thread.join()
