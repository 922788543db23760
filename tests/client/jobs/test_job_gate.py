"""A job comes in when the hospital said so, and goes on as long as it does not say otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.client.jobs.asking_coordinator import NOON, PRIVATE, Asking, asking

from fedward_client.daemon import handlers
from fedward_client.daemon.site_state import forget_open_sites, open_site
from fedward_client.daemon.site_work import answer_training
from fedward_client.enrolment.accepted_members import Member, accepted_members
from fedward_client.enrolment.membership_files import own_certificate
from fedward_client.jobs import decisions
from fedward_client.jobs.job_gate import require_going_on
from fedward_client.jobs.job_store import (
    MAX_WAITING,
    find_job,
    job_folder,
    keep_asked_job,
    read_decision,
)
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.hash_chain import ChainedLines
from fedward_common.wire import messages, protocol_versions

WAITS = "WAITING_FOR_APPROVAL"
DAY = 86_400


@pytest.fixture
def asked(tmp_path: Path) -> Asking:
    """A site of the strictest policy for approvals, which was asked once."""
    one = asking(tmp_path)
    assert one.propose() == WAITS
    return one


def approve(one: Asking, cohort: str | None = None) -> None:
    decisions.approve(one.home, one.run, cohort, by="ann", now=NOON)


def test_a_job_waits_for_a_person_and_comes_in_once_approved(asked: Asking) -> None:
    assert asked.train() == "UNKNOWN_RUN"
    assert find_job(asked.home, asked.run).state == "waiting"
    approve(asked)
    assert asked.propose() == ""
    assert asked.train() == ""
    assert find_job(asked.home, asked.run).state == "under way"


def test_a_job_of_a_protocol_that_is_not_spoken_any_more_is_shown_and_not_approved(
    asked: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_versions, "PROTOCOL_VERSION", 3)
    with pytest.raises(MalformedMessageError, match="protocol 1 came") as caught:
        approve(asked)
    assert caught.value.code == "PROTOCOL_TOO_OLD"
    assert find_job(asked.home, asked.run).state == "waiting"
    decisions.refuse(asked.home, asked.run, by="ann", now=NOON)
    assert find_job(asked.home, asked.run).state == "refused"


def test_nothing_is_decoded_or_reserved_for_a_job_that_waits(asked: Asking) -> None:
    assert not asked.home.run_folder(asked.run).exists()
    assert not list(asked.home.cache.iterdir())
    assert not asked.home.ledger.exists()
    kept = sorted(file.name for file in job_folder(asked.home, asked.run).iterdir())
    assert kept == ["asked.json", "manifest.cbor", "roster.cbor"]


def test_asking_many_times_is_logged_once(asked: Asking) -> None:
    for _ in range(3):
        assert asked.propose() == WAITS
    log = (asked.home.folder / "site.log").read_text()
    assert len(log.splitlines()) == 1
    assert asked.run in log


def test_a_process_that_begins_anew_knows_what_was_approved(asked: Asking) -> None:
    approve(asked)
    forget_open_sites()
    assert asked.propose() == ""
    forget_open_sites()
    assert asked.train() == ""


def test_a_refused_job_is_told_so_and_may_be_approved_after_all(asked: Asking) -> None:
    decisions.refuse(asked.home, asked.run, by="ann", now=NOON)
    assert asked.propose() == "JOB_REFUSED"
    approve(asked)
    assert asked.propose() == ""


def test_an_approval_of_another_manifest_does_not_count(asked: Asking) -> None:
    approve(asked)
    file = job_folder(asked.home, asked.run) / "decision.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"manifest_sha256": "00" * 32}))
    assert asked.propose() == WAITS


def test_what_somebody_looks_at_is_never_exchanged_for_another_manifest(asked: Asking) -> None:
    before = (job_folder(asked.home, asked.run) / "manifest.cbor").read_bytes()
    with pytest.raises(UnverifiedMessageError) as caught:
        keep_asked_job(asked.home, asked.run, b"other", b"", coordinator="c", now=NOON)
    assert caught.value.code == "MANIFEST_DIFFERS"
    assert (job_folder(asked.home, asked.run) / "manifest.cbor").read_bytes() == before


def test_a_home_keeps_only_so_many_undecided_jobs(asked: Asking) -> None:
    for number in range(MAX_WAITING - 1):
        keep_asked_job(asked.home, f"run{number}", b"m", b"r", coordinator="c", now=NOON)
    with pytest.raises(FedwardError) as caught:
        keep_asked_job(asked.home, "one2many", b"m", b"r", coordinator="c", now=NOON)
    assert caught.value.code == "TOO_MANY_JOBS_WAIT"
    assert asked.propose() == WAITS


def test_within_policy_nobody_is_asked_and_the_audit_log_says_so(tmp_path: Path) -> None:
    one = asking(tmp_path, jobs='approval = "within-policy"')
    assert one.propose() == ""
    with ChainedLines(one.home.folder / "audit.jsonl") as lines:
        (line,) = lines.entries()
    assert (line["decision"], line["by"], line["run"]) == ("accepted", "policy.toml", one.run)
    assert find_job(one.home, one.run).state == "under way"


def test_a_job_of_a_coordinator_that_is_not_allowed_is_refused_and_waits_for_nobody(
    tmp_path: Path,
) -> None:
    one = asking(tmp_path, jobs='coordinators = ["Another University"]')
    assert one.propose() == "COORDINATOR_NOT_ALLOWED"
    assert not job_folder(one.home, one.run).exists()
    leaders = {m[1] for m in members_here(one) if m[2] == "coordinator"}
    one.write_policy(f"coordinators = {json.dumps(sorted(leaders))}")
    assert one.propose() == WAITS


def members_here(one: Asking) -> tuple[Member, ...]:
    known = accepted_members(one.home)
    assert known is not None
    return known.members


def test_a_simulated_site_asks_nobody(tmp_path: Path) -> None:
    one = asking(tmp_path, simulated=True)
    assert one.propose() == ""
    assert not (one.home.folder / "jobs").exists()


@pytest.mark.parametrize(
    ("jobs", "code"),
    [
        ('purposes = ["other"]', "PURPOSE_NOT_ALLOWED"),
        ('models = ["resnet"]', "MODEL_NOT_ALLOWED"),
        ("max_rounds = 3", "TOO_MANY_ROUNDS"),
    ],
)
def test_what_the_policy_forbids_is_refused_at_once_and_waits_for_nobody(
    tmp_path: Path, jobs: str, code: str
) -> None:
    one = asking(tmp_path, jobs=jobs)
    assert one.propose() == code
    assert not (one.home.folder / "jobs").exists()


def test_an_epsilon_above_the_cap_waits_for_nobody(tmp_path: Path) -> None:
    one = asking(tmp_path, *PRIVATE[:1], "privacy.epsilon=6.0", "privacy.delta=1e-4")
    assert one.propose() == "EPSILON_ABOVE_CAP"


def test_an_approval_does_not_lift_what_the_policy_forbids(asked: Asking) -> None:
    approve(asked)
    asked.write_policy("max_rounds = 3")
    assert asked.propose() == "TOO_MANY_ROUNDS"


def test_a_withdrawn_run_trains_no_further_round_and_cannot_come_back(tmp_path: Path) -> None:
    one = asking(tmp_path, *PRIVATE, jobs='approval = "within-policy"')
    assert one.propose() == one.train() == ""
    assert decisions.withdraw(one.home, one.run, by="ann", now=NOON)
    assert one.train(2) == one.propose() == one.evaluate_finally() == "JOB_WITHDRAWN"
    forget_open_sites()
    assert one.train(2) == "JOB_WITHDRAWN"
    with open_ledger(one.home, SystemUtcClock()) as ledger:
        account = ledger.accounts.run(one.run)
    assert account.is_released
    assert len(account.begun) == 1


@pytest.mark.parametrize(
    ("stop", "code"), [("withdraw", "JOB_WITHDRAWN"), ("pause", "SITE_PAUSED")]
)
def test_an_update_that_was_being_made_when_somebody_stopped_does_not_leave(
    asked: Asking, monkeypatch: pytest.MonkeyPatch, stop: str, code: str
) -> None:
    approve(asked)
    assert asked.propose() == ""
    train = answer_training

    def stopped_meanwhile(*arguments: Any) -> Any:
        answer = train(*arguments)
        if stop == "withdraw":
            decisions.withdraw(asked.home, asked.run, by="ann", now=NOON)
        else:
            decisions.pause(asked.home, by="ann", now=NOON)
        return answer

    monkeypatch.setattr(handlers, "answer_training", stopped_meanwhile)
    assert asked.train() == code


def test_a_paused_site_does_nothing_until_it_is_resumed(asked: Asking) -> None:
    approve(asked)
    decisions.pause(asked.home, by="ann", now=NOON)
    assert asked.propose() == "SITE_PAUSED"
    assert decisions.resume(asked.home, by="ann", now=NOON)
    assert asked.propose() == ""
    decisions.pause(asked.home, by="ann", now=NOON)
    assert asked.train() == "SITE_PAUSED"
    decisions.resume(asked.home, by="ann", now=NOON)
    assert asked.train() == ""


def test_a_damaged_note_of_a_pause_is_a_pause(asked: Asking) -> None:
    approve(asked)
    (asked.home.folder / "jobs" / "paused.json").write_text("{")
    assert asked.propose() == "CORRUPT_FILE"


def test_outside_its_hours_a_site_comes_in_but_trains_no_round(tmp_path: Path) -> None:
    one = asking(tmp_path, jobs='approval = "within-policy"\nhours = "20:00-06:00"')
    _, certificate = own_certificate(one.home, now_seconds=None)
    noon = (certificate.not_before_seconds // DAY + 2) * DAY + DAY / 2
    site = open_site(one.home.folder)
    site.utc_seconds = lambda: noon
    assert one.propose() == ""
    assert one.train() == "OUTSIDE_HOURS"
    site.utc_seconds = lambda: noon + DAY * 3 / 8
    assert one.train() == ""


def test_the_last_steps_of_a_sum_are_done_though_the_run_was_withdrawn(asked: Asking) -> None:
    approve(asked)
    decisions.withdraw(asked.home, asked.run, by="ann", now=NOON)
    site = open_site(asked.home.folder)
    last: tuple[messages.SecureStepName, ...] = ("confirm", "unmask", "abandon", "abandoned")
    for step in last:
        require_going_on(site, asked.run, messages.SecureStep(step, "train", b""))
    first: tuple[messages.SecureStepName, ...] = ("share", "mask")
    for step in first:
        with pytest.raises(FedwardError) as caught:
            require_going_on(site, asked.run, messages.SecureStep(step, "train", b""))
        assert caught.value.code == "JOB_WITHDRAWN"


def test_the_cohort_of_the_approval_is_what_the_run_gets_whatever_the_site_offers_later(
    asked: Asking,
) -> None:
    cohorts = asked.home.cohorts
    listed = (cohorts / "main.toml").read_text()
    (cohorts / "second.toml").write_text(listed)
    (cohorts / "main.toml").unlink()
    approve(asked, "second")
    assert asked.propose() == ""
    forget_open_sites()
    assert asked.train() == ""
    assert (asked.home.reports / "cohort-second.json").exists()
    assert not (asked.home.reports / "cohort-main.json").exists()
    with open_ledger(asked.home, SystemUtcClock()) as ledger:
        assert ledger.accounts.run(asked.run).reserved.cohort == "second"
    decision = read_decision(asked.home, asked.run)
    assert decision is not None
    assert decision.cohort == "second"
