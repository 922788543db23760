"""Several seeds of one job as one summary: what a repetition changes, and what it does not."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from fedward_server.reports.comparison import local_mean, pooled_metrics, pooled_test_metrics
from fedward_server.reports.figure_text import (
    MetricFigure,
    Result,
    figure_value,
    ordered_metrics,
)

SCHEMA = "fedward-seed-summary/1"


def seed_summary(results: Sequence[Result]) -> dict[str, Any]:
    """Summarise each metric over the seeds that completed.

    Args:
        results: Results of one job, one a seed.

    Returns:
        A JSON-ready table: `seeds`, `failed_seeds`, `metrics` and, where a baseline was asked
        for, `baselines`. Each metric has `mean`, `sd` (of the sample, null below two values),
        `min`, `max` and `runs`, the number of seeds with a value; all null where none has one.
    """
    completed = [result for result in results if result.get("status") != "failed"]
    failed = [result for result in results if result.get("status") == "failed"]
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "seeds": [result.get("seed") for result in completed],
        "failed_seeds": [result.get("seed") for result in failed],
        "metrics": _spreads([pooled_test_metrics(result) for result in completed]),
    }
    baselines = {
        "pooled": _spreads([pooled_metrics(result) for result in completed]),
        "local_mean": _spreads([_local_means(result) for result in completed]),
    }
    summary["baselines"] = baselines if any(baselines.values()) else None
    return summary


def _local_means(result: Result) -> Mapping[str, MetricFigure]:
    means = {name: local_mean(result, name) for name in pooled_test_metrics(result)}
    return {name: {"value": mean} for name, mean in means.items() if mean is not None}


def _spreads(runs: Sequence[Mapping[str, MetricFigure]]) -> dict[str, dict[str, float | None]]:
    names = ordered_metrics({name for metrics in runs for name in metrics})
    return {name: _spread([figure_value(metrics.get(name)) for metrics in runs]) for name in names}


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        "mean": fmean(known) if known else None,
        "sd": stdev(known) if len(known) > 1 else None,
        "min": min(known, default=None),
        "max": max(known, default=None),
        "runs": len(known),
    }
