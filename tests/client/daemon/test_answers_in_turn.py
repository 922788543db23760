"""A node fetches the next message once the one before is answered or lost (F1, F3)."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import start_client_internal
from tests.client.daemon.test_task_loop import NODE, RUN, App, Node, echo
from tests.client.daemon.test_task_loop import node as node

from fedward_client.daemon.supernode import answer_in_turn, give_up_whole_messages

HOOKED = ("_pull_and_store_message", "_push_messages", "pull_objects", "time")
MOST_WAITS = 20

Confirm = Callable[[int, str], None]


class StuckError(Exception):
    """A node waits for what never comes."""


class Turns:
    """Flower's own loop of a node, one step at a time, with a task loop that works as it waits."""

    def __init__(self, there: Node) -> None:
        self.there = there
        self.loop = there.loop()
        self.sent: list[str] = []
        self._waits = 0
        self._inside = vars(start_client_internal)
        self._inside["time"] = SimpleNamespace(sleep=self._wait)

    def _wait(self, seconds: float) -> None:
        del seconds
        self._waits += 1
        if self._waits > MOST_WAITS:
            raise StuckError
        self.loop.do_next()

    def take(self, name: str, confirm: Confirm = lambda run, message: None) -> str:
        """Fetch a message and bring its answer away; give its id."""
        message = question(name)
        contents = get_all_nested_objects(message)
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            tree = get_object_tree(message)
            run = self._inside["_pull_and_store_message"](
                state=self.there.state,
                object_store=self.there.state.object_store,
                node_config={},
                receive=lambda: (remove_content_from_message(message), tree),
                get_run=lambda run_id: plain(self.there),
                get_fab=lambda fab_hash, run_id: self.there.fab,
                pull_object=lambda run_id, object_id: contents[object_id].deflate(),
                confirm_message_received=confirm,
                trusted_entities=None,
            )
        if run is not None:
            self._inside["_push_messages"](
                state=self.there.state,
                object_store=self.there.state.object_store,
                send=self._send,
                push_object=lambda *of: None,
            )
        return message.metadata.message_id

    def _send(self, message: Message, tree: object, seconds: float) -> tuple[set[str], str]:
        del tree, seconds
        self.sent.append(message.metadata.reply_to_message_id)
        return set(), ""


def question(name: str) -> Message:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, 1, 1
    return Message(RecordDict({name: ArrayRecord({})}), NODE, "query.share", group_id="1")


def plain(there: Node) -> Any:
    run = there.run()
    run.override_config = {}
    return run


@pytest.fixture
def turns(node: Callable[[App], Node], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Turns]:
    inside = vars(start_client_internal)
    for name in HOOKED:
        monkeypatch.setitem(inside, name, inside[name])
    give_up_whole_messages()
    answer_in_turn()
    return lambda: Turns(node(echo))


def run_is_over(run: int, message: str) -> None:
    raise RunNotRunningException


def test_each_message_has_its_own_answer_sent_before_the_next_is_fetched(
    turns: Callable[[], Turns],
) -> None:
    made = turns()
    asked = [made.take("first"), made.take("second")]
    assert made.sent == asked


def test_an_answer_of_a_run_that_is_over_does_not_stand_in_for_the_next(
    turns: Callable[[], Turns],
) -> None:
    """The coordinator is killed as a node says that it has a message, which is answered all the
    same."""
    made = turns()
    over = made.take("over", run_is_over)
    made.loop.do_next()
    asked = made.take("asked")
    assert made.sent == [over, asked]


def test_an_answer_of_a_run_that_is_over_and_still_at_work_is_waited_past(
    turns: Callable[[], Turns],
) -> None:
    made = turns()
    over = made.take("over", run_is_over)
    asked = made.take("asked")  # the loop comes to both as the node waits
    assert made.sent == [over, asked]


def test_a_message_that_the_loop_lost_holds_up_no_other(
    turns: Callable[[], Turns], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that takes a task before its message is stored finds none, and answers nothing."""
    made = turns()
    store = made.there.state.object_store
    preregister = store.preregister

    def late(run_id: int, tree: Any) -> list[str]:
        made.loop.do_next()
        return preregister(run_id, tree)

    with monkeypatch.context() as patched:
        patched.setattr(store, "preregister", late)
        lost = made.take("lost")
    assert made.sent == []
    assert [line["event"] for line in made.there.lines if line.get("code")] == ["message.lost"]
    assert lost not in store
    asked = made.take("asked")
    assert made.sent == [asked]
