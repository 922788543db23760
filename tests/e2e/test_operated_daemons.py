"""Both daemons as whoever operates them sees them: orders, health, and lines of JSON."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real_federation import Process, RealFederation, make_real_federation
from tests.tiny_federation import SITES

from fedward_client.jobs.decisions import os_user
from fedward_common.identities import SiteId

SITE = SITES[0]
SECONDS = 90


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealFederation]:
    federation = make_real_federation(tmp_path)
    yield federation
    assert federation.close() == []


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def health(port: int) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def wait_for(port: int, condition: str, code: str) -> dict[str, Any]:
    """Give the health in which a condition has this code."""
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        _, found = health(port)
        if found["conditions"][condition] == code:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{condition} never was {code!r}: {found}")


def start_site(real: RealFederation) -> tuple[Process, int]:
    port = free_port()
    settings = real.tiny.homes[SiteId(SITE)] / "site.toml"
    settings.write_text(settings.read_text() + f"health_port = {port}\n")
    site = real.start_site(SITE)
    assert site.wait_for("ready", 60)["health_port"] == port
    return site, port


@pytest.mark.slow
def test_daemons_say_how_they_are_and_take_orders(real: RealFederation) -> None:
    coordinator = real.start_coordinator()
    site, port = start_site(real)
    found = wait_for(port, "connected", "")
    assert found["figures"]["registered"] == 1
    assert real.site_tells(SITE, "status")["health"]["conditions"]["connected"] == ""

    assert real.site_tells(SITE, "pause") == {"paused": True}
    line = site.wait_for("order.done", 30, order="pause")
    assert (line["by"], line["level"]) == (os_user(), "info")
    assert health(port)[1]["figures"]["paused"] == 1
    assert real.site_tells(SITE, "resume")["was_paused"]
    assert real.site_tells(SITE, "audit", "verify")["lines"] >= 2
    written = real.site_tells(SITE, "audit", "show")["entries"]
    assert [one["decision"] for one in written if "decision" in one] == ["paused", "resumed"]

    for process in (site, coordinator):
        assert process.end() == 0
    assert not (real.tiny.homes[SiteId(SITE)] / "run" / "daemon.sock").exists()
    for process in (site, coordinator):
        for told in process.all_lines():
            assert {"time", "level", "program", "event"} <= told.keys()
    assert real.site_tells(SITE, "status")["health"] is None


@pytest.mark.slow
def test_health_is_503_while_the_task_loop_cannot_start(real: RealFederation) -> None:
    coordinator = real.start_coordinator()
    site, port = start_site(real)
    wait_for(port, "connected", "")
    policy = real.tiny.homes[SiteId(SITE)] / "policy.toml"
    before = policy.read_text()
    policy.write_text("[limits]\nmemory = 3\n")
    status, found = health(port)
    assert (status, found["conditions"]["policy"]) == (503, "CONFIGURATION")
    policy.write_text(before)
    assert health(port)[1]["conditions"]["policy"] == ""
    assert site.end() == coordinator.end() == 0


@pytest.mark.slow
def test_the_coordinators_page_counts_its_nodes(real: RealFederation) -> None:
    port = free_port()
    real.start_coordinator().end()
    settings = real.coordinator_home.folder / "coordinator.toml"
    settings.write_text(settings.read_text() + f"health_port = {port}\n")
    coordinator = Process.start(real._coordinator_command(), real.folder / "stderr.log")
    real.started.append(coordinator)
    assert coordinator.wait_for("ready", 60)["health_port"] == port
    found = health(port)[1]
    assert {name: c for name, c in found["conditions"].items() if name != "disk_space"} == (
        dict.fromkeys(
            ("listeners", "tasks", "superlink", "tls_certificate", "roster", "journals",
             "journal_folder"), "",
        )
    )  # fmt: skip
    assert found["figures"]["registered_nodes"] == len(SITES)
    assert found["figures"]["connected_nodes"] == 0
    assert coordinator.end() == 0


def test_a_policy_that_cannot_be_read_stops_the_site_at_its_start(real: RealFederation) -> None:
    real.port = 1
    home = real.write_site_settings(SITE)
    (home / "policy.toml").write_text("[limits]\nmemory = 3\n")
    ended = real.run_site(SITE)
    assert ended.returncode == 2
    assert "limits.memory" in ended.stderr


def test_a_health_port_that_is_taken_stops_the_site_with_its_number(real: RealFederation) -> None:
    real.port = 1
    home = real.write_site_settings(SITE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (home / "site.toml").open("a") as settings:
            settings.write(f"health_port = {port}\n")
        ended = real.run_site(SITE)
    assert ended.returncode == 2
    assert f"127.0.0.1:{port}" in ended.stderr
