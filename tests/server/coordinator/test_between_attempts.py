"""Whose return an attempt cannot be repeated without."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from tests.masked_federation import FIVE_SITES, five_sites
from tests.tiny_federation import FakeClock, NotesObserver

from fedward_common.identities import SiteId
from fedward_common.wire.messages import SecurePurpose
from fedward_server.coordinator.between_attempts import BetweenAttempts, Missed
from fedward_server.coordinator.exchange import Exchange, Failure
from fedward_server.coordinator.waiting import Patience, waited_for
from fedward_server.simulation.in_process_grid import InTurnGrid

ALDER, BIRCH, CEDAR = SiteId("alder"), SiteId("birch"), SiteId("cedar")
CUT_OFF = Failure(BIRCH, "NODE_UNAVAILABLE")


class Waited(Exchange):
    """Waits for nobody, and keeps for whom it would have."""

    in_vain: set[SiteId]
    online: set[SiteId]

    def connected_sites(self) -> set[SiteId]:
        return self.online

    def wait_for_nodes(
        self, sites: Collection[SiteId], deadline_seconds: float, patience: Patience
    ) -> set[SiteId]:
        self.sites, self.deadline_seconds, self.patience = sites, deadline_seconds, patience
        return self.in_vain


class Between:
    """What comes between two attempts of five sites' run, of which elder does not train."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        federation = five_sites(folder).with_job("quorum.required_sites=2", *overrides)
        self.setup = federation.set_up(folder / "run")
        grid = InTurnGrid(federation.node_configs())
        keys = self.setup.roster.keys_of_sites
        self.exchange = Waited(grid, self.setup.key, keys, FakeClock())
        self.exchange.in_vain = self.exchange.online = set()
        self.observer = NotesObserver()
        self.between = BetweenAttempts(self.setup, self.exchange, self.observer.note)

    def wait(
        self,
        *failures: Failure,
        purpose: SecurePurpose = "train",
        fewest: int = 1,
        is_repeated: bool = False,
        **patients: int,
    ) -> Patience:
        accepted: dict[str, dict[str, Any]] = {
            site: {"trains": site != "elder", "patients": patients.get(site, 10)}
            for site in FIVE_SITES
        }
        self.between.wait_to_repeat(Missed(purpose, accepted, fewest, failures, is_repeated))
        return self.exchange.patience

    def is_enough(self, connected: str, *failures: Failure, back: str = "", **options: Any) -> bool:
        """Whether these are, by their first letters, of whom some were cut off and are `back`."""
        there = [SiteId(site) for site in FIVE_SITES if site[0] in connected]
        self.exchange.online = {site for site in there if site[0] not in back}
        cut_off = [site for site in FIVE_SITES if site not in self.exchange.online]
        gone = [Failure(SiteId(site), "NODE_UNAVAILABLE") for site in cut_off]
        return self.wait(*gone, *failures, **options).is_enough(there)


def test_who_is_away_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    between = Between(tmp_path, "quorum.deadline_seconds=700")
    between.exchange.online = {CEDAR}
    patience = between.wait(CUT_OFF, Failure(CEDAR, "NON_FINITE"), Failure(ALDER, "LATE"))
    assert between.exchange.sites == {"birch", "alder"}
    assert (patience.after_seconds, between.exchange.deadline_seconds) == (60, 700)


def test_who_is_waited_for_stands_in_the_folder_and_is_told_once(tmp_path: Path) -> None:
    between = Between(tmp_path)
    patience = between.wait(CUT_OFF)
    away = {BIRCH: "NODE_UNAVAILABLE", CEDAR: "NODE_UNAVAILABLE"}
    for flaps in (away, {BIRCH: away[BIRCH]}, away, {BIRCH: away[BIRCH]}):
        patience.waits(flaps)
        assert waited_for(between.setup.folder) == flaps
    assert between.observer.notes == [
        "waiting for birch (NODE_UNAVAILABLE), cedar (NODE_UNAVAILABLE)"
    ]


@pytest.mark.parametrize(
    ("connected", "is_enough"), [("ab", True), ("ae", False), ("abcd", True), ("e", False)]
)
def test_a_sum_needs_its_quorum_of_training_sites(
    tmp_path: Path, connected: str, is_enough: bool
) -> None:
    assert Between(tmp_path).is_enough(connected) is is_enough
    assert Between(tmp_path / "test").is_enough(connected, purpose="test") is is_enough


def test_and_their_share_of_the_patients(tmp_path: Path) -> None:
    between = Between(tmp_path)
    assert not between.is_enough("ab", cedar=100)
    assert between.is_enough("ac", cedar=100)


@pytest.mark.parametrize(
    ("purpose", "connected", "is_enough"),
    [
        ("train", "ab", False),
        ("train", "abe", False),
        ("train", "abc", True),
        ("validation", "abe", False),
        ("test", "abe", True),
    ],
)
def test_and_as_many_of_whom_it_asks_as_another_attempt_cannot_do_without(
    tmp_path: Path, purpose: SecurePurpose, connected: str, is_enough: bool
) -> None:
    between = Between(tmp_path)
    assert between.is_enough(connected, purpose=purpose, fewest=3) is is_enough


@pytest.mark.parametrize("code", ["NON_FINITE", "BUDGET_EXCEEDED", "UNVERIFIED_MESSAGE"])
def test_who_is_there_and_refuses_makes_nobody_superfluous_twice(tmp_path: Path, code: str) -> None:
    """It may be mended by the next attempt; after that another has to come."""
    refuses = Failure(ALDER, code)
    between = Between(tmp_path)
    assert between.is_enough("ac", refuses)
    assert not between.is_enough("ac", refuses, is_repeated=True)
    assert between.is_enough("abc", refuses, back="b", is_repeated=True)


@pytest.mark.parametrize(
    "code",
    [
        "SECAGG_MASKED_BEFORE",
        "SECAGG_TOO_FEW_SITES",
        "SECAGG_TOO_FEW_ORGANISATIONS",
        "SECAGG_ORGANISATION_TOO_LARGE",
    ],
)
def test_where_others_are_wanted_the_same_are_not_asked_again(tmp_path: Path, code: str) -> None:
    between = Between(tmp_path)
    assert not between.is_enough("acd", Failure(ALDER, code))
    assert between.is_enough("abcd", Failure(ALDER, code), back="b")


def test_for_a_sum_that_cannot_be_had_any_more_nobody_is_waited_for(tmp_path: Path) -> None:
    """The last attempt says so, and the round is left out."""
    assert Between(tmp_path).is_enough("", Failure(ALDER, "SECAGG_CLOSED"), is_repeated=True)


def test_who_was_waited_for_in_vain_is_given_a_minute_until_it_comes_back(tmp_path: Path) -> None:
    between = Between(tmp_path)
    assert not between.is_enough("a")
    between.exchange.in_vain = {SiteId(site) for site in FIVE_SITES} - {ALDER}
    between.wait(CUT_OFF)
    between.exchange.in_vain = set()
    assert between.is_enough("a")
    assert between.is_enough("ab", back="b")
    assert not between.is_enough("a")  # it was back, and went again
