"""The site's record of what it refused: one chained line each, whoever of its processes writes."""

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.masked_federation import SHORT, five_sites, restart_sites
from tests.tiny_federation import TinyFederation, make_federation

from fedward_client.daemon.audit import AUDIT_FILE, audit_note, audit_refusal
from fedward_client.daemon.site_state import open_site
from fedward_common.errors import AggregationRefusedError, CorruptFileError, TrainingError
from fedward_common.hash_chain import ChainedLines
from fedward_common.wire import messages
from fedward_common.wire.header import Header

STEP = messages.SecureStep("mask", "train", b"")


def header_of(number: int = 3) -> Header:
    return Header(
        protocol=1, consortium="c", run="run-1", round=number, attempt=2, manifest_sha256="",
        sender="coordinator", recipient="birch", kind="secure.step", in_reply_to="",
        body_sha256="", arrays_sha256={},
    )  # fmt: skip


def lines_of(home: Path) -> list[dict[str, Any]]:
    with ChainedLines(home / AUDIT_FILE) as lines:
        return list(lines.entries())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    federation = make_federation(tmp_path / "federation")
    restart_sites()
    return federation.homes[SITE]


def test_a_refusal_stands_with_when_what_and_why(home: Path) -> None:
    site = open_site(home)
    site.utc_seconds = lambda: 1_700_000_000.25
    refused = AggregationRefusedError("text", code="SECAGG_SELF_MISSING")
    audit_refusal(site, header_of(), STEP, refused)
    (line,) = lines_of(home)
    del line["index"], line["previous"]
    assert line == {
        "utc_seconds": 1_700_000_000.25,
        "run": "run-1",
        "round": 3,
        "attempt": 2,
        "purpose": "train",
        "step": "mask",
        "code": "SECAGG_SELF_MISSING",
    }


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (messages.TrainRound(False), ("train", "ready")),
        (messages.EvaluateWeights("test"), ("test", "ready")),
        (messages.ManifestQuery(b"", b""), ("", "accept")),
        (None, ("", "accept")),
    ],
)
def test_a_refusal_of_any_message_names_its_place(
    home: Path, message: messages.Message | None, place: tuple[str, str]
) -> None:
    audit_refusal(open_site(home), header_of(), message, AggregationRefusedError("text"))
    assert [(line["purpose"], line["step"]) for line in lines_of(home)] == [place]


def test_what_has_nothing_to_do_with_it_is_not_written(home: Path) -> None:
    audit_refusal(open_site(home), header_of(), None, TrainingError("text"))
    assert not (home / AUDIT_FILE).exists()


def test_lines_of_several_threads_stay_one_chain(home: Path) -> None:
    site = open_site(home)

    def write(number: int) -> None:
        for _ in range(5):
            audit_note(site, header_of(number), STEP, "the shares from cedar do not open")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = lines_of(home)
    assert sorted(line["round"] for line in lines) == sorted([1, 2, 3, 4] * 5)
    assert {line["note"] for line in lines} == {"the shares from cedar do not open"}


def test_an_edited_record_is_found_and_hinders_no_refusal(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site = open_site(home)
    for _ in range(3):
        audit_refusal(site, header_of(), STEP, AggregationRefusedError("x", code="SECAGG_CLOSED"))
    record = home / AUDIT_FILE
    record.write_text(record.read_text().replace("SECAGG_CLOSED", "SECAGG_CL0SED", 1))
    with pytest.raises(CorruptFileError, match="line 1 was changed"):
        lines_of(home)
    audit_refusal(site, header_of(), STEP, AggregationRefusedError("x"))
    assert "audit.jsonl: CORRUPT_FILE" in (home / "site.log").read_text()


def test_a_refused_request_leaves_its_line_in_the_home(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "federation").with_job(*SHORT)
    restart_sites()
    setup = federation.set_up(tmp_path / "run")
    coordinator = Coordinator(federation, setup, setup.key)
    coordinator.propose()
    coordinator.ask("query.share", messages.SecureStep("share", "train", b""))
    coordinator.train()
    coordinator.ask("query.confirm", messages.SecureStep("confirm", "train", b"rubbish"))
    lines = lines_of(federation.homes[SITE])
    assert [(line["step"], line["code"]) for line in lines[:1]] == [("share", "SECAGG_CLOSED")]
    assert lines[1]["step"] == "confirm"
    assert lines[0]["run"] == setup.manifest.run


def test_a_site_that_takes_no_open_job_says_so_in_its_record(tmp_path: Path) -> None:
    federation = make_federation(tmp_path / "federation")
    (federation.homes[SITE] / "policy.toml").write_text("[privacy]\nunbounded_training = true\n")
    restart_sites()
    setup = federation.set_up(tmp_path / "run")
    Coordinator(federation, setup, setup.key).propose()
    (line,) = lines_of(federation.homes[SITE])
    assert (line["step"], line["code"]) == ("accept", "SECURE_AGGREGATION_REQUIRED")


def test_shares_that_do_not_open_are_noted_by_who_could_not_open_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five sites bear one that seals rubbish for another."""
    from fedward_client.secagg import receiving

    federation: TinyFederation = five_sites(tmp_path / "federation").with_job(*SHORT)
    restart_sites()
    honest = receiving.open_packet

    def opened(packet: Any, *others: Any) -> Any:
        bad = (packet.sender, packet.recipient) == ("alder", "cedar")
        return None if bad else honest(packet, *others)

    monkeypatch.setattr(receiving, "open_packet", opened)
    history = federation.run(tmp_path / "run")
    assert all(len(sites) == 5 for sites in history.participants)
    notes = {(line["step"], line["note"]) for line in lines_of(federation.homes["cedar"])}  # type: ignore[index]
    assert notes == {("mask", "the shares from alder do not open")}
