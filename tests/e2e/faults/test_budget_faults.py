"""A hospital whose patients' budget is used up in the middle of a run, and by the run before."""

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faulty_federation import SECONDS, TASKS, FaultyFederation, make_faulty_federation
from tests.faulty_network import until
from tests.simulation.test_strategies import PRIVATE
from tests.tiny_federation import SITES

from fedward_common.identities import SiteId
from fedward_server.coordinator.commands.run_view import view_of
from fedward_server.coordinator.commands.runs_command import status_of

SITE, STOPPED = "cedar", "birch"
JOB = (
    *PRIVATE, "training.local_steps=30", "quorum.required_sites=2",
    "quorum.deadline_seconds=150", "quorum.attempts=3",
)  # fmt: skip


@pytest.fixture
def three(tmp_path: Path) -> Iterator[FaultyFederation]:
    """Three sites whose answers are sealed; one is no simulation, and charges every attempt."""
    federation = make_faulty_federation(tmp_path / "federation", SITES)
    federation.tiny = dataclasses.replace(federation.tiny, seals_answers=True)
    home = federation.tiny.homes[SiteId(SITE)]
    for name, before, after in (
        ("site.toml", "simulated = true\n", ""),
        ("policy.toml", "epsilon_per_job = 1000.0", "epsilon_per_job = 4.1"),
        ("policy.toml", "epsilon_total = 1000.0", "epsilon_total = 4.1"),
        ("policy.toml", "unbounded_training = true", "unbounded_training = false"),
    ):
        text = (home / name).read_text()
        assert before in text
        (home / name).write_text(text.replace(before, after))
    try:
        federation.begin()
        yield federation
    finally:
        left = federation.close()
    assert left == []


@pytest.mark.slow
def test_a_round_beyond_the_budget_is_declined_before_it_trains_and_so_is_the_next_run(
    three: FaultyFederation,
) -> None:
    """F33: an attempt that was lost is charged, so the last round of three is beyond what is left.

    No other run can use up what this one reserved: it is the other one that is declined.
    """
    three.lay_down("budget", *JOB, "job.rounds=3", "evaluation.every=3")
    three.order("budget")
    until(lambda: three.is_training(STOPPED), "the one trains", SECONDS)
    three.send(signal.SIGSTOP, STOPPED, TASKS)
    until(lambda: begun(three, "budget") == [1], "the other is charged for round 1", SECONDS)
    three.send(signal.SIGKILL, SITE, TASKS)
    until(lambda: "round.abandoned" in three.kinds("budget"), "too few are left", SECONDS)
    three.heal()
    last = three.came("round.committed", run="budget", round=3)
    three.came("run.finished", run="budget")

    assert last["failures"] == [f"{SITE}: BUDGET_EXCEEDED"]
    assert three.participants("budget") == [list(SITES), list(SITES), ["alder", "birch"]]
    assert begun(three, "budget") == [1, 1, 2]  # of round 3 the ledger knows nothing
    assert three.trained(SITE, "budget") == [1, 2]
    assert "BUDGET_EXCEEDED" in (three.tiny.homes[SiteId(SITE)] / "site.log").read_text()
    told = {"site": SITE, "round": 3, "attempt": 1, "code": "BUDGET_EXCEEDED"}
    assert told in shown_failures(three, "budget")

    three.lay_down("next", *JOB, "job.rounds=1", "evaluation.every=1")
    three.order("next")
    three.came("run.finished", run="next")
    assert three.participants("next") == [["alder", "birch"]]
    assert (SITE, 0, "BUDGET_EXCEEDED") in three.codes("next")
    assert three.homes_of_run(SITE, "next") == []


def begun(federation: FaultyFederation, run: str) -> list[int]:
    """Give the rounds that the site's patients were charged for, each time."""
    if not federation.homes_of_run(SITE, run):
        return []
    return federation.begun(SITE, run)


def shown_failures(federation: FaultyFederation, run: str) -> list[dict[str, Any]]:
    """Give the failures that `fedward status --json` shows."""
    shown: list[dict[str, Any]] = status_of(view_of(federation.coordinator_home, run), None)[
        "failures"
    ]
    return [{key: one[key] for key in ("site", "round", "attempt", "code")} for one in shown]
