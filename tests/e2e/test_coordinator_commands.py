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


def launch(real: RealFederation, *options: str) -> Sequence[str]:
    job = str(real.folder / "job.toml")
    return ["launch", job, "--sites", ",".join(SITES), "--seed", "7", *options]


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
