"""What the coordinator's process makes of a run that ends before its end."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedward_common.errors import (
    ConfigurationError,
    FedwardError,
    LockedError,
    QuorumError,
    StoppedError,
)
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.given_messages import GivenMessages
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.run_queue import in_order, take_place
from fedward_server.coordinator.start_command import _DATABASE, _tasks, _watch


def quiet(event: str, **fields: Any) -> None:
    del event, fields


@pytest.mark.parametrize(
    ("ends_with", "order"),
    [
        (QuorumError("nobody came", hint="wait"), ["second", "first"]),
        (ValueError("of a library"), ["second", "first"]),
        # It ended with the process, so it was under way, and goes on first.
        (StoppedError("SIGTERM", hint="start it"), ["first", "second"]),
    ],
)
def test_a_run_that_failed_comes_behind_those_that_wait_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_with: Exception, order: list[str]
) -> None:
    home = CoordinatorHome(tmp_path)
    home.make_folders()
    for name in ("first", "second"):
        (home.runs / name).mkdir()
        take_place(home.runs, home.runs / name)

    def app(grid: Any, context: Any) -> None:
        raise ends_with

    monkeypatch.setattr("fedward_server.coordinator.app.app", app)
    tasks = _tasks(home, LoopbackAccess(1), quiet, threading.Event(), GivenMessages())
    context: Any = SimpleNamespace(run_config={"run-folder": str(home.runs / "first")})
    grid: Any = None
    with pytest.raises(type(ends_with)):
        tasks._server_app(grid, context)
    assert [folder.name for folder in in_order(home.runs.iterdir())] == order


class StopsAfter(threading.Event):
    """Stops whoever waits for it after so many waits, which take no time."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self._waits = waits

    def wait(self, timeout: float | None = None) -> bool:
        self._waits -= 1
        return self._waits < 0


def watched(event: str, error: FedwardError) -> list[tuple[str, dict[str, Any]]]:
    def look() -> None:
        raise error

    def tell(event: str, **told: Any) -> None:
        lines.append((event, told))

    lines: list[tuple[str, dict[str, Any]]] = []
    serving: Any = SimpleNamespace(are_serving=True)
    _watch({event: look}, serving, tell, StopsAfter(3))
    return lines


def test_what_cannot_be_looked_at_is_told_once() -> None:
    away = FedwardError("it does not answer", code="DATABASE_UNREACHABLE")
    assert watched(_DATABASE, away) == [(_DATABASE, {"code": "DATABASE_UNREACHABLE"})]
    busy = LockedError("the office is at work")
    assert watched("office.unusable", busy) == [("office.unusable", {"code": "LOCKED"})]


def test_a_coordinator_whose_database_another_one_took_ends() -> None:
    with pytest.raises(ConfigurationError, match="another coordinator took the database"):
        watched(_DATABASE, LockedError("another coordinator uses it"))
