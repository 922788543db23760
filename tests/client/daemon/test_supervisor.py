"""Children that end are started again, later each time (F21)."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_federation import FakeClock

from fedward_client.daemon.supervisor import Backoff, Child, Supervisor, code_of_end


@dataclass
class FakeChild:
    """Runs until a test says that it ended."""

    status: int | None = None
    ends_when_asked: bool = True
    asked: list[str] = field(default_factory=list)

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.asked.append("terminate")
        if self.ends_when_asked:
            self.status = -15

    def kill(self) -> None:
        self.asked.append("kill")
        self.status = -9

    def wait(self, timeout: float | None = None) -> int:
        if self.status is None:
            raise TimeoutError
        return self.status


class Watched:
    """A supervisor of a node and a task loop, with every child it started."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self.clock = FakeClock()
        self.children: dict[str, list[FakeChild]] = {"node": [], "tasks": []}
        self.lines: list[tuple[str, dict[str, object]]] = []
        starts = {name: self._starter(name) for name in self.children}
        self.ends: list[tuple[str, str]] = []
        self.supervisor = Supervisor(
            starts, self.clock, lambda: 1.0 - 1e-9, self._tell, backoff or Backoff(),
            lambda name, code: self.ends.append((name, code)),
        )  # fmt: skip
        self.supervisor.tick()

    def _starter(self, name: str):  # type: ignore[no-untyped-def]
        def start() -> Child:
            self.children[name].append(FakeChild())
            return self.children[name][-1]

        return start

    def _tell(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    def count(self, name: str) -> int:
        return len(self.children[name])

    def end(self, name: str, status: int = 1) -> None:
        self.children[name][-1].status = status
        self.supervisor.tick()

    def seconds_until_start(self, name: str) -> float:
        before, began = self.count(name), self.clock.now
        while self.count(name) == before:
            self.clock.now += 0.25
            self.supervisor.tick()
        return self.clock.now - began


def test_every_child_is_started_once_and_left_alone() -> None:
    watched = Watched()
    for _ in range(5):
        watched.clock.now += 100
        watched.supervisor.tick()
    assert (watched.count("node"), watched.count("tasks")) == (1, 1)


def test_a_child_that_ends_again_and_again_waits_longer_up_to_a_cap() -> None:
    watched = Watched(Backoff(first_seconds=1, factor=2, cap_seconds=5, steady_seconds=60))
    waits = []
    for _ in range(5):
        watched.end("node")
        waits.append(watched.seconds_until_start("node"))
    assert waits == pytest.approx([1, 2, 4, 5, 5], abs=0.26)
    assert watched.count("tasks") == 1


def test_who_ran_for_long_begins_with_the_first_wait_again() -> None:
    watched = Watched(Backoff(first_seconds=1, cap_seconds=30, steady_seconds=60))
    for _ in range(4):
        watched.end("node")
        watched.seconds_until_start("node")
    watched.clock.now += 61
    watched.end("node")
    assert watched.seconds_until_start("node") <= 1.25


def test_an_end_is_told_by_its_code() -> None:
    watched = Watched()
    watched.end("node", 0)
    event, fields = watched.lines[-1]
    assert (event, fields["child"], fields["code"]) == ("child.ended", "node", "NODE_NOT_KNOWN")
    assert watched.ends == [("node", "NODE_NOT_KNOWN")]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("node", 0, "NODE_NOT_KNOWN"),
        ("node", 1, "STATUS_1"),
        ("tasks", 0, "STATUS_0"),
        ("node", -9, "SIGNAL_9"),
        ("tasks", 1, "STATUS_1"),
    ],
)
def test_a_status_has_one_code(name: str, status: int, code: str) -> None:
    assert code_of_end(name, status) == code


def test_at_the_end_children_are_asked_first_and_killed_if_they_stay() -> None:
    watched = Watched()
    stubborn, willing = watched.children["node"][0], watched.children["tasks"][0]
    stubborn.ends_when_asked = False
    watched.supervisor.end(grace_seconds=1)
    assert stubborn.asked == ["terminate", "kill"]
    assert willing.asked == ["terminate"]


def test_a_child_that_is_already_gone_needs_no_end() -> None:
    watched = Watched()
    watched.end("node")
    watched.supervisor.end(grace_seconds=1)
    assert watched.children["node"][0].asked == []


@given(
    num_ends=st.integers(1, 10**9),
    draw=st.floats(0, 1, exclude_max=True),
    cap=st.floats(1, 3600),
)
def test_a_wait_is_at_least_half_of_the_first_and_at_most_the_cap(
    num_ends: int, draw: float, cap: float
) -> None:
    wait = Backoff(cap_seconds=cap).wait_seconds(num_ends, draw)
    assert 0.5 <= wait <= cap


def test_who_runs_can_be_asked_at_any_time() -> None:
    watched = Watched()
    assert watched.supervisor.running() == {"node": True, "tasks": True}
    watched.children["node"][0].status = 1
    assert watched.supervisor.running() == {"node": False, "tasks": True}
    watched.supervisor.tick()
    assert watched.supervisor.running() == {"node": False, "tasks": True}
