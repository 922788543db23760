"""The line to the office: one certificate makes a server believed, and its answers are bounded."""

import datetime
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.real_federation import write_tls

from fedward_client.enrolment.office_line import coordinator_time, office_line
from fedward_common.consortium.enrolment_answer import MAX_ANSWER_BYTES
from fedward_common.errors import ConfigurationError, FedwardError


@dataclass
class Server:
    """A coordinator's listener that answers as a test says."""

    folder: Path
    status: int = 200
    answer: bytes = b"answer"
    location: str = ""
    date: str = ""
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    port: int = 0

    def ask(self, pem: str = "", request: bytes = b"request") -> bytes:
        trusted = pem or (self.folder / "authority.pem").read_text()
        return office_line(f"https://127.0.0.1:{self.port}", trusted)(request)

    def time(self, pem: str = "") -> int:
        trusted = pem or (self.folder / "authority.pem").read_text()
        return coordinator_time(f"https://127.0.0.1:{self.port}", trusted)()

    def refusal(self, pem: str = "") -> str:
        with pytest.raises(FedwardError) as caught:
            self.ask(pem)
        return caught.value.code


def _handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            server.requests.append((self.path, body))
            self.send_response(server.status)
            self.send_header("content-length", str(len(server.answer)))
            if server.location:
                self.send_header("location", server.location)
            self.end_headers()
            self.wfile.write(server.answer)

        def do_GET(self) -> None:
            server.requests.append((self.path, b""))
            self.send_response_only(server.status)
            if server.date:
                self.send_header("date", server.date)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    return Handler


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    write_tls(folder, datetime.datetime.now(datetime.UTC))
    return folder


@pytest.fixture
def server(tls: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Server(tls)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(made))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "server.crt", tls / "server.key")
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    made.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_a_request_is_posted_and_the_answer_comes_back(server: Server) -> None:
    assert server.ask() == b"answer"
    assert server.requests == [("/v1/enrolment", b"request")]


def test_a_server_with_another_certificate_is_sent_nothing(server: Server, tmp_path: Path) -> None:
    write_tls(tmp_path, datetime.datetime.now(datetime.UTC))
    assert server.refusal((tmp_path / "authority.pem").read_text()) == "OFFICE_CERTIFICATE"
    assert server.requests == []


def test_the_authorities_of_the_machine_do_not_count(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.folder / "authority.pem"))
    write_tls(tmp_path, datetime.datetime.now(datetime.UTC))
    assert server.refusal((tmp_path / "authority.pem").read_text()) == "OFFICE_CERTIFICATE"


def test_nobody_there_is_a_code_that_says_try_again(server: Server) -> None:
    server.port = 1
    assert server.refusal() == "OFFICE_UNREACHABLE"


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (403, b'{"code": "TOKEN_USED"}', "TOKEN_USED"),
        (403, b'{"code": "drop table"}', "OFFICE_REFUSES"),
        (403, b"[]", "OFFICE_REFUSES"),
        (404, b"", "OFFICE_BY_FILE"),
        (429, b"", "OFFICE_BUSY"),
        (500, b"a text of the server's", "OFFICE_UNREACHABLE"),
        (200, bytes(MAX_ANSWER_BYTES + 1), "OFFICE_UNREACHABLE"),
    ],
)
def test_whatever_else_comes_is_a_code(
    server: Server, status: int, answer: bytes, code: str
) -> None:
    server.status, server.answer = status, answer
    assert server.refusal() == code


def test_a_request_is_not_sent_on_to_where_the_server_points(server: Server) -> None:
    server.status, server.location = 307, f"https://127.0.0.1:{server.port}/elsewhere"
    assert server.refusal() == "OFFICE_UNREACHABLE"
    assert len(server.requests) == 1


def test_a_file_that_is_no_certificate_is_refused_at_once() -> None:
    for pem in ("hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ConfigurationError):
            office_line("https://127.0.0.1:1", pem)


def test_the_time_of_the_listener_is_its_date_whatever_else_it_answers(server: Server) -> None:
    server.date, server.status = "Sun, 06 Nov 1994 08:49:37 GMT", 404  # RFC 9110, 5.6.7
    assert server.time() == 784_111_777
    assert server.requests == [("/health", b"")]


@pytest.mark.parametrize("date", ["", "now", "Sun, 06 Nov 99999 08:49:37 GMT", "1" * 4000])
def test_a_date_that_is_none_is_no_time(server: Server, date: str) -> None:
    server.date = date
    with pytest.raises(FedwardError) as caught:
        server.time()
    assert caught.value.code == "OFFICE_UNREACHABLE"


def test_a_server_of_another_authority_tells_no_time(server: Server, tmp_path: Path) -> None:
    server.date = "Sun, 06 Nov 1994 08:49:37 GMT"
    write_tls(tmp_path, datetime.datetime.now(datetime.UTC))
    with pytest.raises(FedwardError) as caught:
        server.time((tmp_path / "authority.pem").read_text())
    assert caught.value.code == "OFFICE_CERTIFICATE"
    assert server.requests == []
