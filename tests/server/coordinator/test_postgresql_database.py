"""Flower's database on a real PostgreSQL server: what is asked of it, held in it and refused."""

import contextlib
import datetime
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError
from tests.postgresql_server import PASSWORD, USER, PostgreSQLServer, postgresql_server
from tests.real_federation import write_tls

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import ConfigurationError, FedwardError, LockedError
from fedward_server.coordinator.database_settings import PostgreSQLDatabase, postgresql_of
from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.postgresql_database import HeldDatabase
from fedward_server.coordinator.superlink import superlink_app

pytestmark = pytest.mark.slow

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with postgresql_server(port) as made:
        yield made


@pytest.fixture
def database(server: PostgreSQLServer) -> PostgreSQLDatabase:
    server.make_anew()
    return replace(postgresql_of(server.url()), password=SecretBytes(PASSWORD.encode()))


@contextlib.contextmanager
def held(database: PostgreSQLDatabase) -> Iterator[HeldDatabase]:
    made = HeldDatabase(database)
    try:
        yield made
    finally:
        made.close()


def test_a_start_a_loss_and_a_restart_are_told_as_of_a_file(
    server: PostgreSQLServer, database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    with held(database) as one:
        assert not one.is_rebuilt(begun, NOW)
    superlink_app(database, LoopbackAccess(1))
    with held(database) as one:
        assert not one.is_rebuilt(begun, NOW)
    server.make_anew()
    with held(database) as one:
        assert one.is_rebuilt(begun, NOW)


def test_a_node_of_a_coordinator_that_was_killed_may_connect_again_within_25_seconds(
    database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    app: object = superlink_app(database, LoopbackAccess(1))
    state = app.state.linkstate_factory.state()  # type: ignore[attr-defined]
    node = state.create_node("account", "name", b"key", 0)
    assert state.activate_node(node, heartbeat_interval=30)
    assert not state.activate_node(node, heartbeat_interval=30)
    with held(database) as one:
        assert not one.is_rebuilt(tmp_path / "begun", NOW - 10_000_000)  # 25 s after that is over
    assert state.activate_node(node, heartbeat_interval=30)


def test_a_part_of_a_message_is_not_refused_because_the_server_is_away(
    server: PostgreSQLServer, database: PostgreSQLDatabase
) -> None:
    """A refusal ends the run that sent it; an error is asked again."""
    app: object = superlink_app(database, LoopbackAccess(1))
    state = app.state.linkstate_factory.state()  # type: ignore[attr-defined]
    assert state.store_object(1, "no such session", "part", b"content") is False
    server.stop()
    try:
        with pytest.raises(SQLAlchemyError):
            state.store_object(1, "no such session", "part", b"content")
    finally:
        server.start()
    assert state.store_object(1, "no such session", "part", b"content") is False


def test_a_second_coordinator_is_kept_out_until_the_first_lets_go(
    server: PostgreSQLServer, database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    with held(database) as first, held(database) as second:
        first.require_held()
        with pytest.raises(LockedError, match="another coordinator uses database 'fedward'"):
            second.is_rebuilt(tmp_path / "begun", NOW)
        first.close()
        second.require_held()
        # A server that went away and came back has forgotten who held what.
        server.stop()
        with pytest.raises(FedwardError) as gone:
            second.require_held()
        assert (gone.value.code, gone.value.exit_code) == ("DATABASE_UNREACHABLE", 1)
        server.start()
        second.require_held()
        with held(database) as third, pytest.raises(LockedError):
            third.require_held()


def test_what_the_server_refuses_is_named_without_the_password(
    server: PostgreSQLServer, database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    wrong = SecretBytes(b"wrong-needle")
    server.sql("CREATE ROLE guest LOGIN PASSWORD 'guest-needle'")
    server.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC", USER)
    guest = replace(database, user="guest", password=SecretBytes(b"guest-needle"))
    cases = {
        "refuses the user fedward": replace(database, password=wrong),
        "database 'none' .* is not there": replace(database, name="none"),
        "guest may make no tables": guest,
    }
    for words, other in cases.items():
        with held(other) as one, pytest.raises(ConfigurationError, match=words) as refused:
            one.is_rebuilt(tmp_path / "begun", NOW)
        assert refused.value.hint
        assert "needle" not in f"{refused.value}{refused.value.hint}{refused.value.__context__!r}"
    assert not (tmp_path / "begun").exists()


def test_a_database_of_something_else_is_left_alone(
    server: PostgreSQLServer, database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    server.sql("CREATE TABLE patients (name text)", USER)
    with held(database) as one, pytest.raises(ConfigurationError, match="not Flower's"):
        one.is_rebuilt(tmp_path / "begun", NOW)
    assert server.sql("SELECT count(*) FROM information_schema.tables WHERE "
                      "table_schema = 'public'", USER) == "1"  # fmt: skip


def test_a_unix_socket_needs_neither_address_nor_network(
    server: PostgreSQLServer, database: PostgreSQLDatabase
) -> None:
    on_socket = postgresql_of(f"postgresql://{USER}@/{USER}?unix_sock={server.socket}")
    with held(replace(on_socket, password=database.password)) as one:
        one.require_held()


def test_over_tls_a_server_counts_only_if_the_named_authority_vouches_for_it(
    server: PostgreSQLServer, database: PostgreSQLDatabase, tmp_path: Path
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for name in ("right", "other"):
        write_tls(tmp_path / name, now)
    with held(replace(database, authority_file=tmp_path / "right" / "authority.pem")) as one:
        with pytest.raises(FedwardError, match="refuses SSL"):  # it serves none yet
            one.require_held()
        server.stop()
        server.serve_tls(tmp_path / "right" / "server.crt", tmp_path / "right" / "server.key")
        server.start()
        one.require_held()
        assert server.sql("SELECT bool_or(ssl) FROM pg_stat_ssl") == "t"
    with (
        held(replace(database, authority_file=tmp_path / "other" / "authority.pem")) as one,
        pytest.raises(FedwardError, match="certificate verify failed"),
    ):
        one.require_held()


def test_flowers_application_serves_nodes_and_runs_over_it(
    database: PostgreSQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.flower_in_memory import connect_clients

    access = LoopbackAccess(1)
    connect_clients(monkeypatch, superlink_app(database, access))
    control = FlowerControl(access)
    for name in ("c", "a"):
        control.submit_run(name)
    assert [name for name, run in control.ordered_runs().items() if run.is_open] == ["c", "a"]
    assert control.withdraw_run("c") == 1
    assert control.stop_open_runs() == 1
    connect_clients(monkeypatch, superlink_app(database, access))  # the tables are there already
    assert list(control.ordered_runs()) == ["c", "a"]


def test_without_the_driver_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pg8000", None)
    with pytest.raises(ConfigurationError, match="driver for PostgreSQL") as refused:
        HeldDatabase(postgresql_of("postgresql://u@localhost/d"))
    assert "fedward[postgresql]" in refused.value.hint
