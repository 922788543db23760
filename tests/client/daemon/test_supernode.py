"""How Flower's SuperNode is started, and what of its inside that leans on."""

import inspect
import logging
import re
from types import SimpleNamespace

import pytest
from flwr.supercore.exit import flwr_exit
from flwr.supernode import start_client_internal

from fedward_client.daemon import supernode
from fedward_client.daemon.supernode import NodeTeller, code_of_exit, poll_every


def test_the_node_waits_no_longer_than_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("fedward_client.daemon.supernode.time.sleep", slept.append)
    inside = vars(start_client_internal)
    monkeypatch.setitem(inside, "time", inside["time"])
    poll_every(1.0)
    inside["time"].sleep(3)
    inside["time"].sleep(0.5)
    assert slept == [1.0, 0.5]


def test_flowers_loop_uses_nothing_of_time_but_sleep() -> None:
    source = inspect.getsource(start_client_internal)
    assert set(re.findall(r"\btime\.(\w+)", source)) == {"sleep"}
    assert "time.sleep(3)" in source


def test_a_connected_node_is_told_by_flowers_own_line() -> None:
    assert f'log(INFO, "{supernode._CONNECTED_MESSAGE}", node_id)' in inspect.getsource(
        start_client_internal
    )
    told: list[str] = []
    logger = logging.Logger("x")
    logger.addHandler(NodeTeller(lambda event, **fields: told.append(event)))
    logger.info("SuperNode ID: %s", 7)
    logger.info("Receiving: %s message (ID: %s)", "a", "b")
    assert told == ["node.connected"]


class NeverStarted:
    """Stands for the thread that would end this process five seconds later."""

    def __init__(self, **of: object) -> None:
        del of

    def start(self) -> None: ...


def test_why_a_node_gave_up_is_told_by_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = SimpleNamespace(Thread=NeverStarted)
    monkeypatch.setattr("flwr.supercore.exit.exit.threading", threads)
    told: list[object] = []
    logger = logging.getLogger("flwr")
    teller = NodeTeller(lambda event, **fields: told.append((event, fields["code"])))
    logger.addHandler(teller)
    try:
        with pytest.raises(SystemExit) as ended:
            flwr_exit(305, "Failed to initialize the connection", emit_telemetry=False)
    finally:
        logger.removeHandler(teller)
    assert ended.value.code == 1
    assert told == [("node.refused", "NODE_REFUSED")]


@pytest.mark.parametrize(
    ("number", "text", "code"),
    [
        (305, "certificate verify failed: certificate has expired (_ssl.c:1006)", "CERT_EXPIRED"),
        (305, "certificate verify failed: unable to get local issuer", "CERT_UNTRUSTED"),
        (302, "", "NODE_KEY_UNUSABLE"),
        (604, "", "FLOWER_EXIT_604"),
    ],
)
def test_an_exit_has_one_code(number: int, text: str, code: str) -> None:
    assert code_of_exit(number, text) == code
