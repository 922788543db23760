"""The site's own task loop, over Flower's SuperNode in memory (F36)."""

import hashlib
import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import start_client_internal
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory
from tests.flower_in_memory import connect_clients
from tests.tiny_federation import FakeClock

from fedward_client.daemon.audit import audit_lines
from fedward_client.daemon.supernode import give_up_whole_messages
from fedward_client.daemon.task_loop import TaskLoop
from fedward_client.site_home import SiteHome

SECRET = b"s" * 32
RUN, NODE = 11, 22
CANARY = "fedward_canary"

Line = dict[str, Any]
App = Callable[[Message, Context], Message]


def bundle_with_code(canary_file: Path) -> Fab:
    """A bundle as a malicious coordinator would make it: it would run if it were ever imported."""
    code = f"open({str(canary_file)!r}, 'w').write('imported')\n"
    pointer = (
        '[project]\nname = "fedward-run"\nversion = "1"\ndependencies = ["evil"]\n'
        '[tool.flwr.app]\npublisher = "fedward"\n[tool.flwr.app.components]\n'
        f'serverapp = "{CANARY}:app"\nclientapp = "{CANARY}:app"\n'
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("pyproject.toml", pointer)
        for name in (f"{CANARY}.py", "fedward_client/__init__.py", "fedward_client/daemon/app.py",
                     "sitecustomize.py", "torch.py"):  # fmt: skip
            archive.writestr(name, code)
    packed = content.getvalue()
    return Fab(hashlib.sha256(packed).hexdigest(), packed, {})


class Node:
    """A SuperNode that has received messages, and the loop that answers them."""

    def __init__(self, home: Path, app: App, canary_file: Path) -> None:
        self.fab = bundle_with_code(canary_file)
        factory = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
        self.state = factory.state()
        self.state.set_node_id(NODE)
        self.server = create_app(state_factory=factory, superexec_auth_secret=SECRET)
        self.lines: list[Line] = []
        self.home, self.app = home, app

    def loop(self, secret: bytes = SECRET) -> TaskLoop:
        return TaskLoop(1, secret, self.home, self.app, self._tell)

    def _tell(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event} | fields)

    def receive(self, content: RecordDict | None = None) -> Message:
        """Do what a SuperNode does with a message of the coordinator."""
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, 1, 1
        message = Message(content or RecordDict(), NODE, "query.manifest", group_id="0")
        run = self.run()
        context = Context(RUN, NODE, {"site-home": "from the node"}, RecordDict(), {"evil": "1"})
        context.series_id = 5
        self.state.set_run_series_context(5, context)
        self.state.store_run(run)
        self.state.store_fab(self.fab)
        task = self.state.create_task(TaskType.CLIENT_APP, RUN, fab_hash=self.fab.hash_str)
        assert task is not None
        store = self.state.object_store
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            store.preregister(RUN, get_object_tree(message))
            self.state.store_message(message)
            for object_id, nested in get_all_nested_objects(message).items():
                store.put(object_id, nested.deflate())
        return message

    def run(self) -> Run:
        """Give a run as the coordinator describes it."""
        run = Run.create_empty(RUN)
        run.fab_hash, run.series_id = self.fab.hash_str, 5
        run.override_config = {"site-home": "another hospital's", "run": "x"}
        return run

    def replies(self) -> list[Message]:
        return list(self.state.get_messages_legacy(is_reply=True))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[App], Node]:
    def make(app: App) -> Node:
        made = Node(tmp_path / "home", app, tmp_path / "canary")
        connect_clients(monkeypatch, made.server)
        return made

    return make


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def test_a_message_is_answered_by_the_installed_app(node: Callable[[App], Node]) -> None:
    seen: list[tuple[Message, Context]] = []

    def app(message: Message, context: Context) -> Message:
        seen.append((message, context))
        return echo(message, context)

    there = node(app)
    arrays = ArrayRecord({"weights": _array(5)})
    request = there.receive(RecordDict({"arrays": arrays}))
    loop = there.loop()
    assert loop.do_next()
    assert not loop.do_next()
    (reply,) = there.replies()
    assert reply.metadata.reply_to_message_id == request.metadata.message_id
    assert not reply.has_error()
    message, _ = seen[0]
    assert message.metadata.message_type == "query.manifest"
    weights = message.content.array_records["arrays"]["weights"]
    np.testing.assert_array_equal(weights.numpy(), np.arange(5))
    assert [line["event"] for line in there.lines] == ["tasks.ready", "message.answered"]
    told = there.lines[-1]
    assert (told["type"], told["round"], told["code"]) == ("query.manifest", "0", "")
    assert min(told[f"{what}_seconds"] for what in ("fetch", "answer", "hand_over")) >= 0


def test_a_message_that_the_node_gave_up_is_told_and_the_loop_goes_on(
    node: Callable[[App], Node],
) -> None:
    """As where the coordinator was killed while it was fetched (F1)."""
    there = node(echo)
    lost, kept = there.receive(), there.receive(RecordDict({"other": ArrayRecord({})}))
    store = there.state.object_store
    store.delete(lost.metadata.message_id)
    there.state.delete_messages(message_ids=[lost.metadata.message_id])
    loop = there.loop()
    assert loop.do_next()
    assert loop.do_next()
    replies = [reply.metadata.reply_to_message_id for reply in there.replies()]
    assert replies == [kept.metadata.message_id]
    assert [line["event"] for line in there.lines if line.get("code")] == ["message.lost"]


def test_a_message_whose_run_ends_while_it_is_fetched_keeps_the_loop_for_no_other(
    node: Callable[[App], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator is killed while a node fetches, and ends that run as it starts again (F1)."""
    inside = vars(start_client_internal)
    monkeypatch.setitem(inside, "pull_objects", inside["pull_objects"])
    give_up_whole_messages()
    there = node(echo)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, 1, 1
    plain = there.run()
    plain.override_config = {}
    half = Message(RecordDict({"x": ArrayRecord({})}), NODE, "train.round", group_id="1")
    with no_object_id_recompute():
        half.metadata.__dict__["_message_id"] = half.object_id
        tree = get_object_tree(half)
        pulled = inside["_pull_and_store_message"](
            state=there.state,
            object_store=there.state.object_store,
            node_config={},
            receive=lambda: (remove_content_from_message(half), tree),
            get_run=lambda run_id: plain,
            get_fab=lambda fab_hash, run_id: there.fab,
            pull_object=run_is_over,
            confirm_message_received=lambda run_id, message_id: None,
            trusted_entities=None,
        )
    assert pulled is None
    assert [task.status.status for task in there.state.get_tasks()] == ["finished"]
    kept = there.receive()
    loop = there.loop()
    loop.do_next()
    loop.do_next()
    replies = [reply.metadata.reply_to_message_id for reply in there.replies()]
    assert replies == [kept.metadata.message_id]


def run_is_over(run_id: int, object_id: str) -> bytes:
    raise RunNotRunningException


def test_an_idle_loop_asks_its_node_once_a_second(
    node: Callable[[App], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, waits = FakeClock(), list[float]()
    there = node(echo)
    loop = TaskLoop(1, SECRET, there.home, echo, there._tell, clock.now_seconds)
    took = iter([False] * 60 + [True] + [False] * 2)

    def do_next() -> bool:
        try:
            return next(took)
        except StopIteration:
            raise _EnoughError from None

    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.sleep(seconds)

    monkeypatch.setattr(loop, "do_next", do_next)
    with pytest.raises(_EnoughError):
        loop.serve(wait)
    assert waits[0] == pytest.approx(0.05)
    assert waits[59] == pytest.approx(1.0)
    assert waits[60] == pytest.approx(0.05)  # something came


def _array(length: int) -> Any:
    from flwr.app import Array

    return Array(np.arange(length, dtype=np.float32))


def test_home_and_configuration_are_the_sites_own(node: Callable[[App], Node]) -> None:
    contexts: list[Context] = []

    def app(message: Message, context: Context) -> Message:
        contexts.append(context)
        return echo(message, context)

    there = node(app)
    there.receive()
    there.loop().do_next()
    assert contexts[0].node_config == {"site-home": str(there.home)}
    assert contexts[0].run_config == {}


def test_code_in_the_bundle_is_never_imported(
    node: Callable[[App], Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))
    path_before = list(sys.path)
    there = node(echo)
    there.receive()
    assert there.loop().do_next()
    assert len(there.replies()) == 1
    assert not (tmp_path / "canary").exists()
    assert CANARY not in sys.modules
    assert sys.path == path_before
    assert not (tmp_path / "flower").exists()  # where Flower unpacks what it installs


def test_what_an_app_raises_leaves_as_a_code(node: Callable[[App], Node]) -> None:
    def app(message: Message, context: Context) -> Message:
        raise ValueError("name of a patient")

    there = node(app)
    there.home.mkdir(exist_ok=True)
    there.receive()
    there.receive(RecordDict({"other": ArrayRecord({})}))
    loop = there.loop()
    assert loop.do_next()
    assert loop.do_next()
    (written,), (counted,) = audit_lines(SiteHome(there.home))
    assert (written["code"], counted["times"]) == ("CLIENT_APP_RAISED", 1)
    assert "patient" not in (there.home / "audit.jsonl").read_text()
    replies = there.replies()
    assert len(replies) == 2
    assert {reply.error.reason for reply in replies} == {"CLIENT_APP_RAISED"}
    finished = there.state.get_tasks()
    assert {task.status.details for task in finished} == {"CLIENT_APP_RAISED"}
    assert "patient" not in f"{there.lines}{finished}"


def test_nothing_of_a_run_is_kept_with_flower(node: Callable[[App], Node]) -> None:
    def app(message: Message, context: Context) -> Message:
        context.state["kept"] = ArrayRecord({"x": _array(1)})
        return echo(message, context)

    there = node(app)
    there.receive()
    there.loop().do_next()
    kept = there.state.get_run_series_context(5)
    assert kept is not None
    assert len(kept.state) == 0


def test_only_who_knows_the_secret_takes_a_message(node: Callable[[App], Node]) -> None:
    there = node(echo)
    there.receive()
    with pytest.raises(httpx.HTTPStatusError):
        there.loop(secret=b"t" * 32).do_next()
    assert there.replies() == []


class _EnoughError(Exception):
    """Ends a loop that never ends."""


def test_a_node_that_starts_anew_is_waited_for(
    node: Callable[[App], Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = node(echo)
    loop = there.loop()
    answers: list[object] = ["", httpx.ConnectError("gone"), httpx.ConnectError("gone"), ""]

    def next_token() -> str:
        if not answers:
            raise _EnoughError
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(loop._queue, "next_token", next_token)
    with pytest.raises(_EnoughError):
        loop.serve(lambda seconds: None)
    events = [line["event"] for line in there.lines]
    assert events == ["tasks.ready", "tasks.unreachable", "tasks.ready"]
