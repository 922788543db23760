"""`fedward-site audit verify`: what was told is what the coordinator signed, and is logged."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import Ended, Site
from tests.client.daemon.test_run_result import tell
from tests.client.jobs.asking_coordinator import PRIVATE, Asking, asking
from tests.hash_chains import rewritten_chain
from tests.told_results import a_result

from fedward_client.daemon import site_state
from fedward_client.jobs.decisions import pause, resume
from fedward_client.jobs.told_result import keep_receipt, kept_receipt
from fedward_client.ledger.heads import blinded
from fedward_client.ledger.ledger_file import forget_what_was_verified
from fedward_common.crypto.signing import SigningKey
from fedward_common.hash_chain import ChainedLines
from fedward_common.identities import COORDINATOR
from fedward_common.wire import messages
from fedward_common.wire.envelope import Envelope, sign_envelope
from fedward_common.wire.kept_envelope import decode_envelope, encode_envelope

WITHIN = 'approval = "within-policy"'


@pytest.fixture
def told(tmp_path: Path) -> Asking:
    """A site that was told the result of a private run, and did something since."""
    one = asking(tmp_path, *PRIVATE, jobs=WITHIN)
    assert one.propose() == one.train() == one.evaluate_finally() == ""
    tell(one)
    pause(one.home, by="somebody", now=1.0)
    resume(one.home, by="somebody", now=2.0)
    return one


def verify(site: Site, asked: Asking, *words: str) -> Ended:
    forget_what_was_verified()
    return site(["audit", "verify", *words, "--home", str(asked.home.folder)])


def result_file(asked: Asking) -> Path:
    return asked.home.run_folder(asked.run) / "result.cbor"


def test_sound_results_are_counted(site: Site, told: Asking) -> None:
    found = json.loads(verify(site, told, "--json").out)
    assert (found["sound"], found["results"]) == (True, 1)
    assert "signed each of 1 results" in verify(site, told).out


def test_a_result_that_was_told_again_is_proven_as_well(site: Site, told: Asking) -> None:
    tell(told)
    with ChainedLines(told.home.folder / "audit.jsonl") as log:
        assert [line.get("code") for line in log.entries()][-1] == "REPLAY"
    assert json.loads(verify(site, told, "--json").out)["results"] == 1


def test_a_roster_that_counts_no_longer_still_says_whose_key_it_was(
    site: Site, told: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert verify(site, told).code == 0


def test_any_byte_of_a_result_that_was_changed_is_found(site: Site, told: Asking) -> None:
    file = result_file(told)
    content = bytearray(file.read_bytes())
    for at in range(0, len(content), max(1, len(content) // 15)):
        content[at] ^= 1
        file.write_bytes(content)
        ended = verify(site, told)
        assert (ended.code, "result.cbor" in ended.error) == (1, True), at
        content[at] ^= 1


def _signed(told: Asking, key: SigningKey, **changes: Any) -> Envelope:
    kind, body = messages.encode_message(a_result(**changes))
    return sign_envelope(
        key,
        subject=told.coordinator.subject(4),
        sender=COORDINATOR,
        recipient="birch",
        kind=kind,
        body=body,
        arrays_sha256={},
    )


def test_a_result_that_somebody_else_signed_is_found(site: Site, told: Asking) -> None:
    result_file(told).write_bytes(encode_envelope(_signed(told, SigningKey.generate())))
    assert "is not what the run's coordinator signed" in verify(site, told).error


def test_another_result_that_the_coordinator_signed_is_not_the_one_in_the_log(
    site: Site, told: Asking
) -> None:
    other = _signed(told, told.coordinator.key, journal_lines=99)
    result_file(told).write_bytes(encode_envelope(other))
    assert "has no line of run" in verify(site, told).error


def test_a_result_of_another_run_in_its_place_is_found(
    site: Site, told: Asking, tmp_path: Path
) -> None:
    other = told.other_run(tmp_path / "other", "privacy.epsilon=2.0")
    assert other.propose() == ""
    tell(other)
    shutil.copy(result_file(other), result_file(told))
    assert "result.cbor" in verify(site, told).error


def test_a_result_that_is_gone_is_missed(site: Site, told: Asking) -> None:
    result_file(told).unlink()
    assert "has a result of run" in verify(site, told).error


def test_a_log_that_was_written_anew_without_the_result_is_found(site: Site, told: Asking) -> None:
    def change(entry: dict[str, Any]) -> None:
        if "told" in entry:
            entry["decision"] = entry.pop("told")

    rewritten_chain(told.home.folder / "audit.jsonl", change)
    assert "has no line of run" in verify(site, told).error


def test_a_log_that_was_written_anew_before_the_result_no_longer_fits_the_receipt(
    site: Site, told: Asking
) -> None:
    log = told.home.folder / "audit.jsonl"

    def change(entry: dict[str, Any]) -> None:
        if entry["index"] == 0:
            entry["by"] = "nobody"

    rewritten_chain(log, change)
    with ChainedLines(log):  # the chain by itself is sound
        pass
    assert "receipt was signed over" in verify(site, told).error


def test_a_receipt_over_a_log_that_had_no_result_yet_is_found(site: Site, told: Asking) -> None:
    receipt = kept_receipt(told.home, told.run)
    assert receipt is not None
    with ChainedLines(told.home.folder / "audit.jsonl") as log:
        entries = list(log.entries())
    (line,) = [entry for entry in entries if "told" in entry]
    key = told.home.seal_key()
    for at in range(line["index"] + 1):  # where the log stood before, also before its first line
        earlier = blinded(entries[at]["previous"], key)
        keep_receipt(told.home, told.run, dataclasses.replace(receipt, audit_head=earlier))
        assert "receipt was signed over" in verify(site, told).error
    keep_receipt(told.home, told.run, receipt)
    assert verify(site, told).code == 0


def test_a_ledger_that_was_rolled_back_with_its_heads_is_found(site: Site, tmp_path: Path) -> None:
    one = asking(tmp_path, *PRIVATE, jobs=WITHIN)
    assert one.propose() == ""
    heads = one.home.trust / "ledger-head.json"
    shutil.copytree(one.home.ledger, tmp_path / "older")
    shutil.copy(heads, tmp_path / "older-head.json")
    assert one.train() == one.evaluate_finally() == ""
    tell(one)
    assert verify(site, one).code == 0
    shutil.rmtree(one.home.ledger)
    shutil.copytree(tmp_path / "older", one.home.ledger)
    shutil.copy(tmp_path / "older-head.json", heads)
    assert "rolled back" in verify(site, one).error


def test_a_result_without_a_receipt_was_cut_short_and_is_no_fault(site: Site, told: Asking) -> None:
    (told.home.run_folder(told.run) / "receipt.cbor").unlink()
    assert verify(site, told).code == 0


def test_results_of_a_consortium_that_was_left_are_passed_over(site: Site, told: Asking) -> None:
    settings = told.home.settings_file
    consortium = told.coordinator.setup.manifest.consortium
    settings.write_text(settings.read_text().replace(f'"{consortium}"', '"other"'))
    site_state.forget_open_sites()
    assert json.loads(verify(site, told, "--json").out)["results"] == 0


def test_an_envelope_comes_back_as_it_was_kept(told: Asking) -> None:
    content = result_file(told).read_bytes()
    assert encode_envelope(decode_envelope(content)) == content
