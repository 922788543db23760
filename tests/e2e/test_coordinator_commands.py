"""A coordinator's working day through the command line, against real processes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Ended, require_one_line_and_a_hint, start_fedward, toml_of
from tests.real_federation import RealFederation, make_real_federation
from tests.tiny_federation import SITES, essence

from fedward_common.job.job_file import table_of_job

OVERRIDES = ["job.rounds=3", "evaluation.every=3", "quorum.deadline_seconds=100"]
RUN = "tiny"
SECONDS = 150


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealFederation]:
    federation = make_real_federation(tmp_path)
    federation.tiny = federation.tiny.with_job(*OVERRIDES)
    (tmp_path / "job.toml").write_text(toml_of(table_of_job(federation.tiny.job)))
    yield federation
    assert federation.close() == []


def fedward(real: RealFederation, *arguments: str) -> Ended:
    home = ("--home", str(real.coordinator_home.folder))
    process = start_fedward([*arguments, *home])
    out, err = process.communicate(timeout=SECONDS)
    return Ended(process.returncode, out, err)


def told(real: RealFederation, *arguments: str) -> Any:
    ended = fedward(real, *arguments, "--json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def launch(real: RealFederation, *options: str, job: str = "job.toml") -> Sequence[str]:
    return ["launch", str(real.folder / job), "--sites", ",".join(SITES), "--seed", "7", *options]


@pytest.mark.slow
def test_a_run_is_launched_stopped_resumed_watched_and_fetched(real: RealFederation) -> None:
    real.tiny.run(real.folder / "simulated")
    require_one_line_and_a_hint(fedward(real, *launch(real)))  # no coordinator yet

    coordinator = real.start_coordinator()
    assert told(real, *launch(real))["run"] == RUN
    coordinator.wait_for("run.begins", SECONDS, run=RUN)  # and waits for its sites
    assert told(real, "stop", RUN)["state"] == "stopped"
    coordinator.wait_for("run.stopped", SECONDS, run=RUN)
    coordinator.kill()

    coordinator = real.start_coordinator()
    assert told(real, "runs")[0]["state"] == "stopped"
    sites = [real.start_site(site) for site in SITES]
    watched = fedward(real, "launch", "--resume", "--name", RUN, "--watch")
    assert watched.code == 0, watched.err
    assert "round 3 of 3" in watched.out
    assert watched.out.splitlines()[-1] == f"{RUN} is finished"
    rows = told(real, "sites")["sites"]
    assert [row["connected"] for row in rows] == [True] * len(SITES)
    assert [row["last_answer"]["code"] for row in rows] == ["EVALUATED"] * len(SITES)

    assert essence(real.coordinator_home.runs / RUN) == essence(real.folder / "simulated")
    out = real.folder / "results"
    result = told(real, "result", RUN, "--out", str(out))
    assert result == json.loads((out / "result.json").read_text())
    assert (result["rounds_completed"], result["metrics_per_site"]) == (3, None)
    assert (out / "report.html").is_file()
    for process in (*sites, coordinator):
        assert process.end() == 0


def queue_of(real: RealFederation) -> dict[str, tuple[str, list[str]]]:
    return {row["run"]: (row["state"], row["after"]) for row in told(real, "runs")}


@pytest.mark.slow
def test_runs_queue_through_a_kill_and_the_next_begins_whatever_became_of_those_before(
    real: RealFederation,
) -> None:
    """One is stopped while it runs, one in the queue, and to one nobody comes."""
    short = real.tiny.with_job("quorum.deadline_seconds=5").job
    (real.folder / "short.toml").write_text(toml_of(table_of_job(short)))
    coordinator = real.start_coordinator()
    for name, job in (("d", "job"), ("b", "job"), ("c", "short"), ("a", "job")):
        launched = told(real, *launch(real, "--name", name, job=f"{job}.toml"))
        assert launched["state"] == "launched"
    queued = {
        "d": ("running", []),
        "b": ("queued", ["d"]),
        "c": ("queued", ["d", "b"]),
        "a": ("queued", ["d", "b", "c"]),
    }
    assert launched["after"] == ["d", "b", "c"]
    assert queue_of(real) == queued
    coordinator.kill()

    coordinator = real.start_coordinator()
    coordinator.wait_for("run.begins", SECONDS, run="d")
    assert queue_of(real) == queued
    assert told(real, "stop", "b")["state"] == "stopped"
    assert queue_of(real)["a"] == ("queued", ["d", "c"])
    home = str(real.coordinator_home.folder)
    watching = start_fedward(["watch", "a", "--home", home])
    assert watching.stdout is not None
    assert watching.stdout.readline() == "a is queued at place 2 after d, c\n"
    assert told(real, "stop", "d")["state"] == "stopped"
    coordinator.wait_for("run.begins", SECONDS, run="c")
    failed = coordinator.wait_for("run.failed", SECONDS, run="c")
    assert failed["code"] == "QUORUM_NOT_REACHED"
    sites = [real.start_site(site) for site in SITES]
    coordinator.wait_for("run.begins", SECONDS, run="a")
    out, err = watching.communicate(timeout=2 * SECONDS)
    assert watching.returncode == 0, err
    states = [line for line in out.splitlines() if line.startswith("a is ")]
    assert states[-2:] == ["a is running", "a is finished"]
    assert {name: state for name, (state, _) in queue_of(real).items()} == {
        "d": "stopped", "b": "stopped", "c": "failed", "a": "finished",
    }  # fmt: skip
    shown = real.site_tells(SITES[0], "jobs")["jobs"]
    assert [job["run"] for job in shown] == [told(real, "status", "a")["run_id"]]
    for process in (*sites, coordinator):
        assert process.end() == 0
