"""How Flower's SuperNode is started, and what of its inside that leans on."""

import inspect
import itertools
import logging
import re
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest
from flwr.supercore.exit import flwr_exit
from flwr.supercore.retry import RetryInvoker
from flwr.supernode import fleet_http_connection, start_client_internal
from tests.fresh_interpreter import printed_by
from tests.tiny_federation import FakeClock

from fedward_client.daemon import supernode
from fedward_client.daemon.supernode import NodeTeller, code_of_exit, hold_on, poll_every


@pytest.fixture
def sleep_of_node(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeClock, Callable[[float], None]]:
    """A node's own sleep, as Flower's loop calls it, on a clock that only it moves."""
    clock = FakeClock()
    inside = vars(start_client_internal)
    monkeypatch.setitem(inside, "time", inside["time"])
    poll_every(1.0, clock.now_seconds, clock.sleep)
    sleep: Callable[[float], None] = inside["time"].sleep
    return clock, sleep


def test_a_node_without_work_asks_as_seldom_as_the_settings_say(
    sleep_of_node: tuple[FakeClock, Callable[[float], None]],
) -> None:
    clock, sleep = sleep_of_node
    waits = [waited(clock, sleep, 3) for _ in range(60)]
    assert waits[0] == pytest.approx(0.2)
    assert waits[-1] == pytest.approx(1.0)
    assert max(waits) == pytest.approx(1.0)


def test_a_node_that_had_work_asks_soon_for_more(
    sleep_of_node: tuple[FakeClock, Callable[[float], None]],
) -> None:
    clock, sleep = sleep_of_node
    clock.sleep(3600)
    assert waited(clock, sleep, 3) == pytest.approx(1.0)
    assert waited(clock, sleep, 0.5) == pytest.approx(0.05)  # a message is being answered
    assert waited(clock, sleep, 3) == pytest.approx(0.2)


def test_an_answer_that_takes_long_is_looked_for_seldom(
    sleep_of_node: tuple[FakeClock, Callable[[float], None]],
) -> None:
    clock, sleep = sleep_of_node
    waits = [waited(clock, sleep, 0.5) for _ in range(100)]
    assert waits[0] == pytest.approx(0.05)
    assert waits[-1] == pytest.approx(0.5)


def waited(clock: FakeClock, sleep: Callable[[float], None], wanted: float) -> float:
    before = clock.now
    sleep(wanted)
    return clock.now - before


EOF = "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1006)"


def refused_with(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "https://127.0.0.1/v1/fleet/pull-messages")
    return httpx.HTTPStatusError("x", request=request, response=httpx.Response(status, text="{}"))


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError(EOF), httpx.WriteError(EOF), httpx.ConnectError("refused"),
     refused_with(500), refused_with(503)],
)  # fmt: skip
def test_a_coordinator_that_was_killed_does_not_end_the_node(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Flower gives up on whatever names TLS; a node that gave up is refused for a minute (F1)."""
    answers: list[object] = [error, error, "came back"]

    def ask() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert invoker_of_the_node(monkeypatch).invoke(ask) == "came back"


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] expired"), refused_with(412)]
)
def test_a_refusal_ends_it_at_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    calls: list[None] = []

    def ask() -> None:
        calls.append(None)
        raise error

    with pytest.raises(type(error)):
        invoker_of_the_node(monkeypatch).invoke(ask)
    assert len(calls) == 1


def invoker_of_the_node(monkeypatch: pytest.MonkeyPatch) -> RetryInvoker:
    """What the node makes its calls with, which waits for nothing here."""
    hold_on_here(monkeypatch)
    invoker = vars(fleet_http_connection)["make_simple_http_retry_invoker"]()
    assert isinstance(invoker, RetryInvoker)
    assert max(itertools.islice(invoker.wait_gen_factory(), 20)) == 5
    invoker.wait_function = lambda seconds: None
    return invoker


def hold_on_here(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = vars(fleet_http_connection)
    for name in ("make_simple_http_retry_invoker", "HeartbeatSender"):
        monkeypatch.setitem(inside, name, inside[name])
    hold_on()


def test_an_error_of_the_server_is_a_missed_heartbeat_and_not_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold_on_here(monkeypatch)
    beats: list[object] = [True, refused_with(500), refused_with(401)]

    def beat() -> bool:
        answer = beats.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    sender = vars(fleet_http_connection)["HeartbeatSender"](beat)
    assert (sender.heartbeat_fn(), sender.heartbeat_fn()) == (True, False)
    with pytest.raises(httpx.HTTPStatusError):
        sender.heartbeat_fn()


def test_what_holds_on_is_what_flowers_connection_uses() -> None:
    source = inspect.getsource(fleet_http_connection.http_request_response)
    assert "retry_invoker = make_simple_http_retry_invoker()" in source
    assert "HeartbeatSender(send_node_heartbeat)" in source


def test_flowers_loop_uses_nothing_of_time_but_sleep() -> None:
    source = inspect.getsource(start_client_internal)
    assert set(re.findall(r"\btime\.(\w+)", source)) == {"sleep"}
    assert re.findall(r"time\.sleep\((\S+)\)", source) == ["3", "0.5", "0.5"]


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


def test_a_node_loads_nothing_of_cohorts_and_jobs() -> None:
    """It carries messages; a site's start is short, and the process small."""
    program = (
        "import sys\n"
        "import fedward_client.daemon.supernode\n"
        "ours = ('fedward_client.cohorts', 'fedward_client.jobs', 'fedward_client.ledger')\n"
        "print(sorted(name for name in sys.modules if name.startswith(ours)))\n"
    )
    assert printed_by(program) == "[]\n"
