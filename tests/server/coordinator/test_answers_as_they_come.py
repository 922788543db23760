"""Answers in the order in which they come, over a Grid that can tell whose is there."""

import pytest
from tests.server.coordinator.scripted_sites import (
    COORDINATOR_KEY,
    DEADLINE_SECONDS,
    KEYS,
    TellingGrid,
    exchange_over,
    question,
)
from tests.tiny_federation import SITES, FakeClock

from fedward_common.crypto.signing import VerifyingKey
from fedward_common.identities import SiteId
from fedward_server.coordinator.exchange import Answer, Exchange, Failure


class ForgetfulGrid(TellingGrid):
    """Tells who answered, and may lose messages."""

    def is_lost(self, message_id: str) -> bool:
        return False


def telling_exchange(
    kind: type[TellingGrid] = TellingGrid, /, **ready_seconds: float
) -> tuple[Exchange, TellingGrid, dict[SiteId, VerifyingKey]]:
    """Give an exchange over a Grid that tells who answered, and the roster, which may shrink."""
    clock = FakeClock()
    grid = kind(clock)
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    exchange.find_sites(question(), DEADLINE_SECONDS)
    grid.ready_seconds = ready_seconds
    return exchange, grid, roster


def ask_as_they_come(exchange: Exchange) -> list[Answer | Failure]:
    asked = dict.fromkeys(KEYS, question())
    return list(exchange.ask_each(asked, DEADLINE_SECONDS, as_they_come=True))


def test_answers_are_given_as_they_come_to_whoever_wants_them_so() -> None:
    exchange, grid, _ = telling_exchange(alder=3.0, birch=2.0, cedar=1.0)
    outcomes = ask_as_they_come(exchange)
    assert [outcome.site for outcome in outcomes] == list(reversed(SITES))
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert [site for site, _ in grid.requests[-3:]] == list(reversed(SITES))


def test_whoever_wants_them_in_order_waits_for_the_first_though_others_are_there() -> None:
    exchange, _, _ = telling_exchange(alder=3.0)
    outcomes = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert [outcome.site for outcome in outcomes] == list(SITES)


def test_where_nobody_can_tell_who_is_first_answers_come_in_order() -> None:
    exchange, _ = exchange_over({})
    assert [outcome.site for outcome in ask_as_they_come(exchange)] == list(SITES)


def test_a_site_that_is_late_does_not_keep_the_others_from_being_given_as_they_come() -> None:
    exchange, grid, _ = telling_exchange(alder=10 * DEADLINE_SECONDS, cedar=1.0)
    outcomes = ask_as_they_come(exchange)
    assert [outcome.site for outcome in outcomes] == ["birch", "cedar", "alder"]
    assert outcomes[-1] == Failure(SiteId("alder"), "LATE")
    assert grid.clock.now == pytest.approx(DEADLINE_SECONDS, abs=1.0)


def test_who_left_the_roster_is_not_waited_for_as_they_come() -> None:
    exchange, grid, roster = telling_exchange(alder=10 * DEADLINE_SECONDS)
    outcomes = []
    for outcome in exchange.ask_each(
        dict.fromkeys(KEYS, question()), DEADLINE_SECONDS, as_they_come=True
    ):
        roster.pop(SiteId("alder"), None)
        outcomes.append(outcome)
    assert outcomes[1] == Failure(SiteId("alder"), "NOT_IN_ROSTER")
    assert grid.clock.now < 1.0


def test_late_sites_share_one_deadline_as_they_come() -> None:
    exchange, grid, _ = telling_exchange(**dict.fromkeys(SITES, 10 * DEADLINE_SECONDS))
    assert ask_as_they_come(exchange) == [Failure(SiteId(site), "LATE") for site in SITES]
    # One more look for each, and no wait before it.
    assert grid.clock.now == pytest.approx(DEADLINE_SECONDS + 0.2 * len(SITES), abs=0.21)


def test_over_a_grid_that_may_lose_messages_each_is_waited_for_in_order() -> None:
    """Whoever waits for the first of many sends nothing again."""
    exchange, _, _ = telling_exchange(ForgetfulGrid, alder=3.0)
    assert [outcome.site for outcome in ask_as_they_come(exchange)] == list(SITES)
