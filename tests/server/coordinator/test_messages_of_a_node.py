"""What Flower's SuperLink tells of the messages that a node is given, answers and loses."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from tests.flower_in_memory import connect_clients
from tests.server.coordinator.test_superlink import activate, node_key
from tests.tiny_federation import FakeClock

from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.given_messages import GivenMessages
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.run_tasks import RunPlace, RunTasks, StoppableGrid
from fedward_server.coordinator.superlink import superlink_app

ACCESS = LoopbackAccess(1)


class Node:
    """A member's node, as Flower's own speaks."""

    def __init__(self) -> None:
        private, public = node_key()
        FlowerControl(ACCESS).register_node(public)
        self.id = activate(private, public).node_id
        self._of = NodeProto(node_id=self.id)
        self._client = FleetHttpClient(
            "http://127.0.0.1",
            interceptors=[NodeAuthHttpInterceptor(private, private.public_key())],
        )

    def ask(self) -> Message | None:
        came = self._client.PullMessages(PullMessagesRequest(node=self._of)).messages_list
        return message_from_proto(came[0]) if came else None

    def answer(self, message: Message) -> None:
        reply = Message(RecordDict(), reply_to=message)
        self._push(reply, get_object_tree(reply))

    def answer_by(self, message: Message, content: bytes) -> None:
        """Give these bytes for an answer."""
        name = hashlib.sha256(content).hexdigest()
        session = self._push(Message(RecordDict(), reply_to=message), ObjectTree(object_id=name))
        pushed = PushObjectRequest(
            node=self._of,
            run_id=message.metadata.run_id,
            object_id=name,
            object_content=content,
            session_id=session,
        )
        assert self._client.PushObject(pushed).stored

    def _push(self, reply: Message, tree: ObjectTree) -> str:
        reply.metadata.__dict__["_message_id"] = tree.object_id
        request = PushMessagesRequest(
            node=self._of,
            messages_list=[message_to_proto(remove_content_from_message(reply))],
            message_object_trees=[tree],
        )
        return str(self._client.PushMessages(request).session_id)


@pytest.fixture
def with_node(
    flower_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[StoppableGrid, Node], None]], None]:
    """Run something as a run of the coordinator, while a node is connected."""
    given = GivenMessages()
    connect_clients(monkeypatch, superlink_app(flower_database, ACCESS, given))

    def run(steps: Callable[[StoppableGrid, Node], None]) -> None:
        node = Node()

        def app(grid: Grid, context: Context) -> None:
            assert isinstance(grid, StoppableGrid)
            steps(grid, node)

        lines: list[dict[str, Any]] = []
        tasks = RunTasks(
            ACCESS, lambda name: RunPlace(name, name), app,
            lambda event, **fields: lines.append({"event": event} | fields),
            threading.Event(), FakeClock(), given,
        )  # fmt: skip
        FlowerControl(ACCESS).submit_run("first")
        assert tasks.do_next()
        assert lines[-1]["event"] == "run.finished", lines

    return run


def pushed(grid: StoppableGrid, node: Node) -> str:
    (message_id,) = grid.push_messages([Message(RecordDict(), node.id, "query.share")])
    return message_id


WithNode = Callable[[Callable[[StoppableGrid, Node], None]], None]


def test_a_message_whose_node_asks_for_more_without_an_answer_is_lost(with_node: WithNode) -> None:
    def steps(grid: StoppableGrid, node: Node) -> None:
        assert node.ask() is None
        message_id = pushed(grid, node)
        assert not grid.is_lost(message_id)  # it waits to be fetched
        assert node.ask() is not None
        assert not grid.is_lost(message_id)  # it is worked on
        assert node.ask() is None
        assert grid.is_lost(message_id)
        again = pushed(grid, node)
        assert node.ask() is not None
        assert not grid.is_lost(again)

    with_node(steps)


def test_a_message_that_was_answered_is_not_lost(with_node: WithNode) -> None:
    def steps(grid: StoppableGrid, node: Node) -> None:
        message_id = pushed(grid, node)
        message = node.ask()
        assert message is not None
        node.answer(message)
        assert node.ask() is None
        assert not grid.is_lost(message_id)

    with_node(steps)


def test_the_answer_to_another_message_is_none_to_this_one(with_node: WithNode) -> None:
    def steps(grid: StoppableGrid, node: Node) -> None:
        first_id, second_id = pushed(grid, node), pushed(grid, node)
        first, second = node.ask(), node.ask()
        assert first is not None
        assert second is not None
        node.answer(second)
        node.ask()
        assert grid.is_lost(first_id)
        assert not grid.is_lost(second_id)

    with_node(steps)


def test_an_answer_that_cannot_be_put_together_is_an_error_of_its_node(
    with_node: WithNode,
) -> None:
    def steps(grid: StoppableGrid, node: Node) -> None:
        message_id = pushed(grid, node)
        message = node.ask()
        assert message is not None
        node.answer_by(message, b"Message  4\0junk")
        (reply,) = grid.pull_messages([message_id])
        assert reply.error.reason == "MALFORMED_MESSAGE"

    with_node(steps)
