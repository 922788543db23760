"""Whose return an attempt cannot be repeated without."""

from collections.abc import Collection, Sequence
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

BIRCH, CEDAR = SiteId("birch"), SiteId("cedar")


class Waited(Exchange):
    """Waits for nobody, and keeps for whom it would have."""

    def wait_for_nodes(
        self, sites: Collection[SiteId], deadline_seconds: float, patience: Patience
    ) -> bool:
        self.sites, self.deadline_seconds, self.patience = sites, deadline_seconds, patience
        return False


class Between:
    """What comes between two attempts of five sites' run, of which elder does not train."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        federation = five_sites(folder).with_job("quorum.required_sites=2", *overrides)
        self.setup = federation.set_up(folder / "run")
        grid = InTurnGrid(federation.node_configs())
        keys = self.setup.roster.keys_of_sites
        self.exchange = Waited(grid, self.setup.key, keys, FakeClock())
        self.observer = NotesObserver()
        self.between = BetweenAttempts(self.setup, self.exchange, self.observer.note)

    def wait(
        self,
        failures: Sequence[Failure] = (),
        before: Sequence[Failure] = (),
        *,
        purpose: SecurePurpose = "train",
        fewest: int = 1,
        **patients: int,
    ) -> Patience:
        accepted: dict[str, dict[str, Any]] = {
            site: {"trains": site != "elder", "patients": patients.get(site, 10)}
            for site in FIVE_SITES
        }
        missed = Missed(purpose, accepted, fewest, failures, before)
        assert not self.between.wait_to_repeat(missed)
        return self.exchange.patience

    def is_enough(self, connected: str, *failures: Sequence[Failure], **options: Any) -> bool:
        sites = [SiteId(site) for site in FIVE_SITES if site[0] in connected]
        return self.wait(*failures, **options).is_enough(sites)


def test_who_failed_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    between = Between(tmp_path, "quorum.deadline_seconds=700")
    patience = between.wait([Failure(BIRCH, "NODE_UNAVAILABLE"), Failure(CEDAR, "LATE")])
    assert between.exchange.sites == {"birch", "cedar"}
    assert (patience.after_seconds, between.exchange.deadline_seconds) == (60, 700)


def test_who_is_waited_for_stands_in_the_folder_and_is_told_once(tmp_path: Path) -> None:
    between = Between(tmp_path)
    patience = between.wait([Failure(BIRCH, "NODE_UNAVAILABLE")])
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


@pytest.mark.parametrize(
    ("now", "before", "counts"),
    [
        ("NON_FINITE", "", True),
        ("NON_FINITE", "NON_FINITE", False),
        ("UNVERIFIED_MESSAGE", "BUDGET_EXCEEDED", False),
        ("LATE", "NON_FINITE", True),
        ("SECAGG_MASKED_BEFORE", "SECAGG_MASKED_BEFORE", True),
    ],
)
def test_who_is_there_and_failed_twice_by_itself_makes_nobody_superfluous(
    tmp_path: Path, now: str, before: str, counts: bool
) -> None:
    """Or one that refuses would end a run that could wait for another."""
    failures = ([Failure(BIRCH, now)], [Failure(BIRCH, before)] if before else [])
    assert Between(tmp_path).is_enough("ab", *failures) is counts
