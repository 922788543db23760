"""Flower's database, damaged or gone (F4, F5)."""

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from fedward_common.errors import CorruptFileError
from fedward_server.coordinator.flower_database import is_rebuilt
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.superlink import superlink_app


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "superlink.sqlite"
    assert not is_rebuilt(path)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("y" * 500,)] * 200)
    connection.close()
    return path


def test_the_first_start_and_the_next_are_nothing_to_tell(database: Path) -> None:
    assert not is_rebuilt(database)


def test_a_database_that_is_gone_is_told_once(database: Path) -> None:
    database.unlink()
    assert is_rebuilt(database)
    sqlite3.connect(database).execute("CREATE TABLE t (x)")
    assert not is_rebuilt(database)


def test_what_lay_beside_a_database_that_is_gone_goes_as_well(database: Path) -> None:
    database.unlink()
    beside = [database.with_name(database.name + end) for end in ("-wal", "-shm")]
    for path in beside:
        path.write_bytes(b"of another database")
    assert is_rebuilt(database)
    assert not any(path.exists() for path in beside)


def flowers_state(database: Path) -> Any:
    app: Any = superlink_app(database, LoopbackAccess(1))
    return app.state.linkstate_factory.state()


def test_a_node_of_a_coordinator_that_was_killed_may_connect_again_within_25_seconds(
    flower_database: Path,
) -> None:
    """Flower's own state, as its activation asks it (F1)."""
    state = flowers_state(flower_database)
    node = state.create_node("account", "name", b"key", 0)
    assert state.activate_node(node, heartbeat_interval=30)
    assert not state.activate_node(node, heartbeat_interval=30)  # so it would be for a minute
    now = time.time()
    assert not is_rebuilt(flower_database, lambda: now)
    (told,) = state.get_node_info(node_ids=[node])
    assert (told.status, told.online_until <= now + 25) == ("online", True)
    assert not is_rebuilt(flower_database, lambda: now - 26)  # as if 26 seconds had gone
    assert state.activate_node(node, heartbeat_interval=30)


def test_a_node_that_lives_stays_connected_over_a_restart(flower_database: Path) -> None:
    state = flowers_state(flower_database)
    node = state.create_node("account", "name", b"key", 0)
    state.activate_node(node, heartbeat_interval=30)
    assert not is_rebuilt(flower_database)
    assert state.acknowledge_node_heartbeat(node, 30)
    (told,) = state.get_node_info(node_ids=[node])
    assert told.online_until > time.time() + 50


@pytest.mark.parametrize("damage", ["emptied", "cut", "garbage", "page"])
def test_a_damaged_database_is_refused_with_path_and_remedy(database: Path, damage: str) -> None:
    content = bytearray(database.read_bytes())
    if damage == "page":
        content[4096 : 3 * 4096] = b"\xa5" * (2 * 4096)
    damaged = {"emptied": b"", "cut": bytes(content[:700]), "garbage": b"\x17" * 9000}
    database.write_bytes(damaged.get(damage, bytes(content)))
    with pytest.raises(CorruptFileError, match=str(database)) as refused:
        is_rebuilt(database)
    assert "move it away" in refused.value.hint
    assert database.exists()
