"""At its end a run tells each of its sites what came of it, once, and ends with or without them."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from tests.masked_federation import FAULTY_APP, MASKED
from tests.multi_label_pictures import LABELS, findings_job, findings_of
from tests.simulation.test_resume import Killed, KillingJournal
from tests.tiny_federation import (
    SITES,
    TinyFederation,
    entries_of,
    essence,
    make_federation,
    tiny_job,
)

from fedward_client.daemon.audit import open_audit
from fedward_client.jobs.told_result import ToldResult, told_result
from fedward_client.ledger.heads import blinded
from fedward_client.site_home import SiteHome
from fedward_common.evaluation.figures import Figure
from fedward_common.evaluation.operating_points import Threshold
from fedward_common.identities import SiteId
from fedward_common.wire.kept_envelope import decode_exchange
from fedward_common.wire.messages import decode_message
from fedward_common.wire.run_result import ResultReceipt, RunResult
from fedward_server.coordinator.run_closing import receipt_file
from fedward_server.coordinator.run_journal import RunHistory
from fedward_server.result import result_of_run
from fedward_server.simulation.in_process_grid import InTurnGrid


def told_to(federation: TinyFederation, folder: Path, site: str) -> ToldResult | None:
    run = federation.set_up(folder).manifest.run
    return told_result(SiteHome(federation.homes[SiteId(site)]), run)


def published(federation: TinyFederation, folder: Path, history: RunHistory) -> dict[str, Any]:
    """Give the run's result as the coordinator publishes it."""
    setup = federation.set_up(folder)
    return result_of_run(setup, history, cohorts={}, site_sums={}, seconds={})


def plain(figures: Any) -> dict[str, Any]:
    return {name: Figure(**vars(one)).to_dict() for name, one in figures.items()}


@pytest.mark.parametrize("settings", [(), (MASKED,)], ids=["open", "masked"])
def test_every_site_is_told_what_the_report_says_of_all_together(
    tiny: TinyFederation, run_folder: Path, settings: tuple[str, ...]
) -> None:
    federation = tiny.with_job("job.rounds=2", *settings)
    history = federation.run(run_folder)
    result = published(federation, run_folder, history)
    assert sorted(history.receipts or ()) == list(SITES)
    assert history.untold == {}
    for site in SITES:
        told = told_to(federation, run_folder, site)
        assert told is not None
        message = told.message
        assert plain(message.test) == result["metrics"]
        of_selected = [h for h in result["history"] if h["round"] == message.selected_round]
        assert plain(message.validation) == of_selected[-1]["metrics"]
        edges = message.threshold_bin_edges.items()
        assert {name: Threshold(edge).probability for name, edge in edges} == result["thresholds"]
        assert message.selected_round == result["selected"]["round"]
        assert (message.rounds_committed, message.num_sites) == (2, 3)
        kept = decode_exchange(receipt_file(run_folder, site).read_bytes())
        assert kept.request == told.envelope
        receipt = decode_message("result.receipt", kept.reply.body)
        assert isinstance(receipt, ResultReceipt)
        home = SiteHome(federation.homes[SiteId(site)])
        with open_audit(home) as log:
            assert receipt.audit_head == blinded(log.head, home.seal_key())


def test_segmentations_and_jobs_of_many_findings_are_told_as_well(tmp_path: Path) -> None:
    squares = make_federation(tmp_path / "squares", tiny_job("segmentation", ["job.rounds=2"]))
    pictures = {site: findings_of(site) for site in SITES}
    findings = make_federation(
        tmp_path / "findings", findings_job(), pictures=pictures, settings={"labels": dict(LABELS)}
    )
    for name, federation in (("one", squares), ("two", findings)):
        history = federation.run(tmp_path / name)
        told = told_to(federation, tmp_path / name, "birch")
        assert told is not None
        result = published(federation, tmp_path / name, history)
        assert plain(told.message.test) == result["metrics"]
        assert len(told.message.threshold_bin_edges) == len(result["thresholds"] or ())


def test_figures_of_two_sites_are_not_told_to_either(tmp_path: Path) -> None:
    two = make_federation(tmp_path / "two", sites=("alder", "birch")).with_job("job.rounds=2")
    history = two.run(tmp_path / "run")
    assert sorted(history.receipts or ()) == ["alder", "birch"]
    told = told_to(two, tmp_path / "run", "alder")
    assert told is not None
    assert (told.message.test, told.message.validation) == ({}, {})
    assert told.message.num_sites == 2


def test_a_message_has_nothing_of_one_site() -> None:
    assert [field.name for field in dataclasses.fields(RunResult)] == [
        "test", "validation", "threshold_bin_edges", "selected_round", "rounds_committed",
        "num_sites", "journal_head", "journal_lines",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("raise", "CLIENT_APP_RAISED"),
        ("gone", "CLIENT_APP_RAISED"),
        ("garbage", "MALFORMED_MESSAGE"),
        ("unsigned", "UNVERIFIED_MESSAGE"),
    ],
)
def test_a_site_that_cannot_be_told_costs_the_run_nothing(
    tiny: TinyFederation, tmp_path: Path, fault: str, code: str
) -> None:
    federation = tiny.with_job("job.rounds=2")
    faults = {"birch": f"query.result/*/*={fault}"}
    history = federation.run(tmp_path / "run", client_app=FAULTY_APP, faults=faults)
    assert history.finished
    assert history.failures == []
    assert sorted(history.receipts or ()) == ["alder", "cedar"]
    assert history.untold == {"birch": code}
    assert not receipt_file(tmp_path / "run", "birch").exists()


def test_nobody_who_answers_is_no_failure_of_the_run_either(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    federation = tiny.with_job("job.rounds=2")
    faults = dict.fromkeys(SITES, "query.result/*/*=raise")
    history = federation.run(tmp_path / "run", client_app=FAULTY_APP, faults=faults)
    assert history.finished
    assert history.receipts == {}
    assert sorted(history.untold) == list(SITES)


class CountingGrid(InTurnGrid):
    """Counts what is sent, by kind."""

    def __init__(self, federation: TinyFederation) -> None:
        super().__init__(federation.node_configs())
        self.sent: list[str] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        given = list(messages)
        self.sent += [message.metadata.message_type for message in given]
        return super().push_messages(given)


def test_the_result_is_told_in_one_exchange_and_after_the_last_question(
    tiny: TinyFederation, run_folder: Path
) -> None:
    grid = CountingGrid(tiny)
    tiny.run(run_folder, grid=grid)
    assert grid.sent.count("query.result") == len(SITES)
    assert grid.sent[-len(SITES) :] == ["query.result"] * len(SITES)


def _number_of(folder: Path, kind: str) -> int:
    return [entry["kind"] for entry in entries_of(folder)].index(kind) + 1


def _killed_as_it_told(tiny: TinyFederation, tmp_path: Path, *, before: bool) -> Path:
    """Kill a run before or after its journal says who was told; an undisturbed one lies beside."""
    tiny.run(tmp_path / "undisturbed")
    entry = _number_of(tmp_path / "undisturbed", "result.told")
    folder = tmp_path / "killed"
    tiny.set_up(folder)
    with pytest.raises(Killed):
        tiny.run(folder, journal=KillingJournal(folder, entry, before=before))
    return folder


def test_a_run_that_was_killed_while_it_told_its_sites_tells_them_the_same_again(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    folder = _killed_as_it_told(tiny, tmp_path, before=True)
    first = {site: receipt_file(folder, site).read_bytes() for site in SITES}
    history = tiny.run(folder)
    assert {site: receipt_file(folder, site).read_bytes() for site in SITES} == first
    assert sorted(history.receipts or ()) == list(SITES)
    assert essence(folder) == essence(tmp_path / "undisturbed")


def test_a_run_that_has_told_its_sites_asks_nobody_any_more(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    folder = _killed_as_it_told(tiny, tmp_path, before=False)
    grid = CountingGrid(tiny)
    assert tiny.run(folder, grid=grid).finished
    assert grid.sent == []


@pytest.mark.parametrize("num_damaged", [1, 2])
def test_a_run_that_told_its_sites_ends_with_damaged_checkpoints_as_well(
    tiny: TinyFederation, tmp_path: Path, num_damaged: int
) -> None:
    """No site would train again, and nothing that is left to do needs the weights."""
    tiny.run(tmp_path / "undisturbed")
    told = _number_of(tmp_path / "undisturbed", "result.told")
    for name, before in (("unnamed", True), ("named", False)):
        folder = tmp_path / name
        tiny.set_up(folder)
        with pytest.raises(Killed):
            tiny.run(folder, journal=KillingJournal(folder, told, before=before))
        for newest in sorted(folder.glob("checkpoint-*.safetensors"))[-num_damaged:]:
            newest.write_bytes(newest.read_bytes()[:-1] + b"x")
        history = tiny.run(folder)
        assert (history.finished, sorted(history.receipts or ())) == (True, list(SITES))
        assert history.untold == {}
        assert "run.rewound" not in [entry["kind"] for entry in entries_of(folder)]


def test_a_tested_run_ends_without_sites_that_are_gone_since(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    tiny.run(tmp_path / "undisturbed")
    entry = _number_of(tmp_path / "undisturbed", "evaluation.final")
    folder = tmp_path / "killed"
    tiny.set_up(folder)
    with pytest.raises(Killed):
        tiny.run(folder, journal=KillingJournal(folder, entry, before=False))
    faults = dict.fromkeys(("alder", "birch"), "query.manifest/*/*=raise")
    history = tiny.run(folder, client_app=FAULTY_APP, faults=faults)
    assert history.finished
    assert sorted(history.receipts or ()) == ["cedar"]
    assert history.untold == dict.fromkeys(("alder", "birch"), "NODE_UNAVAILABLE")
