"""Weights that wait for a site are given to the key that the roster has, and to nobody else."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.serverapp import Grid
from starlette.testclient import TestClient
from tests.attacks.network.outsider import (
    FLEET,
    ORDER_PATHS,
    REFUSED,
    ask,
    names_in,
    new_key,
    pem_of,
    statuses,
)
from tests.flower_in_memory import connect_clients
from tests.tiny_federation import FakeClock

from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.listener_gates import PublicGate
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.run_tasks import RunPlace, RunTasks
from fedward_server.coordinator.superlink import superlink_app

ACCESS = LoopbackAccess(1)
WEIGHTS = np.arange(64, dtype=np.float32)


@dataclass
class Waiting:
    """A member's node, and a message with weights that waits for it."""

    public: httpx.Client
    control: FlowerControl
    key: ec.EllipticCurvePrivateKey
    known: dict[str, Any] = field(default_factory=dict)

    def activate(self) -> None:
        self.control.register_node(pem_of(self.key))
        public_key = pem_of(self.key)
        answer = ask(
            self.public, FLEET + "activate-node", self.key, public_key=public_key,
            heartbeat_interval=30.0,
        )  # fmt: skip
        node_id = ActivateNodeResponse.FromString(answer.content).node_id
        self.known = {"public_key": public_key, "node_id": node_id}

    def ask_for_messages(self) -> set[str]:
        """Learn what waits; give the names of all its parts."""
        answer = ask(self.public, FLEET + "pull-messages", self.key, **self.known)
        came = PullMessagesResponse.FromString(answer.content)
        self.known["run_id"] = came.messages_list[0].metadata.run_id
        return set(names_in(came.message_object_trees[0]))

    def fetch(self, name: str, key: ec.EllipticCurvePrivateKey | None) -> httpx.Response:
        return ask(self.public, FLEET + "pull-object", key, **self.known, object_id=name)

    def weights_are_in(self, names: set[str]) -> bool:
        raw = WEIGHTS.tobytes()
        return any(
            raw in PullObjectResponse.FromString(self.fetch(name, self.key).content).object_content
            for name in names
        )


def question_to(node_id: int) -> Callable[[Grid, Context], None]:
    def app(grid: Grid, context: Context) -> None:
        arrays = ArrayRecord({"weights": Array(WEIGHTS)})
        grid.push_messages([Message(RecordDict({"arrays": arrays}), node_id, "train.round")])

    return app


@pytest.fixture
def waiting(flower_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    app = superlink_app(flower_database, ACCESS)
    connect_clients(monkeypatch, app)
    public = TestClient(PublicGate(app), raise_server_exceptions=False)
    made = Waiting(public, FlowerControl(ACCESS), new_key())
    made.activate()
    yield made


def put_weights(waiting: Waiting, check: Callable[[], None]) -> None:
    """Order a run that asks the node, and look on while the question is open."""

    def app(grid: Grid, context: Context) -> None:
        question_to(waiting.known["node_id"])(grid, context)
        check()

    lines: list[dict[str, Any]] = []
    tasks = RunTasks(
        ACCESS, lambda name: RunPlace(name, name), app,
        lambda event, **fields: lines.append({"event": event} | fields),
        threading.Event(), FakeClock(),
    )  # fmt: skip
    waiting.control.submit_run("first")
    assert tasks.do_next()
    assert lines[-1]["event"] == "run.finished", lines


def test_the_site_that_is_asked_gets_its_weights(waiting: Waiting) -> None:
    def check() -> None:
        assert waiting.weights_are_in(waiting.ask_for_messages())

    put_weights(waiting, check)


def test_a_key_that_no_member_stated_gets_nothing_though_it_knows_every_name(
    waiting: Waiting,
) -> None:
    def check() -> None:
        names = waiting.ask_for_messages()
        for key in (None, new_key()):
            for name in names:
                answer = waiting.fetch(name, key)
                assert answer.status_code in REFUSED, answer.status_code
                assert WEIGHTS.tobytes() not in answer.content
            found = statuses(waiting.public, key, **waiting.known)
            assert set(found.values()) <= REFUSED, found

    put_weights(waiting, check)


def test_a_revoked_sites_key_gets_nothing_of_what_still_waits_for_it(waiting: Waiting) -> None:
    def check() -> None:
        names = waiting.ask_for_messages()
        waiting.control.forget_node(waiting.known["node_id"])
        assert {waiting.fetch(name, waiting.key).status_code for name in names} <= REFUSED
        found = statuses(waiting.public, waiting.key, **waiting.known)
        assert set(found.values()) <= REFUSED, found

    put_weights(waiting, check)


def test_nobody_gives_orders_or_takes_tasks_whatever_key_signs(waiting: Waiting) -> None:
    assert len(ORDER_PATHS) >= 40
    for path in ORDER_PATHS:
        for key in (None, new_key(), waiting.key):
            assert ask(waiting.public, path, key).status_code == 404, path
