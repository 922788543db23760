"""What is lost between coordinator and site is sent again, and the first answer counts."""

from collections.abc import Iterable

import pytest
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from tests.server.coordinator.scripted_sites import (
    COORDINATOR_KEY,
    DEADLINE_SECONDS,
    KEYS,
    NODES,
    LosingGrid,
    ScriptedGrid,
    honest,
    question,
    reply_to,
)
from tests.tiny_federation import FakeClock

from fedward_common.identities import SiteId
from fedward_common.wire.envelope import Envelope
from fedward_common.wire.flower_records import envelope_of
from fedward_server.coordinator.exchange import Answer, Exchange, Failure


def exchange_that_loses(clock: FakeClock, **times: int) -> tuple[Exchange, LosingGrid]:
    grid = LosingGrid()
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    exchange.find_sites(question(), DEADLINE_SECONDS)
    grid.times, grid.scripts = times, dict.fromkeys(times, grid.lose)
    grid.requests.clear()
    return exchange, grid


def envelopes_to(grid: LosingGrid, site: str) -> list[Envelope]:
    came = [request for to, request in grid.requests if to == site]
    lost = [request for request in grid.lost if NODES[request.metadata.dst_node_id] == site]
    return [envelope_of(request.content)[0] for request in (*lost, *came)]


@pytest.mark.parametrize("times", [1, 3])
def test_what_was_lost_is_sent_again_with_the_same_bytes(times: int) -> None:
    clock = FakeClock()
    exchange, grid = exchange_that_loses(clock, birch=times)
    answers = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert [type(answer) for answer in answers] == [Answer] * 3
    assert clock.now < 5
    first, *others = envelopes_to(grid, "birch")
    assert others == [first] * times


def test_what_is_lost_again_and_again_is_late_at_the_deadline() -> None:
    clock = FakeClock()
    exchange, grid = exchange_that_loses(clock, birch=100)
    outcomes = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert outcomes[1] == Failure(SiteId("birch"), "LATE")
    assert [type(outcome) for outcome in outcomes] == [Answer, Failure, Answer]
    assert len(grid.lost) == 4
    assert clock.now == pytest.approx(DEADLINE_SECONDS, abs=ScriptedGrid.poll_seconds)


def test_what_one_site_lost_is_sent_again_while_another_is_waited_for() -> None:
    """Else a site that is late would cost those after it their place in the round."""
    clock = FakeClock()
    exchange, grid = exchange_that_loses(clock)
    pushed_at: list[tuple[SiteId, float]] = []
    push = grid.push_messages

    def push_noted(messages: Iterable[Message]) -> list[str]:
        pushed = list(messages)
        pushed_at.extend((NODES[m.metadata.dst_node_id], clock.now) for m in pushed)
        return push(pushed)

    def slow(site: SiteId, request: Message) -> Message | None:
        if not grid.lost:  # cedar's node was given its message, and asks for more
            (of_cedar,) = (
                m for m in grid._waiting.values() if NODES[m.metadata.dst_node_id] == "cedar"
            )
            grid.lost.append(of_cedar)
        return reply_to(request, site) if clock.now > 20 else None

    grid.push_messages = push_noted  # type: ignore[method-assign]
    grid.scripts["alder"] = slow
    answers = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert [type(answer) for answer in answers] == [Answer] * 3
    assert pushed_at[3:] == [(SiteId("cedar"), ScriptedGrid.poll_seconds)]


def test_who_takes_long_and_lost_nothing_is_asked_once() -> None:
    clock = FakeClock()
    exchange, grid = exchange_that_loses(clock)
    grid.scripts["birch"] = lambda site, request: (
        reply_to(request, site) if clock.now > 25 else None
    )
    assert all(
        isinstance(outcome, Answer)
        for outcome in exchange.ask(question(), list(KEYS), DEADLINE_SECONDS)
    )
    assert len(envelopes_to(grid, "birch")) == 1


def test_an_answer_that_the_link_has_only_in_part_is_asked_for_again() -> None:
    clock = FakeClock()
    exchange, grid = exchange_that_loses(clock)

    def cut_short(site: SiteId, request: Message) -> Message:
        grid.scripts = {}
        error = Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason="objects are unavailable")
        return Message(error, reply_to=request)

    grid.scripts["birch"] = cut_short
    answers = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert [type(answer) for answer in answers] == [Answer] * 3
    first, second = envelopes_to(grid, "birch")
    assert first == second


class LateGrid(LosingGrid):
    """An answer to a message that was thought lost comes after all, and is the only one."""

    def _forget_older(self, node: int) -> None:
        """Keep it: Flower does."""

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        for message_id in message_ids:
            if self.is_lost(message_id) and len(self._waiting) > 1:
                request = self._waiting.pop(message_id)
                return [honest(NODES[request.metadata.dst_node_id], request)]
        return super().pull_messages(message_ids)


def test_the_first_answer_counts_to_whichever_of_the_messages() -> None:
    clock, grid = FakeClock(), LateGrid()
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    exchange.find_sites(question(), DEADLINE_SECONDS)
    grid.times = {"birch": 1}
    grid.scripts = {"birch": grid.lose}
    (answer,) = exchange.ask(question(), [SiteId("birch")], DEADLINE_SECONDS)
    assert isinstance(answer, Answer)
    assert len(grid.lost) == 1
