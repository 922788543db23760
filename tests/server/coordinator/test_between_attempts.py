"""Whose return an attempt cannot be repeated without."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from tests.masked_federation import FIVE_SITES, MASKED, five_sites
from tests.tiny_federation import FakeClock

from fedward_common.identities import SiteId
from fedward_common.wire.messages import SecurePurpose
from fedward_server.coordinator.between_attempts import BetweenAttempts, Missed
from fedward_server.coordinator.exchange import Exchange, Failure
from fedward_server.coordinator.waiting import Patience
from fedward_server.simulation.in_process_grid import InTurnGrid

ALDER, BIRCH, CEDAR = SiteId("alder"), SiteId("birch"), SiteId("cedar")
CUT_OFF = Failure(BIRCH, "NODE_UNAVAILABLE")


class Waited(Exchange):
    """Waits for nobody, and keeps for whom it would have."""

    in_vain: set[SiteId]
    online: set[SiteId]

    def away(self, sites: Collection[SiteId]) -> set[SiteId]:
        return set(sites) - self.online

    def wait_for_nodes(
        self,
        sites: Collection[SiteId],
        deadline_seconds: float,
        patience: Patience,
        briefly: Collection[SiteId] = (),
    ) -> set[SiteId]:
        self.sites, self.deadline_seconds, self.patience = sites, deadline_seconds, patience
        self.briefly = set(briefly)
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
        self.between = BetweenAttempts(self.setup, self.exchange, print)

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
    between.exchange.in_vain = {BIRCH, CEDAR}
    between.wait(CUT_OFF)
    assert between.exchange.briefly == set()
    between.exchange.in_vain = set()
    between.wait(CUT_OFF)
    assert between.exchange.briefly == {BIRCH, CEDAR}
    between.exchange.online = {BIRCH}
    between.between.begin()
    between.exchange.online = set()
    between.wait(CUT_OFF)
    assert between.exchange.briefly == {CEDAR}


def test_who_came_back_while_others_were_at_work_counts_as_back(tmp_path: Path) -> None:
    between = Between(tmp_path)
    between.exchange.online = {ALDER, BIRCH, CEDAR}
    dogwood = Failure(SiteId("dogwood"), "NODE_UNAVAILABLE")
    patience = between.wait(CUT_OFF, dogwood, is_repeated=True, fewest=3)
    assert between.exchange.sites == {"dogwood"}
    assert patience.is_enough([ALDER, BIRCH, CEDAR])


@pytest.mark.parametrize("purpose", ["validation", "test"])
def test_a_masked_evaluation_is_content_with_as_many_as_can_mask(
    tmp_path: Path, purpose: SecurePurpose
) -> None:
    open_one = Between(tmp_path / "open", "quorum.required_sites=4")
    masked = Between(tmp_path / "masked", "quorum.required_sites=4", MASKED)
    assert not open_one.is_enough("abc", purpose=purpose, fewest=3)
    assert masked.is_enough("abc", purpose=purpose, fewest=3)
    assert not masked.is_enough("abc", purpose="train", fewest=3)
