"""A federation whose coordinator keeps Flower's database on a PostgreSQL server."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.test_real_federation import OPEN, RUN, RUN_SECONDS, expected, outcome
from tests.postgresql_server import PASSWORD, PostgreSQLServer, postgresql_server
from tests.real_federation import RealFederation, make_real_federation, processes_of_session
from tests.tiny_federation import SITES


@pytest.fixture
def server() -> Iterator[PostgreSQLServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with postgresql_server(port) as made:
        made.make_anew()
        yield made


@pytest.fixture
def real(tmp_path: Path, server: PostgreSQLServer) -> Iterator[RealFederation]:
    federation = make_real_federation(tmp_path)
    password = federation.coordinator_home.folder / "database.password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD + "\n")
    federation.more_settings = (
        f'database = "{server.url()}"\ndatabase_password_file = "{password.name}"\n'
    )
    yield federation
    assert federation.close() == []


def command_lines(real: RealFederation) -> str:
    pids = [pid for one in real.started for pid in processes_of_session(one.popen.pid)]
    return "\n".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)


@pytest.mark.slow
def test_a_run_outlives_an_outage_of_its_server_a_kill_and_the_loss_of_its_database(
    real: RealFederation, server: PostgreSQLServer
) -> None:
    simulated = expected(real, OPEN)
    coordinator = real.start_coordinator()
    sites = [real.start_site(site) for site in SITES]
    coordinator.wait_for("round.committed", RUN_SECONDS, round=1)
    assert sys.executable in command_lines(real)
    assert PASSWORD not in command_lines(real)
    server.stop()
    coordinator.wait_for("database.unusable", RUN_SECONDS, code="DATABASE_UNREACHABLE")
    server.start()
    coordinator.wait_for("round.committed", RUN_SECONDS, round=2)
    assert "run.failed" not in [line["event"] for line in coordinator.lines]
    coordinator.kill()
    server.make_anew()

    coordinator = real.start_coordinator()
    assert "database.rebuilt" in [line["event"] for line in coordinator.lines]
    coordinator.wait_for("run.finished", RUN_SECONDS, run=RUN)
    assert outcome(real) == simulated
    assert not real.coordinator_home.database.exists()
    said = "".join(str(line) for line in coordinator.all_lines())
    logs = [*real.coordinator_home.flower.iterdir(), real.folder / "stderr.log"]
    for text in (said, *(log.read_text(errors="replace") for log in logs if log.is_file())):
        assert PASSWORD not in text
    for process in (*sites, coordinator):
        assert process.end() == 0


@pytest.mark.slow
def test_a_server_that_is_away_stops_the_start_with_what_to_do(
    real: RealFederation, server: PostgreSQLServer
) -> None:
    server.stop()
    real.write_coordinator_settings()
    ended = real.run_coordinator()
    assert ended.returncode == 1  # a service manager tries it again
    assert "database 'fedward' at 127.0.0.1" in ended.stderr
    assert "hint: start the server" in ended.stderr
    assert "Traceback" not in ended.stderr
