"""`fedward audit verify`: journals and the receipts of the sites that were told a result."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.hash_chains import rewritten_chain
from tests.server.coordinator.commands.conftest import FINISHED, HALF, Fedward
from tests.tiny_federation import SITES

from fedward_common.crypto.signing import SigningKey
from fedward_common.hash_chain import ChainedLines
from fedward_common.wire import messages
from fedward_common.wire.envelope import Subject, sign_envelope
from fedward_common.wire.header import decode_header
from fedward_common.wire.kept_envelope import SignedExchange, decode_exchange, encode_exchange
from fedward_server.coordinator.commands.run_view import lines_in
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_closing import receipt_file


@pytest.fixture
def run(home: CoordinatorHome) -> Path:
    return home.runs / FINISHED


def test_sound_runs_and_their_receipts_are_named(fedward: Fedward, run: Path) -> None:
    ended = fedward("audit", "verify", "--json")
    assert ended.code == 0, ended.err
    half, finished = sorted(json.loads(ended.out), key=lambda one: len(one["receipts"]))
    assert (half["run"], half["receipts"]) == (HALF, {})
    entries, head = lines_in(run)
    assert (finished["run"], finished["num_lines"]) == (FINISHED, len(entries))
    assert finished["head"] == head
    assert set(finished["receipts"]) == set(SITES)
    shown = fedward("audit", "verify", FINISHED)
    assert shown.code == 0
    for words in (FINISHED, "alder, birch, cedar", "are sound"):
        assert words in shown.out
    assert HALF not in shown.out


def test_a_home_without_a_run_has_nothing_to_verify(fedward: Fedward, run: Path) -> None:
    for folder in run.parent.iterdir():
        folder.rename(run.parent.parent / f"{folder.name}-elsewhere")
    assert fedward("audit", "verify", "--json").out == "[]\n"
    assert "No run yet" in fedward("audit", "verify").out


def test_a_receipt_that_is_gone_or_changed_is_named(fedward: Fedward, run: Path) -> None:
    file = receipt_file(run, "birch")
    content = bytearray(file.read_bytes())
    for at in range(0, len(content), max(1, len(content) // 12)):
        content[at] ^= 1
        file.write_bytes(content)
        assert "receipt-birch.cbor" in fedward("audit", "verify", FINISHED).refusal
        content[at] ^= 1
    file.unlink()
    assert "receipt-birch.cbor cannot be read" in fedward("audit", "verify").refusal


def _replace_receipt(run: Path, site: str, kept: SignedExchange) -> None:
    """Put another receipt in place of a site's, and let a new chain of the journal name it."""
    content = encode_exchange(kept)
    receipt_file(run, site).write_bytes(content)

    def change(entry: dict[str, Any]) -> None:
        if entry["kind"] == "result.told":
            entry["receipts"][site] = hashlib.sha256(content).hexdigest()

    rewritten_chain(run / "entries.jsonl", change)


def test_a_receipt_that_the_site_did_not_sign_is_refused_whatever_the_journal_says(
    fedward: Fedward, run: Path
) -> None:
    kept = decode_exchange(receipt_file(run, "birch").read_bytes())
    header = decode_header(kept.reply.header_bytes)
    forged = sign_envelope(
        SigningKey.generate(),
        subject=Subject(header.consortium, header.run, header.manifest_sha256, header.round),
        sender="birch",
        recipient=header.recipient,
        kind=header.kind,
        body=kept.reply.body,
        arrays_sha256={},
        in_reply_to=header.in_reply_to,
    )
    _replace_receipt(run, "birch", SignedExchange(kept.request, forged))
    assert "the receipt of birch is not what was signed" in fedward("audit", "verify").refusal


def test_a_receipt_for_another_request_or_of_another_site_is_refused(
    fedward: Fedward, run: Path
) -> None:
    birch = decode_exchange(receipt_file(run, "birch").read_bytes())
    cedar = decode_exchange(receipt_file(run, "cedar").read_bytes())
    for mixed in (
        SignedExchange(cedar.request, birch.reply),
        SignedExchange(birch.request, cedar.reply),
        SignedExchange(birch.reply, birch.reply),
        SignedExchange(birch.request, birch.request),
        cedar,
    ):
        _replace_receipt(run, "birch", mixed)
        assert "the receipt of birch is not what was signed" in fedward("audit", "verify").refusal


def test_a_journal_that_was_written_anew_no_longer_fits_its_receipts(
    fedward: Fedward, run: Path
) -> None:
    def change(entry: dict[str, Any]) -> None:
        if entry["kind"] == "round.committed" and entry["round"] == 2:
            entry["seconds"] = entry["seconds"] + 1

    rewritten_chain(run / "entries.jsonl", change)
    lines_in(run)  # the chain by itself is sound
    refusal = fedward("audit", "verify", FINISHED).refusal
    assert "of the journal is not the one that alder was told of" in refusal


def _without_line(run: Path, kind: str) -> None:
    """Write the journal anew without its last line of a kind."""
    entries, _ = lines_in(run)
    at = max(number for number, entry in enumerate(entries) if entry["kind"] == kind)
    (run / "entries.jsonl").unlink()
    with ChainedLines(run / "entries.jsonl") as lines:
        for entry in (*entries[:at], *entries[at + 1 :]):
            lines.append({k: v for k, v in entry.items() if k not in ("index", "previous")})


def test_a_finished_journal_that_knows_nothing_of_a_receipt_beside_it_is_refused(
    fedward: Fedward, run: Path
) -> None:
    def change(entry: dict[str, Any]) -> None:
        if entry["kind"] == "result.told":
            del entry["receipts"]["birch"]

    rewritten_chain(run / "entries.jsonl", change)
    assert "receipt-birch.cbor" in fedward("audit", "verify", FINISHED).refusal
    _without_line(run, "result.told")
    refusal = fedward("audit", "verify", FINISHED).refusal
    assert "knows nothing of" in refusal
    assert "receipt-alder.cbor" in refusal


def test_a_journal_that_goes_on_is_held_against_receipts_that_it_does_not_name_yet(
    fedward: Fedward, run: Path
) -> None:
    _without_line(run, "run.finished")
    _without_line(run, "result.told")
    (sound,) = json.loads(fedward("audit", "verify", FINISHED, "--json").out)
    assert sorted(sound["receipts"]) == list(SITES)
    _without_line(run, "evaluation.final")
    refusal = fedward("audit", "verify", FINISHED).refusal
    assert "of the journal is not the one that alder was told of" in refusal


def test_a_site_that_was_away_when_a_killed_run_went_on_has_its_receipt_checked(
    fedward: Fedward, run: Path
) -> None:
    def change(entry: dict[str, Any]) -> None:
        if entry["kind"] == "result.told":
            del entry["receipts"]["birch"]
            entry["untold"]["birch"] = "NODE_UNAVAILABLE"

    rewritten_chain(run / "entries.jsonl", change)
    (sound,) = json.loads(fedward("audit", "verify", FINISHED, "--json").out)
    assert sorted(sound["receipts"]) == list(SITES)
    shutil.copy(receipt_file(run, "cedar"), receipt_file(run, "birch"))
    assert "the receipt of birch is not what was signed" in fedward("audit", "verify").refusal


def test_a_changed_line_of_a_journal_is_named(fedward: Fedward, run: Path) -> None:
    journal = run / "entries.jsonl"
    journal.write_text(journal.read_text().replace('"attempt":1', '"attempt":2', 1))
    assert "entries.jsonl line" in fedward("audit", "verify").refusal


def test_an_unknown_run_is_named(fedward: Fedward) -> None:
    assert "has no run 'nothing'" in fedward("audit", "verify", "nothing").refusal


def test_a_receipt_says_what_the_journal_was_when_the_site_was_told(run: Path) -> None:
    entries, _ = lines_in(run)
    kinds = [entry["kind"] for entry in entries]
    assert kinds[-3:] == ["evaluation.final", "result.told", "run.finished"]
    for site in SITES:
        kept = decode_exchange(receipt_file(run, site).read_bytes())
        told: Any = messages.decode_message("run.result", kept.request.body)
        assert told.journal_lines == len(entries) - 2
        assert told.journal_head == entries[-2]["previous"]
