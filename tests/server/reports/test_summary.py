import json
from typing import Any

import pytest

from fedward_server.reports.summary import seed_summary


def _run(seed: int, auc: float | None, **more: Any) -> dict[str, Any]:
    return {"seed": seed, "status": "completed", "metrics": {"auc": {"value": auc}}, **more}


def test_mean_and_sample_deviation_of_three_seeds_worked_by_hand() -> None:
    spread = seed_summary([_run(0, 0.8), _run(1, 0.9), _run(2, 1.0)])["metrics"]["auc"]
    assert spread == {
        "mean": pytest.approx(0.9),
        "sd": pytest.approx(0.1),
        "min": 0.8,
        "max": 1.0,
        "runs": 3,
    }


def test_one_value_has_no_deviation_and_undefined_ones_do_not_count() -> None:
    spread = seed_summary([_run(0, 0.8), _run(1, None)])["metrics"]["auc"]
    assert (spread["mean"], spread["sd"], spread["runs"]) == (0.8, None, 1)
    nothing = seed_summary([_run(0, None)])["metrics"]["auc"]
    assert nothing == {"mean": None, "sd": None, "min": None, "max": None, "runs": 0}


def test_a_failed_seed_is_named_and_left_out() -> None:
    summary = seed_summary([_run(0, 0.8), _run(1, 0.1, status="failed", metrics=None)])
    assert (summary["seeds"], summary["failed_seeds"]) == ([0], [1])
    assert summary["metrics"]["auc"]["runs"] == 1


def test_baselines_are_summarised_where_there(classification: dict[str, Any]) -> None:
    summary = seed_summary([classification, classification])
    assert summary["baselines"]["pooled"]["auc"]["mean"] == pytest.approx(0.958)
    assert summary["baselines"]["local_mean"]["auc"]["mean"] == pytest.approx(0.898)
    assert seed_summary([_run(0, 0.8)])["baselines"] is None
    assert json.loads(json.dumps(summary)) == summary
