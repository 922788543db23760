"""A second node with one key is seen, and a node that comes back is none (F22)."""

import base64
from typing import Any

import pytest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from flwr.supercore.error import ApiErrorCode
from flwr.supercore.error.catalog import API_ERROR_MAP
from tests.server.coordinator.test_listener_gates import ask
from tests.tiny_federation import FakeClock

from fedward_common.identities import SiteId
from fedward_server.coordinator.duplicate_nodes import _HEADER, _NOT_LET_IN, DuplicateNodes
from fedward_server.coordinator.listener_gates import PublicGate, Receive, Scope, Send

KEY, OTHER = b"-----BEGIN PUBLIC KEY----- alder", b"-----BEGIN PUBLIC KEY----- birch"
ACTIVATE, PULL = "/v1/fleet/activate-node", "/v1/fleet/pull-messages"
BEAT, DEACTIVATE = "/v1/fleet/send-node-heartbeat", "/v1/fleet/deactivate-node"


class Listener:
    """The public listener before a Flower that answers with the status that a test says."""

    def __init__(self) -> None:
        self.clock = FakeClock(100.0)
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.nodes = DuplicateNodes(self._tell, self.clock, lambda: 1_000_000 + self.clock.now)
        self.nodes.know({KEY: SiteId("alder"), OTHER: SiteId("birch")})
        self.status = 200
        self.gate = PublicGate(self._flower, watching=self.nodes.watching)

    def _tell(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    async def _flower(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def after(self, seconds: float, path: str, status: int = 200, key: bytes = KEY) -> None:
        self.clock.now += seconds
        self.status = status
        header = (FLEET_HTTP_PUBLIC_KEY_HEADER.encode(), base64.b64encode(key))
        assert ask(self.gate, path, more_headers=[header])[0] == status


@pytest.fixture
def listener() -> Listener:
    made = Listener()
    made.after(0, ACTIVATE)
    made.after(1, PULL)
    return made


@pytest.mark.parametrize("path", [PULL, BEAT])
def test_a_node_that_is_refused_while_the_first_is_heard_is_told(
    listener: Listener, path: str
) -> None:
    listener.after(1, ACTIVATE, 412)
    listener.after(5, path)
    assert listener.lines == []  # it could be the last word of a node that ends
    listener.after(11, path)
    assert listener.lines == [("node.duplicate", {"site": "alder", "code": "NODE_DUPLICATE"})]
    assert listener.nodes.last_of("alder") == 1_000_000 + int(listener.clock.now)
    assert listener.nodes.times() == {"alder": 1}
    assert listener.nodes.last_of("birch") == 0


def test_a_node_that_was_killed_and_comes_back_is_no_second_one(listener: Listener) -> None:
    for _ in range(4):  # Flower believes the killed one to be there
        listener.after(15, ACTIVATE, 412)
    listener.after(15, ACTIVATE)
    for _ in range(5):
        listener.after(15, PULL)
    assert listener.lines == []
    assert listener.nodes.times() == {}


def test_what_a_node_says_that_ends_counts_for_nothing(listener: Listener) -> None:
    listener.after(1, ACTIVATE, 412)
    listener.after(9, PULL)  # a daemon that was killed; its node has 10 seconds to end
    listener.after(20, DEACTIVATE)
    listener.after(1, PULL, 401)
    listener.after(1, PULL, 500)
    assert listener.lines == []


def test_a_second_node_that_tries_on_is_counted_and_told_now_and_then(listener: Listener) -> None:
    for _ in range(20):  # 20 minutes
        for _ in range(2):
            listener.after(28, ACTIVATE, 412)
            listener.after(2, PULL)
    assert listener.nodes.times()["alder"] >= 19
    assert 2 <= len(listener.lines) <= 3


def test_keys_that_no_site_stated_are_not_remembered(listener: Listener) -> None:
    for number in range(50):
        listener.after(1, ACTIVATE, 412, f"key {number}".encode())
        listener.after(60, PULL, 200, f"key {number}".encode())
    assert listener.lines == []
    assert len(listener.nodes._seen) == 1
    header = (FLEET_HTTP_PUBLIC_KEY_HEADER.encode(), b"no base64!")
    assert ask(listener.gate, PULL, more_headers=[header])[0] == 200


def test_flower_refuses_a_second_node_with_the_status_that_is_looked_for() -> None:
    spec = API_ERROR_MAP[ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED]
    assert spec.http_status_code == _NOT_LET_IN
    assert FLEET_HTTP_PUBLIC_KEY_HEADER.encode() == _HEADER
