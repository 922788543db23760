"""`fedward-site audit show`: what was refused and decided, in words."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import Ended, Site
from tests.client.jobs.asking_coordinator import Asking, asking
from tests.told_results import a_result

from fedward_client.daemon.audit import (
    audit_order,
    audit_repetition,
    audit_unbelieved,
    open_audit,
)
from fedward_client.daemon.refusal_tally import LINES_AN_HOUR
from fedward_client.daemon.site_state import open_site
from fedward_client.jobs import decisions
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import UnverifiedMessageError
from fedward_common.wire.header import Header

NOON = 1_700_049_600.0


@pytest.fixture
def asked(tmp_path: Path) -> Asking:
    """A real site that was asked twice for a job and once for a round that it never agreed to."""
    one = asking(tmp_path)
    assert one.propose() == one.propose() == "WAITING_FOR_APPROVAL"
    assert one.train() == "UNKNOWN_RUN"
    return one


def run(site: Site, asked: Asking, *words: str) -> Ended:
    return site(["audit", "show", *words, "--home", str(asked.home.folder)])


def told(site: Site, asked: Asking, *words: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(run(site, asked, "--json", *words).out)["entries"]
    return entries


def test_each_refusal_is_shown_with_its_run_its_words_and_how_often_it_came(
    site: Site, asked: Asking
) -> None:
    shown = run(site, asked).out
    for words in (
        asked.run[:8],
        "the job",
        "train, round 1",
        "WAITING_FOR_APPROVAL",
        "nobody has decided on the job yet",
        "Do: fedward-site show, then approve or refuse.",
        "a run that this site never agreed to",
    ):
        assert words in " ".join(shown.split()), words
    codes = [(one["code"], one.get("times")) for one in told(site, asked)]
    assert sorted(codes, key=str) == [
        ("UNKNOWN_RUN", None), ("WAITING_FOR_APPROVAL", 1), ("WAITING_FOR_APPROVAL", None),
    ]  # fmt: skip


def test_decisions_strangers_and_accounts_that_are_not_heard_stand_between_them(
    site: Site, asked: Asking
) -> None:
    decisions.approve(asked.home, asked.run, None, by="ann", now=NOON)
    asked.coordinator.train(key=SigningKey.generate())
    audit_order(asked.home, "NOT_ALLOWED", by="bob", now_seconds=NOON + 1)
    shown = " ".join(run(site, asked).out.split())
    for words in ("approved by ann", "train.round, not believed", "an order of bob", "NOT_ALLOWED"):
        assert words in shown, words


def test_only_a_run_or_only_the_last_ones_are_shown_on_demand(site: Site, asked: Asking) -> None:
    decisions.pause(asked.home, by="ann", now=NOON)
    assert len(told(site, asked, "--run", asked.run[:6])) == 3
    assert told(site, asked, "--run", "none") == told(site, asked, "--run", "") == []
    (last,) = told(site, asked, "--last", "1")
    assert last["code"] == "UNKNOWN_RUN"
    assert "3 earlier entries are not shown" in run(site, asked, "--last", "1").out
    assert run(site, asked, "--last", "0").code == 2


def test_what_was_left_out_is_shown_by_code_and_number_before_and_after_it_is_written(
    site: Site, asked: Asking
) -> None:
    for number in range(9):
        error = UnverifiedMessageError("text", code=f"CODE_{number}")
        audit_unbelieved(asked.home, "train.round", error, now_seconds=NOON)
    for kind in ("train.round", "query.mask", "query.share", "query.confirm"):
        audit_unbelieved(asked.home, kind, UnverifiedMessageError("text"), now_seconds=NOON)
    for seconds in (0, 3600):
        shown = " ".join(run(site, asked).out.split())
        assert "more refusals of a stranger, not listed UNVERIFIED_MESSAGE 3 " in shown
        (line,) = [one for one in told(site, asked) if "left_out" in one]
        assert (line["left_out"], line["code"]) == (3, "UNVERIFIED_MESSAGE")
        assert line["last_utc_seconds"] == NOON
        assert line["meaning"]
        audit_order(asked.home, "NOT_ALLOWED", by="bob", now_seconds=NOON + seconds + 3600)


def test_a_result_that_was_told_and_one_that_was_refused_are_named(
    site: Site, asked: Asking
) -> None:
    with open_audit(asked.home) as log:
        log.append({"utc_seconds": NOON, "told": "result", "run": asked.run})
    answered = asked.coordinator.ask("query.result", a_result())
    assert asked.code(answered) == "UNKNOWN_RUN"
    shown = " ".join(run(site, asked).out.split())
    assert "told the result" in shown
    assert f"{asked.run[:8]} the result" in shown
    assert "another message" not in shown


def test_a_question_that_came_again_is_shown_in_words_and_as_no_refusal(
    site: Site, tmp_path: Path
) -> None:
    one = asking(tmp_path, jobs='approval = "within-policy"')
    for _ in range(3):
        assert one.propose() == one.train() == ""
    shown = " ".join(run(site, one).out.split())
    for words in ("the job REPLAY", "train, round 1 REPLAY", "came again", "a broken line"):
        assert words in shown, words
    assert "refused" not in shown
    entries = [entry for entry in told(site, one) if "decision" not in entry]
    codes = [(entry["kind"], entry["code"], entry.get("times")) for entry in entries]
    assert sorted(codes, key=str) == [
        ("manifest.query", "REPLAY", 1), ("manifest.query", "REPLAY", None),
        ("train.round", "REPLAY", 1), ("train.round", "REPLAY", None),
    ]  # fmt: skip


def test_repetitions_that_were_left_out_are_called_so(site: Site, asked: Asking) -> None:
    opened = open_site(asked.home.folder)
    subject = asked.coordinator.subject()
    for number in range(LINES_AN_HOUR["repeated"] + 5):
        header = Header(
            **vars(dataclasses.replace(subject, round=number)), sender="coordinator",
            recipient="birch", kind="train.round", in_reply_to="", body_sha256="",
            arrays_sha256={},
        )  # fmt: skip
        audit_repetition(opened, header, None)
    shown = " ".join(run(site, asked).out.split())
    assert "more repetitions of a coordinator, not listed REPLAY 5 " in shown


def test_a_record_that_was_changed_is_not_shown(site: Site, asked: Asking) -> None:
    decisions.pause(asked.home, by="ann", now=NOON)
    log = asked.home.folder / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"UNKNOWN", b"unknown", 1))
    ended = run(site, asked)
    assert ended.code == 1
    assert "audit.jsonl line" in ended.error


def test_a_site_that_refused_nothing_says_so(site: Site, tmp_path: Path) -> None:
    assert "Nothing was refused" in run(site, asking(tmp_path)).out


def test_at_80_columns_no_line_is_broken_by_the_terminal(
    site: Site, asked: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit_order(asked.home, "NOT_ALLOWED", by="somebody-with-a-long-name", now_seconds=NOON)
    monkeypatch.setenv("COLUMNS", "80")
    shown = run(site, asked).out
    print(shown)
    assert "WAITING_FOR_APPROVAL" in shown.split("NOT_ALLOWED")[1]
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
