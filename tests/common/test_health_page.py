"""`/healthz` and `/metrics`, asked over loopback."""

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from fedward_common.errors import ConfigurationError
from fedward_common.health_page import health_page
from fedward_common.health_report import HealthReport, require_port


class Daemon:
    """Says what a test wants."""

    def __init__(self) -> None:
        self.conditions = {"node": ""}

    def report(self) -> HealthReport:
        if "broken" in self.conditions:
            raise ValueError("NEEDLE^PATIENT")
        return HealthReport("fedward_site", self.conditions)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def port(daemon: Daemon) -> Iterator[int]:
    with health_page(free_port(), daemon.report) as served:
        assert served is not None
        yield served


def ask(port: int, path: str, method: str = "GET", host: str = "") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    found = answer.status, answer.headers.get("Content-Type", ""), answer.read().decode()
    connection.close()
    return found


def test_health_is_200_where_every_condition_holds_and_503_where_one_does_not(
    daemon: Daemon, port: int
) -> None:
    status, kind, body = ask(port, "/healthz")
    assert (status, kind, json.loads(body)["healthy"]) == (200, "application/json", True)
    daemon.conditions["disk"] = "DISK_LOW"
    status, _, body = ask(port, "/healthz")
    assert status == 503
    assert json.loads(body)["conditions"] == {"node": "", "disk": "DISK_LOW"}


def test_metrics_are_there_also_where_a_condition_does_not_hold(daemon: Daemon, port: int) -> None:
    daemon.conditions["disk"] = "DISK_LOW"
    status, kind, body = ask(port, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'fedward_site_condition{condition="disk"} 0' in body


@pytest.mark.parametrize("path", ["/", "/healthz/", "/metrics?x=1", "/../healthz", "/health"])
def test_there_is_nothing_else(port: int, path: str) -> None:
    assert ask(port, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(port: int, method: str) -> None:
    assert ask(port, "/healthz", method)[0] == 501


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:1"])
def test_a_page_that_is_led_here_under_another_name_reads_nothing(port: int, host: str) -> None:
    assert ask(port, "/healthz", host=host)[::2] == (421, "")
    assert ask(port, "/healthz", host=f"localhost:{port}")[0] == 200


def test_an_error_closes_the_connection_and_is_not_told(
    daemon: Daemon, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    daemon.conditions["broken"] = ""
    with pytest.raises(http.client.RemoteDisconnected):
        ask(port, "/healthz")
    del daemon.conditions["broken"]
    assert ask(port, "/healthz")[0] == 200
    assert "NEEDLE" not in "".join(capfd.readouterr())


def test_it_is_heard_on_loopback_alone_and_ends_with_its_block(daemon: Daemon) -> None:
    with health_page(free_port(), daemon.report) as port:
        assert port is not None
        with socket.socket() as other:
            other.settimeout(20)
            other.connect(("127.0.0.1", port))
            assert other.getpeername()[0] == "127.0.0.1"
        with socket.socket() as elsewhere:
            elsewhere.bind(("127.0.0.2", port))  # free: the page has one address only
    with socket.socket() as again, pytest.raises(ConnectionRefusedError):
        again.connect(("127.0.0.1", port))


def test_port_0_serves_nothing(daemon: Daemon) -> None:
    with health_page(0, daemon.report) as port:
        assert port is None


def test_a_port_that_is_taken_is_named(daemon: Daemon, port: int) -> None:
    with (
        pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}") as caught,
        health_page(port, daemon.report),
    ):
        pass
    assert "health_port" in caught.value.hint


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match="health_port"):
        require_port("health_port", port)
