"""A site that is revoked in mid-run is asked nothing from the next round on (F37)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict
from tests.client.daemon.test_trusted_roster import Office
from tests.masked_federation import FIVE_SITES
from tests.tiny_federation import TinyFederation, history_of, make_federation

from fedward_common.identities import SiteId
from fedward_server.coordinator.app import app
from fedward_server.coordinator.observer import SilentObserver, observed_by
from fedward_server.simulation.in_process_grid import InTurnGrid

GONE = "birch"


class RevokesAfterTheFirstRound(SilentObserver):
    """The office, as it removes a site while a run goes on, and tells the coordinator alone."""

    def __init__(self, federation: TinyFederation) -> None:
        self._office = Office(federation)
        self._file = federation.key_file.with_name("roster.cbor")
        self.is_gone = False
        self.notes: list[str] = []
        self._file.write_bytes(federation.roster)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def round_committed(
        self, number: int, participants: list[str], failures: list[dict[str, Any]]
    ) -> None:
        if number == 1:
            members = {n: c for n, c in self._office.members.items() if n != GONE}
            self._file.write_bytes(self._office.sign(members, version=2))
            self.is_gone = True


class CountingGrid(InTurnGrid):
    """Notes who is asked after the removal."""

    def __init__(self, federation: TinyFederation, office: RevokesAfterTheFirstRound) -> None:
        super().__init__(federation.node_configs(), "tests.faulty_site:app")
        self._names = sorted(federation.homes)
        self._first = min(federation.node_configs())
        self._office = office
        self.asked_after: set[SiteId] = set()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages = list(messages)
        if self._office.is_gone:
            nodes = [message.metadata.dst_node_id for message in messages]
            self.asked_after |= {self._names[node - self._first] for node in nodes}
        return super().push_messages(messages)


@pytest.mark.parametrize("masked", ["false", "true"])
def test_a_revoked_site_is_asked_nothing_from_the_next_round_on(
    tmp_path: Path, masked: str
) -> None:
    federation = make_federation(tmp_path, sites=FIVE_SITES).with_job(
        "job.rounds=3", "quorum.required_sites=3", f"secure_aggregation.enabled={masked}"
    )
    folder = tmp_path / "run"
    federation.set_up(folder)
    office = RevokesAfterTheFirstRound(federation)
    grid = CountingGrid(federation, office)
    where = {"run-folder": str(folder), "key-file": str(federation.key_file)}
    with observed_by(office):
        app(grid, Context(1, 1, {}, RecordDict(), dict(where)))
    rounds = history_of(folder).participants
    assert GONE in rounds[0]
    left = [site for site in FIVE_SITES if site != GONE]
    assert [sorted(one) for one in rounds[1:]] == [left, left]
    assert grid.asked_after == set(left)
    assert office.notes[0] == f"roster version 2 has no {GONE} any more: not asked"
