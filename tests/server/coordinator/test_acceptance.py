"""How long a run's start waits for sites that are away, paused or undecided."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from flwr.app import Message
from tests.server.coordinator.scripted_sites import (
    COORDINATOR_KEY,
    KEYS,
    Script,
    ScriptedGrid,
    question,
    reply_to,
)
from tests.tiny_federation import FakeClock, make_federation, tiny_job

from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.wire import messages
from fedward_server.coordinator.acceptance import patience_at_start, sites_needed
from fedward_server.coordinator.exchange import Answer, Exchange, Failure
from fedward_server.coordinator.waiting import Patience

ACCEPTANCE_SECONDS = 100.0
DEADLINE_SECONDS = 900.0


class Start:
    """One search for the sites of a run, and whom it waited for."""

    def __init__(self, needed: int = 2, scripts: dict[str, Script] | None = None) -> None:
        self.clock = FakeClock()
        self.waits: list[dict[str, str]] = []
        self.needed = needed
        self.scripts = scripts or {}

    def find(self) -> list[Answer | Failure]:
        roster = {site: key.verifying_key for site, key in KEYS.items()}
        exchange = Exchange(ScriptedGrid(self.scripts), COORDINATOR_KEY, roster, self.clock)
        patience = Patience(ACCEPTANCE_SECONDS, self._is_enough, self._told)
        return exchange.find_sites(question(), DEADLINE_SECONDS, patience)

    def _is_enough(self, accepted: Collection[SiteId]) -> bool:
        return len(accepted) >= self.needed

    def _told(self, sites: Mapping[SiteId, str]) -> None:
        self.waits.append({str(site): code for site, code in sites.items()})


def refuses(code: str) -> Script:
    return lambda site, request: reply_to(request, site, message=messages.Refusal(code), arrays={})


def away(_site: SiteId, _request: Message) -> None:
    return None


def test_a_paused_site_holds_a_start_up_for_the_acceptance_time_alone() -> None:
    start = Start(scripts={"birch": refuses("SITE_PAUSED")})
    found = start.find()
    assert [type(outcome) for outcome in found] == [Answer, Failure, Answer]
    assert found[1] == Failure(SiteId("birch"), "SITE_PAUSED")
    assert ACCEPTANCE_SECONDS <= start.clock.now < ACCEPTANCE_SECONDS + 12
    assert start.waits[-2:] == [{"birch": "SITE_PAUSED"}, {}]


@pytest.mark.parametrize("code", ["WAITING_FOR_APPROVAL", "ROSTER_NOT_ACCEPTED"])
def test_a_person_who_has_yet_to_decide_is_given_until_the_deadline(code: str) -> None:
    start = Start(scripts={"birch": refuses(code)})
    assert start.find()[1] == Failure(SiteId("birch"), code)
    assert DEADLINE_SECONDS <= start.clock.now < DEADLINE_SECONDS + 1


def test_an_absent_site_holds_it_up_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start()
    monkeypatch.setattr(ScriptedGrid, "get_node_ids", lambda self: [100, 102])
    found = start.find()
    assert found[1] == Failure(SiteId("birch"), "NODE_UNAVAILABLE")
    assert ACCEPTANCE_SECONDS <= start.clock.now < ACCEPTANCE_SECONDS + 1
    assert start.waits == [{"birch": "NOT_ANSWERED"}, {}]


def test_a_site_at_work_on_the_question_is_waited_for_until_the_deadline() -> None:
    """Decoding a cohort takes long; it is no reason to leave the hospital out."""
    start = Start()

    def decodes(site: SiteId, request: Message) -> Message | None:
        return reply_to(request, site) if start.clock.now > 700 else None

    start.scripts = {"birch": decodes}
    assert [type(outcome) for outcome in start.find()] == [Answer] * 3
    assert 700 < start.clock.now < 702


def test_a_site_that_decides_and_then_works_is_waited_for_as_well() -> None:
    start = Start()

    def decides_then_decodes(site: SiteId, request: Message) -> Message | None:
        if start.clock.now < 80:
            return refuses("WAITING_FOR_APPROVAL")(site, request)
        return reply_to(request, site) if start.clock.now > 400 else None

    start.scripts = {"birch": decides_then_decodes}
    assert [type(outcome) for outcome in start.find()] == [Answer] * 3
    assert 400 < start.clock.now < 402


def test_too_few_are_waited_for_until_the_deadline() -> None:
    start = Start(needed=3, scripts={"birch": refuses("SITE_PAUSED")})
    assert start.find()[1] == Failure(SiteId("birch"), "SITE_PAUSED")
    assert DEADLINE_SECONDS <= start.clock.now < DEADLINE_SECONDS + 1


def test_nobody_waits_where_everybody_accepts() -> None:
    start = Start()
    assert [type(outcome) for outcome in start.find()] == [Answer] * 3
    assert start.clock.now == 0
    assert start.waits == []


@pytest.mark.parametrize(
    ("overrides", "num_trainers", "needed"),
    [
        (["quorum.required_sites=1", "quorum.minimum_share=0.5"], 3, 2),
        (["quorum.required_sites=3", "quorum.minimum_share=0.5"], 5, 3),
        (["quorum.required_sites=1", "quorum.minimum_share=0"], 5, 1),
        (["quorum.required_sites=1", "quorum.minimum_share=0.75"], 8, 6),
    ],
)
def test_half_of_the_training_sites_are_needed_unless_the_job_says_another_share(
    overrides: list[str], num_trainers: int, needed: int
) -> None:
    assert sites_needed(job_with(*overrides), num_trainers) == needed


def job_with(*overrides: str) -> Job:
    return tiny_job(overrides=overrides)


def test_masking_needs_as_many_as_share_their_keys() -> None:
    masked = job_with(
        "secure_aggregation.enabled=true", "quorum.minimum_share=0", "quorum.required_sites=1"
    )
    assert sites_needed(masked, 5) == masked.secure_aggregation.minimum_sites


def test_a_run_that_goes_on_needs_its_share_of_those_who_accepted_it(tmp_path: Path) -> None:
    setup = make_federation(tmp_path).set_up(tmp_path / "run")
    patience = patience_at_start(setup, ("alder", "birch"), lambda _: None)
    assert patience.after_seconds == setup.job.quorum.acceptance_seconds
    assert patience.is_enough([SiteId("alder"), SiteId("birch")])
    assert not patience.is_enough([SiteId("alder"), SiteId("cedar")])
