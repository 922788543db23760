"""What sites are told at the end of a run, made of the journal alone, and whose receipt counts."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from tests.server.coordinator.scripted_sites import (
    COORDINATOR_KEY,
    Script,
    exchange_over,
    reply_to,
)
from tests.tiny_federation import SITES, FakeClock, tiny_job

from fedward_common.evaluation.sums import empty_sums
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.wire import messages
from fedward_common.wire.messages import encode_message
from fedward_common.wire.protocol_versions import newest_version
from fedward_common.wire.run_result import MAX_RESULT_BYTES, ResultReceipt
from fedward_server.coordinator.pooled_evaluation import figures_of
from fedward_server.coordinator.run_closing import (
    CLOSING_SECONDS,
    receipt_file,
    result_of,
    tell_result,
)
from fedward_server.coordinator.run_journal import FileRunJournal, JournalHead, RunHistory, packed
from fedward_server.coordinator.run_record import RunRecord

HEAD = JournalHead(7, "ab" * 32)
RECEIPT = ResultReceipt("cd" * 32, "")


def history_with(job: Job, *, num_sites: int = 3, num_validated: int = 3) -> RunHistory:
    """A run whose sites have no patients: every figure is undefined, and says why."""
    sums = empty_sums(job.task)
    selected = {"round": 2, "value": None, "sums": packed(sums.to_vector())}
    validation = figures_of(sums, job.task, (), split="validation")
    names = [f"site-{number}" for number in range(max(num_sites, num_validated))]
    return RunHistory(
        evaluations=[
            {"round": 1, "figures": {}, "sites": names},
            {"round": 2, "figures": validation, "sites": names[:num_validated]},
        ],
        checkpoints=[(1, "a", "b"), (2, "c", "d")],
        final={
            "selected": selected,
            "sites": names[:num_sites],
            "sums": packed(sums.to_vector()),
        },
    )


def test_undefined_figures_are_told_with_their_reasons() -> None:
    told = result_of(tiny_job(), history_with(tiny_job()), HEAD)
    assert told.test["auc"].value is None
    assert "test" in (told.test["auc"].reason or "")
    assert "validation" in (told.validation["auc"].reason or "")
    assert (told.selected_round, told.rounds_committed, told.num_sites) == (2, 2, 3)
    assert (told.journal_head, told.journal_lines) == (HEAD.sha256, HEAD.num_lines)
    kind, body = encode_message(told)
    assert messages.decode_message(kind, body) == told


@pytest.mark.parametrize(("num_sites", "num_validated"), [(2, 3), (3, 2), (1, 1)])
def test_figures_of_fewer_than_three_sites_are_left_out(num_sites: int, num_validated: int) -> None:
    history = history_with(tiny_job(), num_sites=num_sites, num_validated=num_validated)
    told = result_of(tiny_job(), history, HEAD)
    assert bool(told.test) is (num_sites == 3)
    assert bool(told.validation) is (num_validated == 3)
    assert bool(told.threshold_bin_edges) is (num_validated == 3)


def test_single_classes_are_left_out_where_they_are_too_many_for_a_message() -> None:
    table = tiny_job()
    classes = tuple(
        dataclasses.replace(
            table.task.classes[0], id=number, name=f"class {number:03d} " + "x" * 90
        )
        for number in range(250)
    )
    job = dataclasses.replace(table, task=dataclasses.replace(table.task, classes=classes))
    told = result_of(job, history_with(job), HEAD)
    assert len(encode_message(told)[1]) <= MAX_RESULT_BYTES
    assert {"auc", "accuracy", "loss"} <= told.test.keys()
    assert not any(":" in name for name in told.test)


# -- whose receipt counts --------------------------------------------------------------------------


@dataclasses.dataclass
class Setup:
    """As much of a run as the closing exchange looks at."""

    folder: Path
    job: Job
    manifest: Any
    manifest_sha256: str = "ab" * 32


def answers(**changes: Any) -> Script:
    def script(site: SiteId, request: Message) -> Message:
        return reply_to(request, site, **({"message": RECEIPT, "arrays": {}} | changes))

    return script


def told_by(folder: Path, scripts: dict[str, Script], clock: FakeClock) -> RunHistory:
    """Tell three scripted sites the result of a tested run; give what the journal has of it."""
    job = tiny_job()
    named = dataclasses.make_dataclass("Named", ["consortium", "run", "protocol"])
    manifest = named("consortium", "run1", newest_version())
    journal = FileRunJournal(folder)
    accepted = {site: {"trains": True} for site in SITES}
    journal.append("run.accepted", accepted=accepted, failures=[])
    committed = {"round": 1, "attempt": 1, "participants": list(SITES), "failures": [],
                 "file": "f", "sha256": "s"}  # fmt: skip
    for number in (1, 2):
        journal.append("round.committed", **(committed | {"round": number}))
    journal.append("evaluation.final", final=history_with(job).final, failures=[])
    exchange, _ = exchange_over({site: answers() for site in SITES} | scripts, clock)
    setup: Any = Setup(folder, job, manifest)
    record = RunRecord(journal, clock)
    tell_result(setup, record, exchange)
    tell_result(setup, record, exchange)  # asks nobody a second time
    assert [entry["kind"] for entry in journal.entries()].count("result.told") == 1
    journal.close()
    return record.history


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"message": messages.TrainReply(1)}, "UNEXPECTED_ANSWER"),
        ({"message": messages.Refusal("RESULT_DIFFERS")}, "RESULT_DIFFERS"),
        ({"key": COORDINATOR_KEY}, "UNVERIFIED_MESSAGE"),
        ({"sender": "cedar"}, "UNVERIFIED_MESSAGE"),
        ({"in_reply_to": "ef" * 32}, "REPLAY"),
        ({"run": "run2"}, "UNVERIFIED_MESSAGE"),
        ({"body": b"\xa0"}, "MALFORMED_MESSAGE"),
    ],
)
def test_what_is_no_receipt_of_the_site_leaves_it_untold_and_the_others_told(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    history = told_by(tmp_path, {"birch": answers(**changes)}, FakeClock())
    assert history.untold == {"birch": code}
    assert sorted(history.receipts or ()) == ["alder", "cedar"]
    assert not receipt_file(tmp_path, "birch").exists()


def test_a_receipt_with_an_array_is_none(tmp_path: Path) -> None:
    script = answers(arrays={"sums": np.zeros(2, dtype=np.int64)})
    history = told_by(tmp_path, {"birch": script}, FakeClock())
    assert history.untold == {"birch": "UNEXPECTED_ANSWER"}


def test_a_silent_site_costs_a_minute_and_no_more(tmp_path: Path) -> None:
    clock = FakeClock()
    history = told_by(tmp_path, {"birch": lambda site, request: None}, clock)
    assert history.untold == {"birch": "LATE"}
    assert history.failures == []
    assert CLOSING_SECONDS <= clock.now <= CLOSING_SECONDS + 2


def test_a_journal_that_goes_back_forgets_whom_it_told() -> None:
    history = RunHistory(participants=[["alder"]], receipts={"alder": "ab"}, untold={"birch": "X"})
    history.forget_after(0)
    assert (history.receipts, history.untold) == (None, {})
