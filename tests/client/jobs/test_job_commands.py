"""The commands with which a hospital decides about jobs and looks at them, as people run them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import Ended, Site
from tests.client.daemon.asked_site import Coordinator
from tests.client.jobs.asking_coordinator import PRIVATE, Asking, asking
from tests.hold_out_sets import with_hold_out

from fedward_client.jobs.decisions import os_user
from fedward_client.jobs.job_store import read_decision
from fedward_common.file_lock import held_lock
from fedward_common.hash_chain import ChainedLines


@pytest.fixture
def asked(tmp_path: Path) -> Asking:
    one = asking(tmp_path, "job.purpose=find squares", *PRIVATE)
    assert one.propose() == "WAITING_FOR_APPROVAL"
    return one


@pytest.fixture
def under_way(asked: Asking, site: Site) -> Asking:
    assert run(site, asked, "approve", asked.run).code == 0
    assert asked.propose() == asked.train() == ""
    return asked


def run(site: Site, asked: Asking, *words: str) -> Ended:
    return site([*words, "--home", str(asked.home.folder)])


def told(site: Site, asked: Asking, *words: str) -> Any:
    ended = run(site, asked, *words, "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def audited(asked: Asking) -> list[dict[str, Any]]:
    with ChainedLines(asked.home.folder / "audit.jsonl") as lines:
        return [line for line in lines.entries() if "decision" in line]


def test_jobs_lists_what_waits_and_says_how_to_look_at_it(site: Site, asked: Asking) -> None:
    shown = run(site, asked, "jobs").out
    assert asked.run[:12] in shown
    assert "waiting" in shown
    assert "fedward-site show" in shown
    (job,) = told(site, asked, "jobs")["jobs"]
    assert (job["run"], job["name"], job["state"], job["by"]) == (
        asked.run, "tiny", "waiting", None,
    )  # fmt: skip


def test_a_home_that_nobody_asked_has_no_jobs(site: Site, tmp_path: Path) -> None:
    one = asking(tmp_path)
    assert "No coordinator has asked" in run(site, one, "jobs").out
    assert told(site, one, "jobs") == {"jobs": []}
    assert "Nothing has left" in run(site, one, "egress").out
    assert told(site, one, "audit", "verify")["lines"] == 0


def test_show_says_what_is_trained_on_what_and_at_what_cost(site: Site, asked: Asking) -> None:
    shown = run(site, asked, "show", asked.run[:6]).out
    for words in (
        "'tiny'; for: find squares.",
        "'cnn' with",
        "from random weights; up to 4 rounds of 2 steps, 4 patients in each step.",
        "classification: normal, finding.",
        "Cohort 'main'",
        "3 training sites: alder (alder), birch (birch), cedar (cedar)",
        "unmasked: the coordinator sees this site's own.",
        "Epsilon 4 at delta 0.0001 for each patient",
        "Nothing is spent yet; allowed: 5 a job, 50 in all.",
        "The site's policy allows it.",
        "No other job was let in before it.",
        "fedward-site approve",
    ):
        assert words in " ".join(shown.split()), words
    found = told(site, asked, "show", asked.run)
    assert found["forbidden"] is None
    assert found["compared_with"] is None


def test_show_says_what_differs_from_the_job_that_was_let_in_last(
    site: Site, under_way: Asking, tmp_path: Path
) -> None:
    other = under_way.other_run(tmp_path / "other", "privacy.epsilon=2.0", "job.rounds=3")
    assert other.propose() == "WAITING_FOR_APPROVAL"
    shown = run(site, other, "show", other.run).out
    assert "privacy.epsilon: 2.0 (was 4.0)" in shown
    assert "job.rounds: 3 (was 4)" in shown
    found = told(site, other, "show", other.run)
    assert found["compared_with"] == under_way.run
    assert {one["setting"] for one in found["differences"]} == {"privacy.epsilon", "job.rounds"}


def test_show_says_by_what_a_round_is_judged_and_that_it_is_charged_all_the_same(
    site: Site, under_way: Asking, tmp_path: Path
) -> None:
    federation = under_way.coordinator.federation
    gated = with_hold_out(federation, tmp_path / "public.npz", "hold_out.largest_drop=0.2")
    setup = gated.set_up(tmp_path / "other")
    other = Asking(Coordinator(gated, setup, setup.key))
    assert other.propose() == "WAITING_FOR_APPROVAL"
    words = dict(told(site, other, "show", other.run)["words"])["judged"]
    assert hashlib.sha256((tmp_path / "public.npz").read_bytes()).hexdigest()[:12] in words
    assert "worse by more than 0.2 is left out" in words
    assert "charged" in words
    assert "judged" not in dict(told(site, under_way, "show", under_way.run)["words"])


def test_show_says_what_the_policy_no_longer_allows(site: Site, asked: Asking) -> None:
    asked.write_policy("max_rounds = 2")
    assert told(site, asked, "show", asked.run)["forbidden"] == "TOO_MANY_ROUNDS"
    assert "Refused: the job has 4 rounds" in run(site, asked, "show", asked.run).out
    asked.write_policy('coordinators = ["Another University"]')
    assert told(site, asked, "show", asked.run)["forbidden"] == "COORDINATOR_NOT_ALLOWED"


def test_an_approval_binds_job_and_cohort_and_names_who_gave_it(site: Site, asked: Asking) -> None:
    ended = run(site, asked, "approve", asked.run[:8], "--cohort", "main")
    assert ended.code == 0, ended.err
    assert f"approved by {os_user()}" in ended.out
    (line,) = audited(asked)
    assert (line["decision"], line["by"], line["run"], line["cohort"]) == (
        "approved", os_user(), asked.run, "main",
    )  # fmt: skip
    decision = read_decision(asked.home, asked.run)
    assert decision is not None
    assert decision.manifest_sha256 == asked.coordinator.setup.manifest_sha256
    assert asked.propose() == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("approve", "nothing"), "no single job is meant"),
        (("show", "nothing"), "no single job is meant"),
        (("show", ""), "no single job is meant"),
        (("refuse", "../x"), "no single job is meant"),
        (("withdraw", "zz"), "no single job is meant"),
        (("result", "zz"), "no single job is meant"),
        (("egress", "zz"), "no single job is meant"),
        (("approve", "RUN", "--cohort", "gone"), "cohort 'gone' cannot be used"),
        (("approve", "RUN", "--cohort", "../x"), "is no name of a cohort"),
        (("withdraw", "RUN"), "cannot be withdrawn: it is waiting"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_a_hint(
    site: Site, asked: Asking, words: tuple[str, ...], why: str
) -> None:
    named = [asked.run if word == "RUN" else word for word in words]
    ended = run(site, asked, *named)
    assert ended.code == 2
    assert why in ended.error
    assert read_decision(asked.home, asked.run) is None
    assert audited(asked) == []


def test_a_home_that_is_none_is_one_line_with_a_hint(site: Site, tmp_path: Path) -> None:
    for words in (["jobs"], ["status"], ["egress"], ["pause"], ["audit", "verify"]):
        assert site([*words, "--home", str(tmp_path / "none")]).error


def test_nobody_approves_where_it_cannot_be_logged(site: Site, asked: Asking) -> None:
    assert run(site, asked, "refuse", asked.run).code == 0
    assert run(site, asked, "refuse", asked.run).code == 0
    log = asked.home.folder / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"refused", b"REFUSED", 1))
    ended = run(site, asked, "approve", asked.run)
    assert ended.code == 1
    assert "audit.jsonl" in ended.error
    assert asked.propose() == "JOB_REFUSED"


def test_a_run_under_way_is_withdrawn_and_not_refused(site: Site, under_way: Asking) -> None:
    assert "it is under way" in run(site, under_way, "refuse", under_way.run).error
    assert "it is under way" in run(site, under_way, "approve", under_way.run).error
    found = told(site, under_way, "withdraw", under_way.run)
    assert (found["state"], found["budget_given_back"]) == ("withdrawn", True)
    assert under_way.train(2) == "JOB_WITHDRAWN"
    again = told(site, under_way, "withdraw", under_way.run)
    assert again["budget_given_back"] is False
    assert "that is for ever" in run(site, under_way, "approve", under_way.run).err
    assert [line["decision"] for line in audited(under_way)] == ["approved", "withdrawn"]


def test_pause_and_resume_stand_in_the_status_and_in_the_audit_log(
    site: Site, asked: Asking
) -> None:
    assert told(site, asked, "status")["paused"] is None
    assert run(site, asked, "pause").code == 0
    assert told(site, asked, "status")["paused"]["by"] == os_user()
    assert "PAUSED by" in run(site, asked, "status").out
    assert "works again" in run(site, asked, "resume").out
    assert "was not paused" in run(site, asked, "resume").out
    assert [line["decision"] for line in audited(asked)] == ["paused", "resumed"]


def test_status_says_whether_the_daemon_runs_and_what_waits(site: Site, asked: Asking) -> None:
    found = told(site, asked, "status")
    assert found["site"] == "birch"
    assert found["jobs"] == {"waiting": 1}
    assert found["daemon_runs"] is False
    shown = run(site, asked, "status").out
    assert "does not run" in shown
    assert "Jobs wait for a decision" in shown
    with held_lock(asked.home.folder / "daemon.lock"):
        assert told(site, asked, "status")["daemon_runs"] is True


def test_a_changed_audit_log_ends_its_check_with_status_1(site: Site, asked: Asking) -> None:
    for word in ("pause", "resume", "pause"):
        assert run(site, asked, word).code == 0
    found = told(site, asked, "audit", "verify")
    assert found["sound"] is True
    assert found["lines"] == 4  # that the job waits stands there too
    log = asked.home.folder / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"resumed", b"removed"))
    ended = run(site, asked, "audit", "verify")
    assert ended.code == 1
    assert "audit.jsonl line 3" in ended.error


def test_egress_lists_what_left_in_bytes(site: Site, under_way: Asking) -> None:
    shown = run(site, under_way, "egress", under_way.run[:9]).out
    for words in ("manifest.reply", "train.reply", "refusal WAITING_FOR_APPROVAL", "In all:"):
        assert words in shown
    found = told(site, under_way, "egress")
    assert found["unreadable_lines"] == 0
    assert {line["run"] for line in found["left"]} == {under_way.run}


def test_a_result_has_the_own_figures_and_what_was_spent(site: Site, under_way: Asking) -> None:
    assert "not tested" in run(site, under_way, "result", under_way.run).out
    assert under_way.evaluate_finally() == ""
    found = told(site, under_way, "result", under_way.run)
    assert found["state"] == "tested"
    assert 0 <= found["own"]["accuracy"]["value"] <= 1
    assert found["pooled"] is None
    spent = found["spent"]
    assert 0 < spent["epsilon"] < 4
    assert (spent["delta"], spent["attempts_begun"], spent["is_over"]) == (1e-4, 1, True)
    shown = run(site, under_way, "result", under_way.run).out
    for words in ("accuracy", "No pooled figures yet", "Spent of each of"):
        assert words in shown


def test_a_damaged_record_of_a_test_is_named(site: Site, under_way: Asking) -> None:
    sums = under_way.home.run_folder(under_way.run) / "test-sums.npy"
    sums.write_bytes(b"no array")
    assert "test-sums.npy is damaged" in run(site, under_way, "result", under_way.run).error


@pytest.mark.parametrize(
    "command",
    [
        ["jobs"], ["show"], ["approve"], ["refuse"], ["withdraw"], ["pause"], ["resume"],
        ["status"], ["egress"], ["result"], ["audit", "verify"],
    ],
)  # fmt: skip
def test_every_command_says_how_it_is_used(site: Site, command: list[str]) -> None:
    shown = site([*command, "--help"])
    assert shown.code == 0
    assert f"Example: fedward-site {' '.join(command)}" in " ".join(shown.out.split())
    assert "--json" in shown.out
