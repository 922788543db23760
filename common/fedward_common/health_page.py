"""`/healthz` and `/metrics` of a daemon, on loopback alone.

`/healthz` answers 200 where every condition holds and 503 where one does not, with each of them.
What is asked is not looked at beyond its path and the name of this machine in it, so that a page in
a browser that is led here under another name reads nothing.
"""

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus

from fedward_common.errors import ConfigurationError
from fedward_common.flower_environment import LOOPBACK
from fedward_common.health_report import HealthReport

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OFF = 0

_OWN_NAMES = frozenset({LOOPBACK, "localhost"})
_READ_SECONDS = 10.0


@contextlib.contextmanager
def health_page(port: int, report: Callable[[], HealthReport]) -> Iterator[int | None]:
    """Serve for as long as the block lasts.

    Args:
        port: On 127.0.0.1; 0 serves nothing.
        report: Gives the present state; one call at a time.

    Yields:
        The port; None where nothing is served.

    Raises:
        ConfigurationError: The port is taken.
    """
    if port == OFF:
        yield None
        return
    with _bound(port, report) as server:
        thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _bound(port: int, report: Callable[[], HealthReport]) -> "_Server":
    try:
        return _Server(port, report)
    except OSError as error:
        raise ConfigurationError(
            f"the health page cannot listen on {LOOPBACK}:{port}: {error.strerror}",
            hint="choose another health_port, or end the process that has it",
        ) from error


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, report: Callable[[], HealthReport]) -> None:
        self._report = report
        self._one_at_a_time = threading.Lock()
        super().__init__((LOOPBACK, port), _Page)

    def server_bind(self) -> None:
        # The default asks the resolver for this machine's name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def report(self) -> HealthReport:
        """Give the present state."""
        with self._one_at_a_time:
            return self._report()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the default prints a traceback, whose text may be anything."""


class _Page(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _READ_SECONDS
    server_version = "fedward"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one question."""
        if self.headers.get("Host", "").rpartition(":")[0] not in _OWN_NAMES:
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, b"", "text/plain")
        elif self.path == "/healthz":
            report = self.server.report()
            status = HTTPStatus.OK if report.is_healthy else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, report.json_bytes(), "application/json")
        elif self.path == "/metrics":
            text = self.server.report().metrics_text()
            self._answer(HTTPStatus.OK, text.encode(), METRICS_TYPE)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""
