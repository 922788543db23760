"""Commands give orders to the daemon over a socket in the home."""

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import Site
from tests.client.jobs.asking_coordinator import NOON, Asking, asking

from fedward_client.daemon import command_socket
from fedward_client.daemon.command_socket import listening
from fedward_client.jobs import order_socket
from fedward_client.jobs.decisions import os_user
from fedward_client.jobs.job_store import find_job, paused_by
from fedward_client.jobs.order_socket import ask_daemon, do, short_address
from fedward_client.jobs.orders import Order, carry_out
from fedward_client.site_home import SiteHome
from fedward_common.errors import ConfigurationError, FedwardError
from fedward_common.hash_chain import ChainedLines

Line = dict[str, Any]


@dataclass
class Daemon:
    """Answers at a home as the real one does, by a clock of its own."""

    home: SiteHome
    lines: list[Line] = field(default_factory=list)

    def do(self, order: Order, by: str) -> dict[str, Any]:
        return carry_out(self.home, order, by=by, now=NOON)

    def tell(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event} | fields)


@pytest.fixture
def asked(tmp_path: Path) -> Asking:
    one = asking(tmp_path)
    assert one.propose() == "WAITING_FOR_APPROVAL"
    return one


@pytest.fixture
def daemon(asked: Asking) -> Iterator[Daemon]:
    there = Daemon(asked.home)
    with listening(there.home, there.do, there.tell):
        yield there


@pytest.fixture
def empty_home(tmp_path: Path) -> SiteHome:
    (tmp_path / "home").mkdir()
    return SiteHome(tmp_path / "home")


Listen = Callable[[Callable[[Order, str], dict[str, Any]]], list[Line]]


@pytest.fixture
def listen(empty_home: SiteHome) -> Iterator[Listen]:
    """Answer at an empty home by a function of the test; give what is told."""
    with ExitStack() as stack:

        def start(answer: Callable[[Order, str], dict[str, Any]]) -> list[Line]:
            lines: list[Line] = []

            def tell(event: str, **fields: Any) -> None:
                lines.append({"event": event} | fields)

            stack.enter_context(listening(empty_home, answer, tell))
            return lines

        yield start


def audited(home: SiteHome) -> list[Line]:
    """Give what orders left, without the chain's own keys; that the job waits stands there too."""
    with ChainedLines(home.folder / "audit.jsonl") as lines:
        chain = {"index", "previous", "utc_seconds"}
        entries = [one for one in lines.entries() if "by" in one]
        return [{k: v for k, v in one.items() if k not in chain} for one in entries]


def raw(home: SiteHome, content: bytes) -> Line:
    """Send bytes as they are, and give the answer."""
    with socket.socket(socket.AF_UNIX) as line, short_address(home.daemon_folder) as address:
        line.settimeout(20)
        line.connect(address)
        line.sendall(content)
        line.shutdown(socket.SHUT_WR)
        return order_socket.read_line(line, order_socket.MAX_ANSWER_BYTES)


def test_an_order_leaves_the_same_entry_with_a_daemon_and_without(
    asked: Asking, daemon: Daemon
) -> None:
    orders = [
        Order("refuse", asked.run), Order("approve", asked.run[:8], "main"), Order("pause"),
        Order("resume"), Order("withdraw", asked.run), Order("withdraw", asked.run),
    ]  # fmt: skip
    for order in orders:
        assert ask_daemon(asked.home, order) is not None
    by_daemon = audited(asked.home)
    (asked.home.folder / "audit.jsonl").unlink()
    (asked.home.folder / "jobs" / asked.run / "decision.json").unlink()
    for order in orders:
        carry_out(asked.home, order, by=os_user(), now=NOON)
    assert audited(asked.home) == by_daemon
    assert [line["decision"] for line in by_daemon] == [
        "refused", "approved", "paused", "resumed", "withdrawn",
    ]  # fmt: skip
    assert {line["by"] for line in by_daemon} == {os_user()}


def test_a_command_is_carried_out_by_the_daemon_where_one_runs(
    asked: Asking, daemon: Daemon, site: Site
) -> None:
    home = str(asked.home.folder)
    assert f"approved by {os_user()}" in site(["approve", asked.run[:8], "--home", home]).out
    decision = find_job(asked.home, asked.run).decision
    assert decision is not None
    assert decision.utc_seconds == NOON  # by the daemon's clock
    assert daemon.lines == [
        {"event": "order.done", "order": "approve", "by": os_user(), "run": asked.run}
    ]
    ended = site(["approve", "none-such", "--home", home])
    assert (ended.code, "no single job is meant" in ended.error) == (2, True)
    assert daemon.lines[1]["code"] == "CONFIGURATION"


def test_without_a_daemon_the_command_does_it_by_itself(
    asked: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask_daemon(asked.home, Order("pause")) is None
    with listening(asked.home, Daemon(asked.home).do, Daemon(asked.home).tell) as file:
        os.link(file, file.with_name("kept"))
    (asked.home.daemon_folder / "kept").rename(file)  # as a daemon that was killed leaves it
    assert stat.S_ISSOCK(file.stat().st_mode)
    assert ask_daemon(asked.home, Order("pause")) is None
    assert do(asked.home, Order("pause")) == {"paused": True}
    assert paused_by(asked.home) is not None


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_daemon(empty_home: SiteHome) -> None:
    with listening(empty_home, lambda order, by: {}, lambda event, **fields: None) as file:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert not file.exists()


def test_a_home_may_lie_deeper_than_an_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    home = SiteHome(deep)
    with listening(home, lambda order, by: {"order": order.do}, lambda event, **fields: None):
        assert ask_daemon(home, Order("pause")) == {"order": "pause"}


def test_who_asks_is_known_from_the_system() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert command_socket._uid_of_peer(here) == os.getuid()


def test_another_account_is_not_heard(
    empty_home: SiteHome, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Order] = []

    def answer(order: Order, by: str) -> dict[str, Any]:
        done.append(order)
        return {}

    lines = listen(answer)
    monkeypatch.setattr(command_socket, "_uid_of_peer", lambda line: os.geteuid() + 4242)
    with pytest.raises(FedwardError) as caught:
        ask_daemon(empty_home, Order("pause"))
    assert caught.value.code == "DAEMON_SILENT"
    assert done == []
    assert [line.get("code") for line in lines] == ["NOT_ALLOWED"]
    (entry,) = audited(empty_home)
    assert entry == {"order": "refused", "by": f"uid {os.geteuid() + 4242}", "code": "NOT_ALLOWED"}


def test_root_is_heard_and_stands_in_the_answer_by_its_name(
    empty_home: SiteHome, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(lambda order, by: {"by": by})
    monkeypatch.setattr(command_socket, "_uid_of_peer", lambda line: 0)
    monkeypatch.setattr("fedward_client.daemon.command_socket.os.geteuid", lambda: 4242)
    assert ask_daemon(empty_home, Order("pause")) == {"by": "root"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"pause\n",
        b"[]\n",
        b'{"do":"pause"}',
        b'{"do":"delete"}\n',
        b'{"do":"pause","by":"somebody"}\n',
        b'{"do":"approve","run":7}\n',
        b"[" * 4000 + b"\n",
        b'{"do":"approve","run":"' + b"a" * 4096 + b'"}\n',
    ],
)
def test_what_is_no_order_is_refused_and_the_next_one_is_answered(
    asked: Asking, daemon: Daemon, content: bytes
) -> None:
    answer = raw(asked.home, content)
    assert answer["error"]["code"] == "MALFORMED_MESSAGE"
    assert daemon.lines[0]["event"] == "order.refused"
    assert audited(asked.home) == []
    assert ask_daemon(asked.home, Order("pause")) == {"paused": True}


def test_an_error_crosses_with_its_words_hint_code_and_status(
    empty_home: SiteHome, listen: Listen
) -> None:
    def answer(order: Order, by: str) -> dict[str, Any]:
        raise ConfigurationError("it cannot be", hint="do otherwise", code="NOT_SO")

    listen(answer)
    with pytest.raises(FedwardError, match="it cannot be") as caught:
        ask_daemon(empty_home, Order("pause"))
    error = caught.value
    assert (error.hint, error.code, error.exit_code) == ("do otherwise", "NOT_SO", 2)


def test_the_text_of_an_error_that_nobody_expected_stays_inside(
    empty_home: SiteHome, listen: Listen, capfd: pytest.CaptureFixture[str]
) -> None:
    def answer(order: Order, by: str) -> dict[str, Any]:
        raise ValueError("NEEDLE^PATIENT")

    lines = listen(answer)
    with pytest.raises(FedwardError, match="ValueError"):
        ask_daemon(empty_home, Order("pause"))
    printed = capfd.readouterr()
    assert "NEEDLE" not in json.dumps(lines) + printed.out + printed.err


def test_a_daemon_that_ends_before_it_answers_leaves_that_to_be_looked_up(
    empty_home: SiteHome,
) -> None:
    folder = empty_home.daemon_folder
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as server, short_address(folder) as address:
        server.bind(address)
        server.listen()
        ending = threading.Thread(target=lambda: server.accept()[0].close())
        ending.start()
        with pytest.raises(FedwardError, match="is not known") as caught:
            ask_daemon(empty_home, Order("pause"))
        ending.join()
    assert caught.value.code == "DAEMON_SILENT"


def test_an_order_that_takes_long_keeps_no_other_waiting(
    empty_home: SiteHome, listen: Listen
) -> None:
    may_end, has_begun = threading.Event(), threading.Event()

    def answer(order: Order, by: str) -> dict[str, Any]:
        if order.do == "withdraw":
            has_begun.set()
            assert may_end.wait(30)
        return {"order": order.do}

    listen(answer)
    answers: list[Any] = []
    slow = threading.Thread(
        target=lambda: answers.append(ask_daemon(empty_home, Order("withdraw", "r")))
    )
    slow.start()
    assert has_begun.wait(30)
    assert ask_daemon(empty_home, Order("pause")) == {"order": "pause"}
    may_end.set()
    slow.join(30)
    assert answers == [{"order": "withdraw"}]


@pytest.mark.parametrize(
    ("code", "words"), [("", "All is well"), ("DISK_LOW", "NOT WELL: disk_space (DISK_LOW)")]
)
def test_status_shows_what_the_daemon_says_of_its_health(
    asked: Asking, site: Site, code: str, words: str
) -> None:
    there = Daemon(asked.home)

    def answer(order: Order, by: str) -> dict[str, Any]:
        return there.do(order, by) | {"health": {"conditions": {"disk_space": code, "node": ""}}}

    with listening(asked.home, answer, there.tell):
        assert words in site(["status", "--home", str(asked.home.folder)]).out
    assert there.lines == []  # looking is no order


@pytest.mark.parametrize(
    ("offset_seconds", "words"), [(600, "600 s ahead of"), (-400, "400 s behind")]
)
def test_status_says_how_far_a_clock_is_off_and_what_to_do(
    asked: Asking, site: Site, offset_seconds: int, words: str
) -> None:
    there = Daemon(asked.home)
    health = {
        "conditions": {"clock": "CLOCK_SKEW"},
        "figures": {"clock_offset_seconds": offset_seconds},
    }

    def answer(order: Order, by: str) -> dict[str, Any]:
        return there.do(order, by) | {"health": health}

    with listening(asked.home, answer, there.tell):
        shown = " ".join(site(["status", "--home", str(asked.home.folder)]).out.split())
    assert "NOT WELL: clock (CLOCK_SKEW)" in shown
    assert f"clock is {words} the coordinator's: set it right, best by NTP" in shown
