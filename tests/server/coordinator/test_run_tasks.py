"""The coordinator's own task loop, over Flower's SuperLink in memory."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.proto.control_pb2 import ListRunsRequest
from flwr.serverapp import Grid
from flwr.superlink.grid import HttpGrid
from tests.flower_in_memory import connect_clients
from tests.tiny_federation import FakeClock

from fedward_common.errors import ConfigurationError, FedwardError, QuorumError, StoppedError
from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.observer import current_observer
from fedward_server.coordinator.run_stop import stop_run
from fedward_server.coordinator.run_tasks import RunPlace, RunTasks
from fedward_server.coordinator.superlink import superlink_app

ACCESS = LoopbackAccess(1)

Line = dict[str, Any]


class Loop:
    """A task loop, what it said, and what its runs were given."""

    def __init__(self, app: Callable[[Grid, Context], None]) -> None:
        self.lines: list[Line] = []
        self.stop = threading.Event()
        self.control = FlowerControl(ACCESS)
        self.clock = FakeClock()
        self.tasks = RunTasks(ACCESS, place_of, app, self._tell, self.stop, self.clock)

    def _tell(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event} | fields)

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    def statuses(self) -> set[tuple[str, str, str]]:
        runs = self.control._client.ListRuns(ListRunsRequest()).run_dict.values()
        return {(r.status.status, r.status.sub_status, r.status.details) for r in runs}


def place_of(name: str) -> RunPlace:
    if name != "first":
        raise ConfigurationError(f"{name} is no run")
    return RunPlace(f"home/runs/{name}", "home/coordinator.key")


@pytest.fixture(autouse=True)
def flower(flower_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_clients(monkeypatch, superlink_app(flower_database, ACCESS))


def test_a_run_gets_its_folder_and_key_from_the_home_and_nothing_of_flowers() -> None:
    seen: list[Context] = []

    def app(grid: Grid, context: Context) -> None:
        seen.append(context)
        assert list(grid.get_node_ids()) == []
        current_observer().round_begins(3, 1)

    loop = Loop(app)
    assert not loop.tasks.do_next()
    loop.control.submit_run("first")
    assert loop.tasks.do_next()
    assert seen[0].run_config == {
        "run-folder": "home/runs/first",
        "key-file": "home/coordinator.key",
    }
    assert seen[0].node_config == {}
    assert loop.events == ["run.begins", "round.begins", "run.finished"]
    assert loop.statuses() == {("finished", "completed", "")}


def test_a_message_to_a_node_that_is_gone_has_no_name() -> None:
    """What `Exchange` takes for a node that is not available."""

    def app(grid: Grid, context: Context) -> None:
        message = Message(RecordDict(), 7, "query.manifest")
        assert list(grid.push_messages([message])) == [""]

    loop = Loop(app)
    loop.control.submit_run("first")
    loop.tasks.do_next()
    assert loop.events[-1] == "run.finished", loop.lines


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (QuorumError("two sites", hint="mend them"), "QUORUM_NOT_REACHED"),
        (ValueError("secret of a library"), "INTERNAL_ERROR"),
    ],
)
def test_a_run_that_fails_leaves_a_code_with_flower_and_the_loop_goes_on(
    raised: Exception, code: str
) -> None:
    def app(grid: Grid, context: Context) -> None:
        raise raised

    loop = Loop(app)
    loop.control.submit_run("first")
    loop.control.submit_run("first")
    assert loop.tasks.do_next()
    assert loop.tasks.do_next()
    assert loop.statuses() == {("finished", "failed", code)}
    assert [line["code"] for line in loop.lines if line["event"] == "run.failed"] == [code, code]
    assert "secret of a library" not in str(loop.lines)


def test_a_name_that_is_no_run_reaches_no_app() -> None:
    def app(grid: Grid, context: Context) -> None:
        raise AssertionError("was called")

    loop = Loop(app)
    loop.control.submit_run("../../elsewhere")
    assert loop.tasks.do_next()
    assert loop.lines[-1]["code"] == "CONFIGURATION"


def test_who_waits_for_an_answer_can_be_stopped() -> None:
    raised: list[FedwardError] = []

    def app(grid: Grid, context: Context) -> None:
        loop.stop.set()
        try:
            grid.pull_messages(["x"])
        except StoppedError as error:
            raised.append(error)
            raise

    loop = Loop(app)
    loop.control.submit_run("first")
    loop.tasks.do_next()
    assert raised
    assert loop.events[-1] == "run.stopped"
    loop.tasks.serve()  # ends at once


def test_an_answer_that_takes_long_is_asked_for_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replies: list[list[Message]] = []
    monkeypatch.setattr(
        HttpGrid, "pull_messages", lambda self, asked: replies.pop() if replies else []
    )
    num_asked = 0

    def wait_of(grid: Grid, message_id: str) -> float:
        before = loop.clock.now
        list(grid.pull_messages([message_id]))
        return loop.clock.now - before

    def app(grid: Grid, context: Context) -> None:
        nonlocal num_asked
        while loop.clock.now < 600:  # as `Exchange` waits for one site
            wait_of(grid, "x")
            num_asked += 1
            loop.clock.sleep(0.1)
        assert wait_of(grid, "y") == 0  # another's answer is not kept waiting
        assert [wait_of(grid, "x"), wait_of(grid, "x")] == pytest.approx([0, 1.9])
        replies.append([Message(RecordDict(), 7, "query.share")])
        wait_of(grid, "x")
        assert (wait_of(grid, "x"), wait_of(grid, "x")) == (0, 0)  # one came: more may

    loop = Loop(app)
    loop.control.submit_run("first")
    loop.tasks.do_next()
    assert loop.events[-1] == "run.finished", loop.lines
    assert num_asked < 400  # at every poll of 0.1 s it would be 6000


def test_where_the_time_of_an_exchange_went_is_told_by_the_end_of_the_run() -> None:
    def app(grid: Grid, context: Context) -> None:
        list(grid.push_messages([Message(RecordDict(), 7, "query.share", group_id="3")]))

    loop = Loop(app)
    loop.control.submit_run("first")
    loop.tasks.do_next()
    (told,) = [line for line in loop.lines if line["event"] == "exchange.ended"]
    assert (told["type"], told["round"], told["sent"], told["answered"]) == (
        "query.share", "3", 1, 0,
    )  # fmt: skip


def test_an_idle_coordinator_looks_for_a_run_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = Loop(lambda grid, context: None)
    waits: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            loop.clock.sleep(timeout or 0)
            if len(waits) == 60:
                self.set()
            return self.is_set()

    loop.tasks._stop = Stop()
    monkeypatch.setattr(loop.tasks, "do_next", lambda: False)
    loop.tasks.serve()
    assert waits[0] == pytest.approx(0.2)
    assert waits[-1] == pytest.approx(1.0)


def in_folder(folder: Path) -> Callable[[str], RunPlace]:
    return lambda name: RunPlace(str(folder), f"{name}.key")


def test_a_run_that_a_person_stopped_ends_at_its_next_look_and_the_loop_goes_on(
    tmp_path: Path,
) -> None:
    looks: list[str] = []

    def app(grid: Grid, context: Context) -> None:
        grid.get_node_ids()
        stop_run(tmp_path, now_seconds=0)
        for look in (grid.get_node_ids, lambda: grid.pull_messages(["x"])):
            with pytest.raises(StoppedError, match="was stopped"):
                look()
            looks.append("refused")
        grid.get_node_ids()

    loop = Loop(app)
    loop.tasks._place_of = in_folder(tmp_path)
    loop.control.submit_run("first")
    loop.control.submit_run("first")
    assert loop.tasks.do_next()
    assert looks == ["refused", "refused"]
    assert loop.events == ["run.begins", "run.stopped"]
    assert loop.tasks.do_next()  # what waits begins no more
    assert loop.events[-2:] == ["run.begins", "run.stopped"]
    assert len(looks) == 2
    assert loop.statuses() == {("finished", "failed", "STOPPED")}


def test_what_became_of_the_last_order_of_a_run_is_told() -> None:
    def app(grid: Grid, context: Context) -> None:
        raise QuorumError("two sites", hint="mend them")

    loop = Loop(app)
    assert loop.control.ordered_runs() == {}
    loop.control.submit_run("first")
    order = loop.control.ordered_runs()["first"]
    assert (order.is_open, order.is_running, order.code) == (True, False, "")
    loop.tasks.do_next()
    order = loop.control.ordered_runs()["first"]
    assert (order.is_open, order.is_running, order.code) == (False, False, "QUORUM_NOT_REACHED")
    loop.control.submit_run("first")
    assert loop.control.ordered_runs()["first"].is_open
