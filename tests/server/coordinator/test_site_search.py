"""Which of three scripted sites sits where, whoever comes late, twice or not at all."""

import pytest
from flwr.app import Error, Message
from tests.server.coordinator.scripted_sites import (
    COORDINATOR_KEY,
    DEADLINE_SECONDS,
    FIRST_NODE,
    KEYS,
    NODES,
    ComingGrid,
    LosingGrid,
    Script,
    ScriptedGrid,
    changed,
    question,
    reply_to,
)
from tests.tiny_federation import SITES, FakeClock

from fedward_common.identities import SiteId
from fedward_common.wire import messages
from fedward_server.coordinator.exchange import Answer, Exchange, Failure


def find(scripts: dict[str, Script]) -> list[Answer | Failure]:
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(ScriptedGrid(scripts), COORDINATOR_KEY, roster, FakeClock())
    return exchange.find_sites(question(), DEADLINE_SECONDS)


def test_sites_are_found_by_who_signs_not_by_node() -> None:
    swapped = {
        "alder": lambda site, request: reply_to(request, SiteId("birch")),
        "birch": lambda site, request: reply_to(request, SiteId("alder")),
    }
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    grid = ScriptedGrid(dict(swapped))
    exchange = Exchange(grid, COORDINATOR_KEY, roster, FakeClock())
    found = exchange.find_sites(question(), DEADLINE_SECONDS)
    assert [outcome.site for outcome in found] == list(SITES)
    answers = list(exchange.ask(question(), [SiteId("alder")], DEADLINE_SECONDS))
    assert [type(answer) for answer in answers] == [Answer]
    assert grid.requests[-1][0] == "birch"  # the node where alder sits


def test_a_site_that_no_node_answers_for_is_unavailable() -> None:
    found = find({"birch": lambda site, request: None})
    assert found[1] == Failure(SiteId("birch"), "NODE_UNAVAILABLE")


def test_two_nodes_of_one_site_are_both_refused() -> None:
    found = find({"birch": lambda site, request: reply_to(request, SiteId("alder"))})
    assert found[0] == Failure(SiteId("alder"), "SITE_ANSWERED_TWICE")
    assert found[1] == Failure(SiteId("birch"), "NODE_UNAVAILABLE")


def test_a_refusal_at_the_start_names_its_site() -> None:
    found = find({"birch": changed(message=messages.Refusal("E_COHORT_EMPTY"), arrays={})})
    assert found[1] == Failure(SiteId("birch"), "E_COHORT_EMPTY")


NOT_YET = ["WAITING_FOR_APPROVAL", "ROSTER_NOT_ACCEPTED", "SITE_PAUSED"]


@pytest.mark.parametrize("code", NOT_YET)
def test_a_site_where_somebody_has_yet_to_decide_is_asked_again_until_it_comes_in(
    code: str,
) -> None:
    clock, asked = FakeClock(), []

    def decides_late(site: SiteId, request: Message) -> Message:
        asked.append(clock.now)
        message = messages.TrainReply(2) if clock.now > 20 else messages.Refusal(code)
        return reply_to(request, site, message=message, arrays={})

    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(ScriptedGrid({"birch": decides_late}), COORDINATOR_KEY, roster, clock)
    found = exchange.find_sites(question(), DEADLINE_SECONDS)
    assert [type(outcome) for outcome in found] == [Answer] * 3
    assert 20 < clock.now < DEADLINE_SECONDS
    assert 4 <= len(asked) <= 6  # every few seconds, not at each poll
    assert isinstance(next(exchange.ask(question(), [SiteId("birch")], 1.0)), Answer)


@pytest.mark.parametrize("code", NOT_YET)
def test_a_site_that_has_not_decided_by_the_deadline_is_named_by_its_code(code: str) -> None:
    found = find({"birch": changed(message=messages.Refusal(code), arrays={})})
    assert found[1] == Failure(SiteId("birch"), code)
    assert [type(outcome) for outcome in found] == [Answer, Failure, Answer]


def found_by(grid: ComingGrid, clock: FakeClock) -> list[Answer | Failure]:
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    return exchange.find_sites(question(), DEADLINE_SECONDS)


def test_a_node_that_connects_late_is_asked_when_it_comes() -> None:
    clock = FakeClock()
    late = {FIRST_NODE + 1: 12.0, FIRST_NODE + 2: 20.0}
    grid = ComingGrid(clock, lambda now: {n for n in NODES if now >= late.get(n, 0)})
    assert all(isinstance(outcome, Answer) for outcome in found_by(grid, clock))
    assert 20 <= clock.now < 21


def test_who_has_not_come_by_the_deadline_is_not_available() -> None:
    clock = FakeClock()
    grid = ComingGrid(clock, lambda now: {FIRST_NODE})
    first, *others = found_by(grid, clock)
    assert isinstance(first, Answer)
    assert [other.code for other in others if isinstance(other, Failure)] == [
        "NODE_UNAVAILABLE",
        "NODE_UNAVAILABLE",
    ]
    assert DEADLINE_SECONDS <= clock.now < DEADLINE_SECONDS + 1


def test_a_node_that_went_before_it_answered_is_asked_again() -> None:
    clock = FakeClock()
    grid = ComingGrid(clock, lambda now: set(NODES))

    def goes_once(site: SiteId, request: Message) -> Message:
        grid.scripts = {}
        return Message(Error(code=1, reason="Node Unavailable"), reply_to=request)

    grid.scripts = {SiteId(SITES[0]): goes_once}
    assert all(isinstance(outcome, Answer) for outcome in found_by(grid, clock))
    assert [site for site, _ in grid.requests].count(SiteId(SITES[0])) == 2


def test_a_stranger_that_never_answers_holds_up_nobody() -> None:
    clock = FakeClock()
    stranger = 999
    grid = ComingGrid(clock, lambda now: {*NODES, stranger})
    grid.scripts = {SiteId("stranger"): lambda site, request: None}
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(NODES, stranger, SiteId("stranger"))
        outcomes = found_by(grid, clock)
    assert [outcome.site for outcome in outcomes] == list(SITES)
    assert clock.now < 1


def test_a_query_that_was_lost_is_asked_again_and_no_deadline_waited_out() -> None:
    clock, grid = FakeClock(), LosingGrid(birch=2)
    grid.scripts = {SiteId("birch"): grid.lose}
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    found = exchange.find_sites(question(), DEADLINE_SECONDS)
    assert [type(outcome) for outcome in found] == [Answer] * 3
    assert clock.now < 5
    assert isinstance(next(exchange.ask(question(), [SiteId("birch")], 1.0)), Answer)


def asked_later(grid: ScriptedGrid, clock: FakeClock, *, after_seconds: float) -> list[list[str]]:
    """Find sites, then ask all twice some time later; give who answered each time."""
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    exchange.find_sites(question(), DEADLINE_SECONDS)
    clock.sleep(after_seconds)
    answered = []
    for _ in range(2):
        outcomes = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
        answered.append([str(o.site) for o in outcomes if isinstance(o, Answer)])
    return answered


def test_a_site_that_was_away_when_the_run_went_on_is_asked_from_the_next_question_on() -> None:
    clock = FakeClock()
    away = FIRST_NODE + 1
    grid = ComingGrid(clock, lambda now: {n for n in NODES if n != away or now >= 100})
    assert asked_later(grid, clock, after_seconds=100) == [list(SITES), list(SITES)]


def test_a_site_that_stays_away_costs_no_time() -> None:
    clock = FakeClock()
    grid = ComingGrid(clock, lambda now: set(NODES) - {FIRST_NODE + 1})
    assert asked_later(grid, clock, after_seconds=0) == [["alder", "cedar"]] * 2
    assert clock.now < DEADLINE_SECONDS + 1


def test_a_site_that_was_paused_is_asked_once_it_goes_on() -> None:
    clock, grid = FakeClock(), ScriptedGrid({})
    paused = changed(message=messages.Refusal("SITE_PAUSED"), arrays={})
    grid.scripts = {
        SiteId("birch"): lambda site, request: (
            paused(site, request) if clock.now < 50 else reply_to(request, site)
        )
    }
    assert asked_later(grid, clock, after_seconds=60)[-1] == list(SITES)


def test_a_second_node_of_a_site_that_was_found_takes_nothing_from_the_first() -> None:
    clock, twin = FakeClock(), 999
    away = FIRST_NODE + 1
    nodes = {n for n in NODES if n != away}
    grid = ComingGrid(clock, lambda now: nodes | ({twin} if now >= 100 else set()))
    grid.scripts = {SiteId("twin"): lambda site, request: reply_to(request, SiteId("alder"))}
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(NODES, twin, SiteId("twin"))
        asked_later(grid, clock, after_seconds=100)
    assert [site for site, _ in grid.requests].count(SiteId("twin")) == 1
    assert [site for site, _ in grid.requests[-2:]] == [SiteId("alder"), SiteId("cedar")]
