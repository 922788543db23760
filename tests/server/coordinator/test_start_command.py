"""What the coordinator's process makes of a run that ends before its end."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedward_common.errors import QuorumError, StoppedError
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.given_messages import GivenMessages
from fedward_server.coordinator.run_queue import in_order, take_place
from fedward_server.coordinator.start_command import _tasks
from fedward_server.coordinator.superlink import LoopbackAccess


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
