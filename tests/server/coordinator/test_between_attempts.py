"""Whose return an attempt cannot be repeated without."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from tests.masked_federation import FIVE_SITES, MASKED, five_sites
from tests.tiny_federation import FakeClock, NotesObserver

from fedward_common.identities import SiteId
from fedward_common.wire.messages import SecurePurpose
from fedward_server.coordinator.acceptance import EarlyStart, waited_for
from fedward_server.coordinator.between_attempts import BetweenAttempts
from fedward_server.coordinator.exchange import Exchange, Failure
from fedward_server.simulation.in_process_grid import InTurnGrid

BIRCH = SiteId("birch")


class Waited(Exchange):
    """Waits for nobody, and keeps for whom it would have."""

    def wait_for_nodes(
        self, sites: Collection[SiteId], deadline_seconds: float, early: EarlyStart
    ) -> None:
        self.sites, self.deadline_seconds, self.early = sites, deadline_seconds, early


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

    def wait(self, purpose: SecurePurpose, *failures: Failure, **patients: int) -> EarlyStart:
        accepted: dict[str, dict[str, Any]] = {
            site: {"trains": site != "elder", "patients": patients.get(site, 10)}
            for site in FIVE_SITES
        }
        self.between.wait_to_repeat(purpose, accepted, failures)
        return self.exchange.early

    def is_enough(self, purpose: SecurePurpose, connected: str, **patients: int) -> bool:
        sites = [site for site in FIVE_SITES if site[0] in connected]
        return self.wait(purpose, **patients).is_enough([SiteId(site) for site in sites])


def test_only_those_are_waited_for_whose_nodes_were_gone(tmp_path: Path) -> None:
    between = Between(tmp_path, "quorum.deadline_seconds=700")
    early = between.wait(
        "train", Failure(BIRCH, "NODE_UNAVAILABLE"), Failure(SiteId("cedar"), "NON_FINITE")
    )
    assert between.exchange.sites == {"birch"}
    assert (early.after_seconds, between.exchange.deadline_seconds) == (60, 700)


def test_who_is_waited_for_stands_in_the_folder_and_is_told(tmp_path: Path) -> None:
    between = Between(tmp_path)
    early = between.wait("train", Failure(BIRCH, "NODE_UNAVAILABLE"))
    early.waits({BIRCH: "NODE_UNAVAILABLE"})
    assert waited_for(between.setup.folder) == {"birch": "NODE_UNAVAILABLE"}
    assert between.observer.notes == ["waiting for birch (NODE_UNAVAILABLE)"]


@pytest.mark.parametrize(
    ("connected", "is_enough"), [("ab", True), ("ae", False), ("abcd", True), ("e", False)]
)
def test_a_round_needs_its_quorum_of_training_sites(
    tmp_path: Path, connected: str, is_enough: bool
) -> None:
    assert Between(tmp_path).is_enough("train", connected) is is_enough


def test_and_their_share_of_the_patients(tmp_path: Path) -> None:
    between = Between(tmp_path)
    assert not between.is_enough("train", "ab", cedar=100)
    assert between.is_enough("train", "ac", cedar=100)


@pytest.mark.parametrize(
    ("purpose", "connected", "is_enough"),
    [
        ("train", "ab", False),
        ("train", "abc", True),
        ("validation", "abe", False),
        ("validation", "abc", True),
        ("test", "abe", True),
        ("test", "ae", False),
    ],
)
def test_masked_sums_need_as_many_of_whom_is_asked_as_share_their_keys(
    tmp_path: Path, purpose: SecurePurpose, connected: str, is_enough: bool
) -> None:
    between = Between(tmp_path, MASKED, "secure_aggregation.minimum_sites=3")
    assert between.is_enough(purpose, connected) is is_enough
