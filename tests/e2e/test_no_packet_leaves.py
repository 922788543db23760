"""Nothing reports its use, looks for updates or installs anything: no packet leaves the machine.

Everything runs in a network namespace in which each packet is seen, and every name's lookup.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.one_real_round import COMMAND
from tests.packet_watch import watched

_LOOKS_AROUND = """
import socket
for address in (("203.0.113.9", 443), ("127.0.0.1", 9)):
    try:
        socket.create_connection(address, timeout=5)
    except OSError:
        pass
try:
    socket.getaddrinfo("fedward.example", 443)
except OSError:
    pass
"""
_TELLS_ITS_MAKER = """
from flwr.supercore.telemetry import EventType, event
event(EventType.PING).result()
"""


def test_a_connection_and_a_name_that_is_asked_for_are_seen(tmp_path: Path) -> None:
    seen = watched([sys.executable, "-c", _LOOKS_AROUND], tmp_path, seconds=60)
    assert "203.0.113.9 port 443" in seen.left
    assert "192.0.2.53 port 53" in seen.left
    assert not any(destination.startswith("127.") for destination in seen.left)


def test_flowers_reports_would_be_seen_where_they_are_not_switched_off(tmp_path: Path) -> None:
    tells = [sys.executable, "-c", _TELLS_ITS_MAKER]
    assert "192.0.2.53 port 53" in watched(tells, tmp_path, seconds=90).left
    silent = watched(tells, tmp_path, seconds=90, FLWR_TELEMETRY_ENABLED="0")
    assert (silent.status, silent.left) == (0, ())


@pytest.mark.parametrize(("in_ci", "outcome"), [("1", pytest.fail), ("0", pytest.skip)])
def test_where_nothing_can_be_watched_ci_fails_and_a_person_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_ci: str, outcome: Any
) -> None:
    monkeypatch.setenv("FEDWARD_CI", in_ci)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(outcome.Exception, match="no network namespace can be made here"):
        watched(["true"], tmp_path, seconds=30)


@pytest.mark.slow
def test_a_coordinator_and_its_sites_send_no_packet_away_from_start_to_stop(
    tmp_path: Path,
) -> None:
    seen = watched([*COMMAND, str(tmp_path / "federation")], tmp_path, seconds=580)
    assert seen.status == 0, seen.errors
    assert seen.num_packets > 100
    assert (seen.left, seen.num_missed) == ((), 0)
