"""One question to three scripted sites: whatever is wrong with one answer, the others count."""

import dataclasses
import weakref
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from tests.server.coordinator.scripted_sites import (
    COORDINATOR_KEY,
    DEADLINE_SECONDS,
    FIRST_NODE,
    KEYS,
    NODES,
    ComingGrid,
    Script,
    ScriptedGrid,
    ask,
    changed,
    exchange_over,
    question,
    reply_to,
)
from tests.tiny_federation import SITES, FakeClock

from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import StoppedError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire import messages
from fedward_common.wire.envelope import verify_envelope
from fedward_common.wire.flower_records import (
    array_record,
    envelope_of,
    records_of,
)
from fedward_server.coordinator.exchange import Answer, Exchange, Failure
from fedward_server.coordinator.waiting import Patience


def test_answers_come_in_the_order_of_the_sites_with_their_arrays() -> None:
    answers = ask({})
    assert [answer.site for answer in answers] == list(SITES)
    for answer in answers:
        assert isinstance(answer, Answer)
        assert answer.message == messages.TrainReply(2)
        np.testing.assert_array_equal(answer.arrays["update"], [0, 1, 2, 3])


def test_an_answer_that_its_caller_dropped_is_gone_when_the_next_one_is_pulled() -> None:
    vectors: list[weakref.ref[Any]] = []
    living: list[int] = []

    def counting(site: SiteId, request: Message) -> Message:
        living.append(sum(vector() is not None for vector in vectors))
        return reply_to(request, site)

    exchange, _ = exchange_over(dict.fromkeys(SITES, counting))
    for answer in exchange.ask(question(), list(KEYS), DEADLINE_SECONDS):
        assert isinstance(answer, Answer)
        vectors.append(weakref.ref(answer.arrays["update"]))
        del answer
    assert living == [0, 0, 0]


def test_a_request_is_signed_for_its_one_recipient() -> None:
    exchange, grid = exchange_over({})
    list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert [site for site, _ in grid.requests] == list(KEYS)
    for site, request in grid.requests:
        envelope, arrays = envelope_of(request.content)
        header = verify_envelope(envelope, arrays, lambda _: COORDINATOR_KEY.verifying_key)
        assert (header.sender, header.recipient) == (COORDINATOR, site)
        assert (header.round, header.attempt, header.run) == (3, 2, "run1")
        assert request.metadata.message_type == "train.round"


def test_a_late_site_is_named_at_the_deadline_and_the_others_count() -> None:
    clock = FakeClock()
    outcomes = ask({"birch": lambda site, request: None}, clock)
    assert outcomes[1] == Failure(SiteId("birch"), "LATE")
    assert [type(outcome) for outcome in outcomes] == [Answer, Failure, Answer]
    assert clock.now == pytest.approx(DEADLINE_SECONDS, abs=ScriptedGrid.poll_seconds)


def test_several_late_sites_share_one_deadline() -> None:
    clock = FakeClock()
    outcomes = ask(dict.fromkeys(SITES, lambda site, request: None), clock)
    assert outcomes == [Failure(SiteId(site), "LATE") for site in SITES]
    assert clock.now == pytest.approx(DEADLINE_SECONDS, abs=ScriptedGrid.poll_seconds)


def test_a_site_that_takes_its_time_before_the_deadline_counts() -> None:
    clock = FakeClock()

    def slow(site: SiteId, request: Message) -> Message | None:
        return reply_to(request, site) if clock.now > 20 else None

    assert [type(outcome) for outcome in ask({"alder": slow}, clock)] == [Answer] * 3


def test_an_answer_to_an_earlier_request_is_a_replay() -> None:
    exchange, grid = exchange_over({})
    list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    (earlier,) = [request for site, request in grid.requests if site == "birch"]
    replayed = reply_to(earlier, SiteId("birch"))
    grid.scripts = {"birch": lambda site, request: replayed}
    # Another question of the same round: the header differs, so the answer does not belong to it.
    again = dataclasses.replace(question(), message=messages.TrainRound(evaluate=True))
    outcomes = list(exchange.ask(again, list(KEYS), DEADLINE_SECONDS))
    assert outcomes[1] == Failure(SiteId("birch"), "REPLAY")
    assert isinstance(outcomes[2], Answer)


def test_an_answer_of_another_site_is_not_taken_for_this_ones() -> None:
    outcomes = ask({"birch": lambda site, request: reply_to(request, SiteId("cedar"))})
    assert outcomes[1] == Failure(SiteId("birch"), "UNVERIFIED_MESSAGE")


def _with_flipped_array(site: SiteId, request: Message) -> Message:
    reply = reply_to(request, site)
    envelope, _ = envelope_of(reply.content)
    other = array_record({"update": np.array([0, 1, 2, 4], dtype=np.float32)})
    return Message(records_of(envelope, other), reply_to=request)


def _with_records(records: dict[str, ConfigRecord | ArrayRecord]) -> Script:
    return lambda site, request: Message(RecordDict(dict(records)), reply_to=request)


def _noise(header: bytes) -> Script:
    fields = ConfigRecord({"header": header, "body": b"", "signature": b"\0" * 64})
    return _with_records({"envelope": fields, "arrays": ArrayRecord()})


def _with_array(array: Array) -> Script:
    def script(site: SiteId, request: Message) -> Message:
        envelope, _ = envelope_of(reply_to(request, site).content)
        return Message(records_of(envelope, ArrayRecord({"update": array})), reply_to=request)

    return script


def _link_error(reason: str | None) -> Script:
    return lambda site, request: Message(Error(code=1, reason=reason), reply_to=request)


WRONG: dict[str, tuple[Script, str]] = {
    "signed with another key": (changed(key=SigningKey.generate()), "UNVERIFIED_MESSAGE"),
    "of a site nobody knows": (changed(sender="dogwood"), "UNVERIFIED_MESSAGE"),
    "for somebody else": (changed(recipient="alder"), "UNVERIFIED_MESSAGE"),
    "of another round": (changed(round=2), "UNVERIFIED_MESSAGE"),
    "of another attempt": (changed(attempt=1), "UNVERIFIED_MESSAGE"),
    "of another run": (changed(run="run2"), "UNVERIFIED_MESSAGE"),
    "of another consortium": (changed(consortium="other"), "UNVERIFIED_MESSAGE"),
    "under another manifest": (changed(manifest_sha256="cd" * 32), "UNVERIFIED_MESSAGE"),
    "to another request": (changed(in_reply_to="ef" * 32), "REPLAY"),
    "of an unknown kind": (changed(kind="train.gossip"), "MALFORMED_MESSAGE"),
    "with another kind's body": (changed(kind="manifest.reply"), "MALFORMED_MESSAGE"),
    "with a flipped weight": (_with_flipped_array, "UNVERIFIED_MESSAGE"),
    "without records": (_with_records({}), "MALFORMED_MESSAGE"),
    "with a foreign record": (_with_records({"x": ConfigRecord({"y": 1})}), "MALFORMED_MESSAGE"),
    "whose header is noise": (_noise(b"\xff\x00\x13"), "MALFORMED_MESSAGE"),
    "whose header is empty": (_noise(b""), "MALFORMED_MESSAGE"),
    "with an array that claims another size": (
        _with_array(Array("float32", (1 << 40,), "fedward.raw-le", b"\0" * 16)),
        "MALFORMED_MESSAGE",
    ),
    "with a pickled array": (
        _with_array(Array("float32", (4,), "pickle", b"\0" * 16)),
        "MALFORMED_MESSAGE",
    ),
    "that is a refusal": (changed(message=messages.Refusal("DISK_FULL"), arrays={}), "DISK_FULL"),
    "that is a refusal in words": (
        changed(message=messages.Refusal("Schmidt^Anna has no label"), arrays={}),
        "MALFORMED_MESSAGE",
    ),
    "that is a link error": (_link_error("Node Unavailable"), "NODE_UNAVAILABLE"),
    "that is a link error without a reason": (_link_error(None), "NODE_UNAVAILABLE"),
    "that is a link error with a code": (_link_error("WORKER_DIED"), "WORKER_DIED"),
    "that is a link error of great length": (_link_error("A" * 10_000), "NODE_UNAVAILABLE"),
}


@pytest.mark.parametrize(("script", "code"), WRONG.values(), ids=WRONG)
def test_an_unusable_answer_is_a_code_and_the_others_go_on(script: Script, code: str) -> None:
    outcomes = ask({"birch": script})
    assert outcomes[1] == Failure(SiteId("birch"), code)
    assert [type(outcome) for outcome in outcomes] == [Answer, Failure, Answer]


def test_a_site_that_was_never_found_fails_when_it_is_asked() -> None:
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    grid = ScriptedGrid({"birch": lambda site, request: None})
    exchange = Exchange(grid, COORDINATOR_KEY, roster, FakeClock())
    exchange.find_sites(question(), DEADLINE_SECONDS)
    outcomes = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert outcomes[1] == Failure(SiteId("birch"), "NODE_UNAVAILABLE")
    assert [type(outcome) for outcome in outcomes] == [Answer, Failure, Answer]


def test_a_site_that_was_removed_is_asked_nothing_more_and_not_waited_for() -> None:
    clock = FakeClock()
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    grid = ScriptedGrid({})
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    exchange.find_sites(question(), DEADLINE_SECONDS)
    grid.requests.clear()
    del roster[SiteId("birch")]
    outcomes = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert outcomes[1] == Failure(SiteId("birch"), "NOT_IN_ROSTER")
    assert [type(outcome) for outcome in outcomes] == [Answer, Failure, Answer]
    assert "birch" not in {site for site, _ in grid.requests}
    assert clock.now == 0


def test_a_site_that_is_removed_while_it_is_asked_counts_no_longer() -> None:
    clock = FakeClock()
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    grid = ScriptedGrid({})
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    exchange.find_sites(question(), DEADLINE_SECONDS)

    def removes_birch(site: SiteId, request: Message) -> Message:
        roster.pop(SiteId("birch"), None)
        return reply_to(request, site)

    grid.scripts = {"alder": removes_birch}
    outcomes = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert outcomes[1] == Failure(SiteId("birch"), "NOT_IN_ROSTER")
    assert isinstance(outcomes[2], Answer)


def test_a_message_to_a_node_that_is_gone_fails_at_once() -> None:
    clock = FakeClock()
    here = set(NODES)
    grid = ComingGrid(clock, lambda now: here)
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    exchange.find_sites(question(), DEADLINE_SECONDS)
    here.discard(FIRST_NODE)
    before = clock.now
    outcomes = list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
    assert outcomes[0] == Failure(SiteId(SITES[0]), "NODE_UNAVAILABLE")
    assert clock.now == before


# -- between two attempts --------------------------------------------------------------------------

BIRCH = SiteId("birch")
A_MINUTE, DEADLINE = 60.0, 900.0


@dataclasses.dataclass
class Wait:
    """For birch, whose node is away until a time, and how it went.

    Attributes:
        is_enough: Whether the others suffice.
        waits: Who was told to be waited for, each time that changed.
        in_vain: Who was waited for in vain.
        briefly: Who is given a minute.
    """

    back_at_seconds: float = 1e9
    is_enough: bool = False
    sites: tuple[SiteId, ...] = (BIRCH,)
    waits: list[dict[SiteId, str]] = dataclasses.field(default_factory=list)
    asked_of: list[set[SiteId]] = dataclasses.field(default_factory=list)
    in_vain: set[SiteId] | None = None
    briefly: tuple[SiteId, ...] = ()

    def seconds(self, deadline_seconds: float = DEADLINE) -> float:
        """Wait, and give how long that took."""
        clock = FakeClock()
        grid = ComingGrid(clock, self._online)
        roster = {site: key.verifying_key for site, key in KEYS.items()}
        exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
        exchange.find_sites(question(), DEADLINE_SECONDS)
        clock.now = 1000.0
        patience = Patience(A_MINUTE, self._enough, lambda sites: self.waits.append(dict(sites)))
        self.in_vain = exchange.wait_for_nodes(self.sites, deadline_seconds, patience, self.briefly)
        return clock.now - 1000.0

    def _online(self, now: float) -> set[int]:
        is_away = 1000.0 <= now < 1000.0 + self.back_at_seconds
        return {node for node, site in NODES.items() if not (is_away and site == BIRCH)}

    def _enough(self, there: Collection[SiteId]) -> bool:
        self.asked_of.append(set(there))
        return self.is_enough


@pytest.mark.parametrize("is_enough", [True, False])
def test_everybody_is_waited_for_who_is_back_within_a_minute(is_enough: bool) -> None:
    wait = Wait(back_at_seconds=20, is_enough=is_enough)
    assert 20 <= wait.seconds() < 21
    assert wait.waits == [{"birch": "NODE_UNAVAILABLE"}, {}]
    assert not wait.asked_of
    assert wait.in_vain == set()


def test_after_that_nobody_is_waited_for_where_the_others_suffice() -> None:
    wait = Wait(is_enough=True)
    assert 60 <= wait.seconds() < 61
    assert wait.asked_of == [{"alder", "cedar"}]
    assert wait.in_vain == set()


def test_nor_where_those_that_are_away_are_given_no_more() -> None:
    wait = Wait(briefly=(BIRCH, SiteId("cedar")))
    assert 60 <= wait.seconds() < 61
    assert wait.in_vain == set()
    assert 20 <= Wait(briefly=(BIRCH,), back_at_seconds=20).seconds() < 21


def test_who_is_away_is_said_of_the_roster_alone() -> None:
    exchange, _ = exchange_over({})
    assert exchange.away([SiteId("nobody"), *KEYS]) == set()
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(
        ComingGrid(FakeClock(), lambda _: set()), COORDINATOR_KEY, roster, FakeClock()
    )
    assert exchange.away([SiteId("nobody"), BIRCH]) == {"birch"}


def test_where_they_do_not_a_cut_of_five_minutes_is_waited_out() -> None:
    wait = Wait(back_at_seconds=300)
    assert 300 <= wait.seconds() < 301
    assert wait.in_vain == set()


@pytest.mark.parametrize(("deadline", "waited"), [(900, 900), (30, 60)])
def test_nobody_is_waited_for_beyond_the_deadline_or_a_minute(
    deadline: float, waited: float
) -> None:
    wait = Wait()
    assert waited <= wait.seconds(deadline) < waited + 1
    assert wait.in_vain == {"birch"}
    assert wait.waits[-1] == {}


@pytest.mark.parametrize("sites", [(), (SiteId("alder"),), (SiteId("nobody"),)])
def test_nobody_is_waited_for_who_is_there_or_in_no_roster(sites: tuple[SiteId, ...]) -> None:
    wait = Wait(sites=sites)
    assert wait.seconds() == 0
    assert not wait.waits
    assert wait.in_vain == set()


def test_a_wait_that_is_broken_off_leaves_nobody_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stops(clock: FakeClock, seconds: float) -> None:
        raise StoppedError("a person stopped it")

    wait = Wait()
    monkeypatch.setattr(FakeClock, "sleep", stops)
    with pytest.raises(StoppedError):
        wait.seconds()
    assert wait.waits == [{"birch": "NODE_UNAVAILABLE"}, {}]


def test_a_site_that_was_never_found_is_found_while_it_is_waited_for() -> None:
    """As where the coordinator was killed while the site was cut off."""
    clock = FakeClock()
    grid = ComingGrid(clock, lambda now: set(NODES) - ({FIRST_NODE} if now < 500 else set()))
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock)
    exchange.find_sites(question(), 100)
    alder = SiteId(SITES[0])
    patience = Patience(A_MINUTE, lambda _: False, lambda _: None)
    exchange.wait_for_nodes([alder], DEADLINE, patience)
    assert 500 <= clock.now < 502
    (answer,) = exchange.ask(question(), [alder], DEADLINE_SECONDS)
    assert isinstance(answer, Answer)
