"""`fedward result`: what `fedward simulate` writes, without what only a hospital knows."""

import json
import time
from pathlib import Path

import pytest
from tests.server.coordinator.commands.conftest import FINISHED, HALF, Fedward
from tests.tiny_federation import SITES, NotesObserver, TinyFederation

from fedward_server.coordinator.commands import planned_run
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.simulation.federation import Engine
from fedward_server.simulation.simulate import SimulationPlan, simulate


def test_the_files_are_those_of_a_simulation_with_pooled_figures_alone(
    fedward: Fedward, member: TinyFederation, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    ended = fedward("result", FINISHED, "--out", str(out), "--json")
    assert ended.code == 0, ended.err
    result = json.loads((out / "result.json").read_text())
    assert json.loads(ended.out) == result
    plan = SimulationPlan(
        job=member.job,
        cohorts_table=member.cohorts,
        data_root=member.data,
        out=tmp_path / "simulated",
        seeds=(7,),
        baselines=False,
        engine=Engine(0),
    )
    (simulated,) = simulate(plan, lambda _: NotesObserver(), resume=False)
    assert result.keys() == simulated.result.keys() | {"model_sha256"}
    for key in ("metrics", "selected", "thresholds", "confusion", "participants", "job"):
        assert result[key] == json.loads(json.dumps(simulated.result[key])), key
    assert result["metrics_per_site"] is None
    assert result["baselines"] is None
    assert [site["counts"] for site in result["sites"].values()] == [None] * len(SITES)
    assert (out / "model_card.md").is_file()
    assert (out / "model").is_dir()
    assert "<html" in (out / "report.html").read_text()


def test_the_table_is_shown_to_a_person(fedward: Fedward, tmp_path: Path) -> None:
    ended = fedward("result", FINISHED, "--out", str(tmp_path / "results"))
    assert ended.code == 0, ended.err
    assert "report.html" in ended.out
    assert "receipts: alder, birch, cedar" in ended.out
    assert "tiny" in ended.out


def test_a_run_that_is_not_finished_has_no_result(fedward: Fedward, tmp_path: Path) -> None:
    refused = fedward("result", HALF, "--out", str(tmp_path / "results"))
    assert "is not finished: 2 of 4 rounds" in refused.refusal
    assert not (tmp_path / "results").exists()


def test_nothing_is_written_over(fedward: Fedward, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    assert "is not empty" in fedward("result", FINISHED, "--out", str(tmp_path)).refusal


def test_weights_that_changed_are_refused(
    home: CoordinatorHome, fedward: Fedward, tmp_path: Path
) -> None:
    for file in (home.runs / FINISHED).glob("best-*"):
        file.write_bytes(file.read_bytes()[:-1] + b"\x17")
    refused = fedward("result", FINISHED, "--out", str(tmp_path / "results"))
    assert refused.refusal
    assert refused.code == 1


def test_a_result_is_had_when_the_roster_no_longer_counts(
    home: CoordinatorHome, fedward: Fedward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time() + 31 * 365 * 24 * 3600
    monkeypatch.setattr(time, "time", lambda: now)
    assert "ROSTER" not in fedward("status", FINISHED).err
    ended = fedward("result", FINISHED, "--out", str(tmp_path / "results"))
    assert ended.code == 0, ended.err
    with pytest.raises(Exception, match="old, it counts for"):
        planned_run.present_roster(home, now_seconds=now)


def test_a_roster_of_another_run_is_refused(
    home: CoordinatorHome, fedward: Fedward, tmp_path: Path
) -> None:
    (home.runs / FINISHED / "roster.cbor").write_bytes(b"\x17")
    assert fedward("result", FINISHED, "--out", str(tmp_path / "results")).refusal
    assert not (tmp_path / "results").exists()
