"""`fedward simulate` with a job that masks: its baselines, its result, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.masked_federation import MASKED, SHORT, change_update, five_sites
from tests.tiny_federation import TinyFederation, essence

from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.observer import SilentObserver
from fedward_server.reports.html_report import html_of
from fedward_server.reports.model_card import model_card_text
from fedward_server.result import Result
from fedward_server.simulation.federation import Engine, run_federation
from fedward_server.simulation.simulate import SimulationPlan, simulate


def result_of(federation: TinyFederation, out: Path, *, baselines: bool = False) -> Result:
    plan = SimulationPlan(
        federation.job, federation.cohorts, federation.data, out, (0,), baselines, Engine(0)
    )
    (finished,) = simulate(plan, lambda _: SilentObserver(), resume=False)
    return finished.result


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("masked")
    federation = five_sites(folder / "federation").with_job(*SHORT)
    return result_of(federation, folder / "out", baselines=True)


def test_a_site_alone_masks_nothing_so_the_baselines_run_without(result: Result) -> None:
    baselines = result["baselines"]
    assert "error" not in baselines["pooled"]
    assert set(baselines["local"]) == {"alder", "birch", "cedar", "dogwood", "elder"}
    for outcome in [baselines["pooled"], *baselines["local"].values()]:
        assert outcome["rounds_completed"] == 2
        assert outcome["metrics"]["auc"]["support"] > 0


def test_the_result_says_what_stood_between_coordinator_and_sites(result: Result) -> None:
    assert result["secure_aggregation"] == {
        "enabled": True,
        "suite": "S1",
        "bits": 32,
        "sites_ready": 5,
        "threshold": 4,
        "values_clipped": 0,
        "rounds_left_out": [],
    }
    assert result["rounds_completed"] == 2


def test_report_and_card_say_that_sums_alone_were_seen(result: Result) -> None:
    assert "saw only sums over at least 4 of 5 sites" in html_of(result)
    assert "saw only sums over at least 4 of 5 sites" in model_card_text(result)


def test_clipped_values_and_rounds_left_out_are_in_the_result(
    tiny: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far(update: Any) -> Any:
        update[:3] = 50.0
        return update

    change_update(monkeypatch, "birch", far, in_round=2)
    federation = tiny.with_job(*SHORT, "secure_aggregation.bits=24")
    section = result_of(federation, tmp_path / "out")["secure_aggregation"]
    assert (section["values_clipped"], section["bits"]) == (3, 24)


def test_a_job_that_masks_nothing_says_so(tiny: TinyFederation, tmp_path: Path) -> None:
    result = result_of(tiny.with_job("job.rounds=2"), tmp_path / "out")
    assert result["secure_aggregation"] == {"enabled": False, "answers_sealed": False}


def test_one_site_is_refused_in_one_line_before_anything_is_trained(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    sites = {"sites": {"alder": tiny.cohorts["sites"]["alder"]}}
    alone = replace(tiny.with_job(*SHORT, "quorum.required_sites=1"), cohorts=sites)
    with pytest.raises(ConfigurationError, match="a sum of one hides nobody") as caught:
        result_of(alone, tmp_path / "out")
    assert "enabled = false" in caught.value.hint


def test_worker_processes_take_a_round_over_from_each_other(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    """A site's steps are done by whichever process is free; all of it lies in the home."""
    federation = tiny.with_job(MASKED, "job.rounds=1", "evaluation.every=1")
    federation.run(tmp_path / "in-turn")
    run_federation(federation.in_folder(tmp_path / "workers"), Engine(2), SilentObserver())
    assert essence(tmp_path / "workers") == essence(tmp_path / "in-turn")
