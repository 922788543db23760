"""The federated model beside its baselines: all data in one place, and each site alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from fedward_server.reports.figure_text import MetricFigure, Result, figure_value, ordered_metrics

ContestantKind = Literal["federated", "pooled", "local"]


@dataclass(frozen=True)
class Contestant:
    """One model and its figure of one metric."""

    label: str
    kind: ContestantKind
    figure: MetricFigure

    @property
    def value(self) -> float | None:
        """The figure's value, None where undefined."""
        return figure_value(self.figure)


def pooled_test_metrics(result: Result) -> Mapping[str, MetricFigure]:
    """Give the pooled test metrics, empty where the run has none."""
    return result.get("metrics") or {}


def is_multi_label(result: Result) -> bool:
    """Say whether the classes are findings of their own."""
    return bool(((result.get("job") or {}).get("task") or {}).get("multi_label"))


def main_metrics(result: Result, metrics: Mapping[str, MetricFigure]) -> Mapping[str, MetricFigure]:
    """Leave out the figures of single findings, which have a table of their own."""
    if not is_multi_label(result):
        return metrics
    return {name: figure for name, figure in metrics.items() if ":" not in name}


def headline_metric(result: Result) -> str | None:
    """Name the metric that stands for the result: the one that chose the round, never the loss."""
    job = result.get("job") or {}
    segmentation = (job.get("task") or {}).get("kind") == "segmentation"
    chosen = (result.get("selected") or {}).get("metric")
    metrics = pooled_test_metrics(result)
    for name in (chosen, "dice" if segmentation else "auc", *ordered_metrics(metrics)):
        if name in metrics and name != "loss":
            return str(name)
    return None


def has_baselines(result: Result) -> bool:
    """Say whether at least one baseline with metrics is there."""
    return bool(pooled_metrics(result) or local_metrics(result))


def pooled_metrics(result: Result) -> Mapping[str, MetricFigure]:
    """Give the metrics of the model trained on all data in one place; empty without one."""
    pooled = (result.get("baselines") or {}).get("pooled") or {}
    return pooled.get("metrics") or {}


def local_metrics(result: Result) -> dict[str, Mapping[str, MetricFigure]]:
    """Give each site's metrics of the model it trained alone; empty without such models."""
    local = (result.get("baselines") or {}).get("local") or {}
    return {site: (run or {}).get("metrics") or {} for site, run in local.items()}


def local_mean(result: Result, metric: str) -> float | None:
    """Average one metric over the local models that have it; None where none has."""
    values = [figure_value(metrics.get(metric)) for metrics in local_metrics(result).values()]
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def contestants(result: Result, metric: str) -> tuple[Contestant, ...]:
    """List the models that were asked for one metric: federated, pooled, then site by site."""
    rows = [Contestant("Federated", "federated", pooled_test_metrics(result).get(metric) or {})]
    if pooled := pooled_metrics(result):
        rows.append(Contestant("Pooled data", "pooled", pooled.get(metric) or {}))
    for site, metrics in local_metrics(result).items():
        rows.append(Contestant(f"{site} alone", "local", metrics.get(metric) or {}))
    return tuple(rows)


def same_support(rows: tuple[Contestant, ...]) -> bool:
    """Say whether all models with a value were tested on equally many cases."""
    return len({figure_value(row.figure, "support") for row in rows if row.value is not None}) <= 1
