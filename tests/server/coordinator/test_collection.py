"""Which way contributions come together, and what the journal keeps of it."""

from pathlib import Path

from tests.masked_federation import FAULTY_APP, MASKED, SHORT
from tests.tiny_federation import FakeClock, TinyFederation, entries_of

from fedward_server.coordinator.between_attempts import BetweenAttempts
from fedward_server.coordinator.collection import (
    OpenCollection,
    SecureCollection,
    collection_of,
)
from fedward_server.coordinator.exchange import Exchange
from fedward_server.simulation.in_process_grid import InTurnGrid


def collection_for(federation: TinyFederation, folder: Path) -> object:
    setup = federation.set_up(folder)
    grid = InTurnGrid(federation.node_configs())
    exchange = Exchange(grid, setup.key, setup.roster.keys_of_sites, FakeClock())
    return collection_of(setup, exchange, BetweenAttempts(setup, exchange, print))


def test_the_job_says_whether_contributions_are_looked_at_one_by_one(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    assert isinstance(collection_for(tiny, tmp_path / "open"), OpenCollection)
    masked = tiny.with_job(MASKED)
    assert isinstance(collection_for(masked, tmp_path / "masked"), SecureCollection)


def test_only_masked_rounds_have_an_aggregation_in_the_journal(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    for name, settings in (("open", SHORT[1:]), ("masked", SHORT)):
        tiny.with_job(*settings).run(tmp_path / name)
        rounds = [e for e in entries_of(tmp_path / name) if e["kind"] == "round.committed"]
        assert {entry["aggregation"] is not None for entry in rounds} == {name == "masked"}


def test_what_was_kept_of_a_sum_is_gone_once_it_is_committed_or_abandoned(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    faults = {"birch": "query.confirm:train/2/1=gone;query.mask:test/*/0=gone"}
    tiny.with_job(*SHORT).run(tmp_path / "run", client_app=FAULTY_APP, faults=faults)
    assert not list((tmp_path / "run").glob("secure-*"))
