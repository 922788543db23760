"""The last message of a run: a site keeps what it is told, and signs how its own logs stand."""

import dataclasses
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
from tests.client.daemon.asked_site import Answered
from tests.client.jobs.asking_coordinator import PRIVATE, Asking, asking
from tests.told_results import a_result

from fedward_client.daemon import run_result, site_state
from fedward_client.jobs.decisions import pause, resume, withdraw
from fedward_client.jobs.egress_record import egress_of
from fedward_client.jobs.told_result import told_result
from fedward_client.ledger.heads import blinded
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_common.crypto.signing import SigningKey
from fedward_common.evaluation.sums import NUM_SCORE_BINS
from fedward_common.hash_chain import ChainedLines
from fedward_common.wire import messages
from fedward_common.wire.run_result import MAX_RESULT_BYTES, ResultReceipt, RunResult

RESULT = a_result()


@pytest.fixture
def tested(tmp_path: Path) -> Asking:
    """A real site that trained a round of a private run and evaluated its test patients."""
    one = asking(tmp_path, *PRIVATE, jobs='approval = "within-policy"')
    assert one.propose() == one.train() == one.evaluate_finally() == ""
    return one


def tell(asked: Asking, result: RunResult = RESULT, **changes: Any) -> Answered:
    flower_type = changes.pop("flower_type", "query.result")
    changes.setdefault("subject", asked.coordinator.subject(4))
    return asked.coordinator.ask(flower_type, result, **changes)


def audited(asked: Asking) -> list[dict[str, Any]]:
    with ChainedLines(asked.home.folder / "audit.jsonl") as lines:
        return list(lines.entries())


def told_lines(asked: Asking) -> list[dict[str, Any]]:
    return [entry for entry in audited(asked) if "told" in entry]


def test_a_result_is_kept_as_it_was_signed_and_stands_in_the_audit_log(tested: Asking) -> None:
    answered = tell(tested)
    assert isinstance(answered.message, ResultReceipt)
    assert answered.arrays == {}
    kept = told_result(tested.home, tested.run)
    assert kept is not None
    assert kept.message == RESULT
    key = tested.coordinator.key.verifying_key
    key.verify(kept.envelope.signature, kept.envelope.header_bytes, context="fedward envelope v1")
    (line,) = told_lines(tested)
    assert (line["told"], line["run"]) == ("result", tested.run)
    assert line["result_sha256"] == kept.envelope.sha256
    assert line["journal_head"] == RESULT.journal_head
    lines, _ = egress_of(tested.home, tested.run)
    assert [one.count for one in lines if one.kind == "result.receipt"] == [1]


def test_a_receipt_has_the_blinded_heads_of_both_logs_and_no_length_of_either(
    tested: Asking,
) -> None:
    receipt = tell(tested).message
    assert isinstance(receipt, ResultReceipt)
    with ChainedLines(tested.home.folder / "audit.jsonl") as lines:
        assert receipt.audit_head == blinded(lines.head, tested.home.seal_key())
        assert receipt.audit_head != lines.head
    with open_ledger(tested.home, SystemUtcClock()) as ledger:
        assert receipt.ledger_head == ledger.blinded_head(tested.home.seal_key())
        assert receipt.ledger_head != ledger.head()
        ledger.require_descends_from(receipt.ledger_head, tested.home.seal_key())
    assert {field.name for field in dataclasses.fields(receipt)} == {"audit_head", "ledger_head"}


def test_the_same_result_is_answered_with_the_same_bytes_whatever_was_logged_since(
    tested: Asking,
) -> None:
    first = tell(tested)
    pause(tested.home, by="somebody", now=1.0)
    resume(tested.home, by="somebody", now=2.0)
    site_state.forget_open_sites()
    again = tell(tested)
    assert (again.message, again.text) == (first.message, first.text)
    assert len(told_lines(tested)) == 1


def test_a_second_different_result_is_refused_and_the_first_stays(tested: Asking) -> None:
    tell(tested)
    changes: tuple[dict[str, Any], ...] = (
        {"num_sites": 2, "test": {}}, {"journal_head": "cd" * 32}, {"test": {}},
    )  # fmt: skip
    for change in changes:
        other = tell(tested, a_result(**change))
        assert other.message == messages.Refusal("RESULT_DIFFERS")
    kept = told_result(tested.home, tested.run)
    assert kept is not None
    assert kept.message == RESULT
    assert isinstance(tell(tested).message, ResultReceipt)


def test_after_its_result_a_run_trains_no_more(tmp_path: Path) -> None:
    unbounded = asking(tmp_path, jobs='approval = "within-policy"')
    assert unbounded.propose() == unbounded.train(1) == unbounded.train(2) == ""
    assert isinstance(tell(unbounded).message, ResultReceipt)
    assert unbounded.train(3) == "RUN_ENDED"
    assert unbounded.train(2) == "RUN_ENDED"


def test_another_run_of_the_site_goes_on(tested: Asking, tmp_path: Path) -> None:
    tell(tested)
    other = tested.other_run(tmp_path / "other", "privacy.epsilon=2.0")
    assert other.propose() == other.train() == ""


def test_a_receipt_that_was_cut_short_is_made_when_it_is_asked_for_again(
    tested: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("open_audit", "keep_receipt"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(run_result, step, killed)
            tell(tested)
    assert isinstance(tell(tested).message, ResultReceipt)
    assert len(told_lines(tested)) == 1


def test_a_simulated_site_is_told_as_well(tmp_path: Path) -> None:
    one = asking(tmp_path, jobs='approval = "within-policy"', simulated=True)
    assert one.propose() == ""
    assert isinstance(tell(one).message, ResultReceipt)
    assert told_result(one.home, one.run) is not None


# -- what is no result of this run -----------------------------------------------------------------


def require_nothing_kept(asked: Asking) -> None:
    assert told_result(asked.home, asked.run) is None
    assert told_lines(asked) == []


UNFIT = {
    "of a later round than the last": ({"selected_round": 5}, "MALFORMED_MESSAGE"),
    "of more rounds than there were": ({"rounds_committed": 5}, "MALFORMED_MESSAGE"),
    "of more sites than the roster has": ({"num_sites": 4}, "MALFORMED_MESSAGE"),
    "with a threshold of nothing": (
        {"threshold_bin_edges": {"normal": 9}}, "MALFORMED_MESSAGE",
    ),
    "with a threshold beyond all scores": (
        {"threshold_bin_edges": {"finding": NUM_SCORE_BINS + 1}}, "MALFORMED_MESSAGE",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "code"), UNFIT.values(), ids=UNFIT)
def test_a_result_is_refused(tested: Asking, changes: dict[str, Any], code: str) -> None:
    assert tell(tested, a_result(**changes)).message == messages.Refusal(code)
    require_nothing_kept(tested)


SUBJECTS = {
    "of an unknown run": ({"run": "deadbeef"}, "UNKNOWN_RUN"),
    "under another manifest": ({"manifest_sha256": "ab" * 32}, "UNVERIFIED_MESSAGE"),
    "before the first round": ({"round": 0}, "ROUND_OUT_OF_RANGE"),
    "after a round that the job does not have": ({"round": 5}, "ROUND_OUT_OF_RANGE"),
}


@pytest.mark.parametrize(("changes", "code"), SUBJECTS.values(), ids=SUBJECTS)
def test_a_result_is_refused_that_comes(tested: Asking, changes: dict[str, Any], code: str) -> None:
    subject = tested.coordinator.subject(4, **changes)
    assert tell(tested, subject=subject).message == messages.Refusal(code)
    require_nothing_kept(tested)


def test_a_result_of_another_run_of_the_same_site_is_refused(
    tested: Asking, tmp_path: Path
) -> None:
    other = tested.other_run(tmp_path / "other", "privacy.epsilon=2.0")
    assert other.propose() == ""
    mixed = tested.coordinator.subject(4, run=other.run)
    assert tell(tested, subject=mixed).message == messages.Refusal("UNVERIFIED_MESSAGE")
    require_nothing_kept(tested)
    require_nothing_kept(other)


def test_a_result_that_the_coordinator_did_not_sign_is_not_believed(tested: Asking) -> None:
    assert tell(tested, key=SigningKey.generate()).error == "UNVERIFIED_MESSAGE"
    assert tell(tested, sender="alder").error == "UNVERIFIED_MESSAGE"
    assert tell(tested, recipient="cedar").error == "UNVERIFIED_MESSAGE"
    require_nothing_kept(tested)


def test_a_result_that_is_addressed_to_everybody_is_refused(tested: Asking) -> None:
    """`audit verify` asks for this site's name in it, and would fail for ever."""
    assert tell(tested, recipient="").message == messages.Refusal("UNVERIFIED_MESSAGE")
    require_nothing_kept(tested)
    assert isinstance(tell(tested).message, ResultReceipt)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_figure_that_is_not_finite_is_refused(tested: Asking, value: float) -> None:
    fields = dataclasses.asdict(RESULT)
    fields["test"]["auc"]["value"] = value
    body = cbor2.dumps(fields, canonical=True)
    assert tell(tested, body=body).message == messages.Refusal("MALFORMED_MESSAGE")
    require_nothing_kept(tested)


def test_a_result_that_is_too_large_is_refused(tested: Asking) -> None:
    many = {f"figure {number}": RESULT.test["auc"] for number in range(3000)}
    _, body = messages.encode_message(a_result(test=many))
    assert len(body) > MAX_RESULT_BYTES
    assert tell(tested, body=body).message == messages.Refusal("MALFORMED_MESSAGE")
    require_nothing_kept(tested)


def test_a_result_under_another_name_or_with_an_array_is_refused(tested: Asking) -> None:
    for flower_type in ("train.round", "evaluate.final", "query.manifest", "query.share"):
        answered = tell(tested, flower_type=flower_type)
        assert answered.message == messages.Refusal("UNEXPECTED_KIND")
    arrays = {messages.SUMS: np.zeros(3, dtype=np.int64)}
    assert tell(tested, arrays=arrays).message == messages.Refusal("UNEXPECTED_KIND")
    receipt: Any = ResultReceipt("ab" * 32, "")
    assert tell(tested, receipt).message == messages.Refusal("UNEXPECTED_KIND")
    require_nothing_kept(tested)


def test_a_site_that_is_paused_or_has_withdrawn_is_told_nothing(tmp_path: Path) -> None:
    tested = asking(tmp_path, jobs='approval = "within-policy"')
    assert tested.propose() == ""
    pause(tested.home, by="somebody", now=1.0)
    assert tell(tested).message == messages.Refusal("SITE_PAUSED")
    resume(tested.home, by="somebody", now=2.0)
    withdraw(tested.home, tested.run, by="somebody", now=3.0)
    assert tell(tested).message == messages.Refusal("JOB_WITHDRAWN")
    require_nothing_kept(tested)


# -- logs that cannot be vouched for ---------------------------------------------------------------


def test_no_receipt_is_signed_over_a_ledger_that_cannot_be_believed(tested: Asking) -> None:
    entries = tested.home.ledger / "entries.jsonl"
    content = entries.read_bytes()
    entries.write_bytes(b"".join(content.splitlines(keepends=True)[:-1]))
    assert tell(tested).message == messages.Refusal("LEDGER_DAMAGED")
    kept = told_result(tested.home, tested.run)
    assert kept is not None  # the hospital sees what it was told all the same
    entries.write_bytes(content)
    assert isinstance(tell(tested).message, ResultReceipt)


def test_no_receipt_is_signed_over_an_audit_log_that_was_changed(tested: Asking) -> None:
    log = tested.home.folder / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"accepted", b"refused!"))
    pause_line = log.read_bytes() + b"{}\n"
    log.write_bytes(pause_line)
    assert tell(tested).message == messages.Refusal("CORRUPT_FILE")
