"""The site's record of what it refused: one chained line each, whoever of its processes writes."""

import dataclasses
import errno
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.masked_federation import SHORT, five_sites, restart_sites
from tests.tiny_federation import TinyFederation, make_federation

from fedward_client.daemon import audit
from fedward_client.daemon.audit import (
    AUDIT_FILE,
    TALLY_FILE,
    audit_lines,
    audit_note,
    audit_refusal,
    audit_unbelieved,
    verified_audit,
)
from fedward_client.daemon.refusal_tally import LINES_AN_HOUR
from fedward_client.daemon.site_state import OpenSite, forget_open_sites, open_site
from fedward_common.errors import (
    AggregationRefusedError,
    CorruptFileError,
    FedwardError,
    TrainingError,
    UnverifiedMessageError,
)
from fedward_common.hash_chain import ChainedLines
from fedward_common.wire import messages
from fedward_common.wire.header import Header

STEP = messages.SecureStep("mask", "train", b"")
RUN = "0123456789abcdef"
NOON = 1_700_049_600.0


def header_of(number: int = 3, **changes: Any) -> Header:
    header = Header(
        protocol=1, consortium="c", run=RUN, round=number, attempt=2, manifest_sha256="",
        sender="coordinator", recipient="birch", kind="secure.step", in_reply_to="",
        body_sha256="", arrays_sha256={},
    )  # fmt: skip
    return dataclasses.replace(header, **changes)


def lines_of(home: Path) -> list[dict[str, Any]]:
    with ChainedLines(home / AUDIT_FILE) as lines:
        return list(lines.entries())


def real(home: Path) -> OpenSite:
    """The site as one that is no simulation, at noon."""
    return dataclasses.replace(open_site(home), is_simulated=False, utc_seconds=lambda: NOON)


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
        "run": RUN,
        "round": 3,
        "attempt": 2,
        "kind": "secure.step",
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
        (None, ("", "")),
    ],
)
def test_a_refusal_of_any_message_names_its_place(
    home: Path, message: messages.Message | None, place: tuple[str, str]
) -> None:
    audit_refusal(open_site(home), header_of(), message, AggregationRefusedError("text"))
    assert [(line["purpose"], line["step"]) for line in lines_of(home)] == [place]


def test_a_real_site_writes_every_refusal_and_an_error_of_a_library_by_no_word_of_it(
    home: Path,
) -> None:
    site = real(home)
    audit_refusal(site, header_of(), messages.TrainRound(False), TrainingError("Schmidt^Anna"))
    audit_refusal(site, header_of(), None, ValueError("Schmidt^Anna"))
    assert [line["code"] for line in lines_of(home)] == ["TRAINING_FAILED", "INTERNAL_ERROR"]
    assert "Schmidt" not in (home / AUDIT_FILE).read_text() + (home / TALLY_FILE).read_text()


def test_a_simulated_site_writes_what_concerns_secrecy_alone(home: Path) -> None:
    audit_refusal(open_site(home), header_of(), None, TrainingError("text"))
    assert not (home / AUDIT_FILE).exists()
    audit_refusal(open_site(home), header_of(), STEP, UnverifiedMessageError("text"))
    assert [line["code"] for line in lines_of(home)] == ["UNVERIFIED_MESSAGE"]


def test_a_name_or_a_number_that_no_coordinator_draws_is_not_written(home: Path) -> None:
    (home / "runs" / "knownhere").mkdir(parents=True)
    site = real(home)
    for run in ("Schmidt", "Schmidt^Anna", "../runs/knownhere", "ß" * 16, "", "a" * 5000):
        audit_refusal(site, header_of(run=run), None, TrainingError("x", code=f"C_{len(run)}"))
    audit_refusal(site, header_of(-1, attempt=1 << 63, kind="Schmidt"), None, TrainingError("x"))
    audit_refusal(site, header_of(run="knownhere"), None, TrainingError("x"))
    *strange, numbers, known = lines_of(home)
    assert {line["run"] for line in strange} == {""}
    assert (numbers["round"], numbers["attempt"], numbers["kind"]) == (-1, -1, "")
    assert known["run"] == "knownhere"
    assert "chmidt" not in (home / AUDIT_FILE).read_text()


def test_what_is_asked_again_and_again_is_one_line_and_a_count_that_a_restart_keeps(
    home: Path,
) -> None:
    waits = FedwardError("text", code="WAITING_FOR_APPROVAL")
    for attempt in range(100):
        audit_refusal(
            real(home), header_of(0, attempt=attempt), messages.ManifestQuery(b"", b""), waits
        )
        forget_open_sites()
    assert len(lines_of(home)) == 1
    written, (counted,) = audit_lines(real(home).home)
    assert (len(written), counted["times"], counted["code"]) == (1, 99, "WAITING_FOR_APPROVAL")
    site = dataclasses.replace(real(home), utc_seconds=lambda: NOON + 3600)
    audit_refusal(site, header_of(), None, TrainingError("text"))
    assert [line.get("times") for line in lines_of(home)] == [None, 99, None]


def test_refusals_of_several_threads_are_all_counted(home: Path) -> None:
    site = real(home)

    def refuse(number: int) -> None:
        for _ in range(10):
            audit_refusal(site, header_of(number), STEP, AggregationRefusedError("text"))

    threads = [threading.Thread(target=refuse, args=(number,)) for number in (1, 1, 2, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written, counted = audit_lines(site.home)
    assert sorted(line["round"] for line in written) == [1, 2]
    assert [line["times"] for line in counted] == [19, 19]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"counted":7}', b'{"hour":"x"}', b"[" * 5000, b'{"more":1}',
     b'{"num_lines":{"stranger":"x"}}', b'{"left_out":[{"share":"x","code":"C"}]}',
     b'{"counted":[],"hour":472236,"num_lines":{"coordinator":60},"num_left_out":{}}',
     b'{"counted":[{"line":{},"line_seconds":NaN}]}'],
)  # fmt: skip
def test_a_damaged_count_begins_anew(home: Path, content: bytes) -> None:
    (home / TALLY_FILE).write_bytes(content)
    for _ in range(2):
        audit_refusal(real(home), header_of(), STEP, AggregationRefusedError("text"))
    assert len(lines_of(home)) == 1


@pytest.mark.parametrize(
    ("name", "number", "code"),
    [("ChainedLines", errno.ENOSPC, "OSError"), ("write_all", errno.ENOSPC, "DISK_FULL"),
     ("held_lock", errno.EACCES, "PermissionError")],
)  # fmt: skip
def test_what_cannot_be_written_hinders_no_refusal(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, "Schmidt^Anna")

    monkeypatch.setattr(audit, name, fail)
    audit_refusal(real(home), header_of(), STEP, AggregationRefusedError("text"))
    log = (home / "site.log").read_text()
    assert f"audit.jsonl: {code}" in log
    assert "Schmidt" not in log


def test_a_stranger_adds_so_many_lines_an_hour_and_the_rest_is_a_number(home: Path) -> None:
    site = real(home)
    for number in range(50):
        error = UnverifiedMessageError("text", code=f"CODE_{number}")
        audit_unbelieved(site.home, "train.round", error, now_seconds=NOON + number)
    most = LINES_AN_HOUR["stranger"]
    codes = [f"CODE_{number}" for number in range(50)]
    assert [line["code"] for line in lines_of(home)] == codes[:most]
    assert len((home / "site.log").read_text().splitlines()) == most
    audit_unbelieved(site.home, "query.mask", ValueError("text"), now_seconds=NOON + 3600)
    *left_out, last = lines_of(home)[most:]
    assert [(line["left_out"], line["from"], line["code"]) for line in left_out] == [
        (1, "stranger", code) for code in codes[most:]
    ]
    assert (last["unbelieved"], last["code"]) == ("query.mask", "INTERNAL_ERROR")
    assert verified_audit(site.home)[0] == 50 + 1


def test_a_coordinator_hides_no_attack_behind_other_refusals(home: Path) -> None:
    site = real(home)
    for number in range(200):
        audit_refusal(site, header_of(number), messages.TrainRound(False), TrainingError("text"))
    bad = AggregationRefusedError("text", code="SECAGG_BAD_SIGNATURE")
    audit_refusal(site, header_of(), STEP, bad)
    audit_refusal(site, header_of(), STEP, UnverifiedMessageError("text"))
    audit_refusal(site, header_of(), None, TrainingError("text", code="ANSWERS_NOT_SEALED"))
    audit_refusal(site, header_of(), None, TrainingError("text", code="NEVER_LISTED"))
    codes = [line["code"] for line in lines_of(home)]
    assert codes == ["TRAINING_FAILED"] * LINES_AN_HOUR["coordinator"] + [
        "SECAGG_BAD_SIGNATURE", "UNVERIFIED_MESSAGE", "ANSWERS_NOT_SEALED",
    ]  # fmt: skip
    written, not_written = audit_lines(site.home)
    assert len(written) == len(codes)
    left_out = {"from": "coordinator", "last_utc_seconds": NOON}
    assert not_written == [
        {"left_out": 140, "code": "TRAINING_FAILED"} | left_out,
        {"left_out": 1, "code": "NEVER_LISTED"} | left_out,
    ]
    later = dataclasses.replace(site, utc_seconds=lambda: NOON + 3600)
    audit_refusal(later, header_of(5000), None, TrainingError("text"))
    added = lines_of(home)[len(codes) :]
    assert [(one.get("left_out"), one["code"]) for one in added] == [
        (140, "TRAINING_FAILED"), (1, "NEVER_LISTED"), (None, "TRAINING_FAILED"),
    ]  # fmt: skip
    assert audit_lines(site.home)[1] == []


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
    closed = AggregationRefusedError("x", code="SECAGG_CLOSED")
    for number in (1, 2, 3):
        audit_refusal(site, header_of(number), STEP, closed)
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
    lines = lines_of(federation.homes["cedar"])  # type: ignore[index]
    notes = {(line["step"], line["note"]) for line in lines if "note" in line}
    assert notes == {("mask", "the shares from alder do not open")}
