"""What the report's template shows: every text and number of it, ready made from a result."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedward_server.reports.comparison import (
    contestants,
    has_baselines,
    headline_metric,
    is_multi_label,
    local_mean,
    local_metrics,
    main_metrics,
    pooled_metrics,
    pooled_test_metrics,
    same_support,
)
from fedward_server.reports.figure_text import (
    UNDEFINED,
    Result,
    count_text,
    duration_text,
    figure_value,
    finite,
    interval_text,
    metric_label,
    number_text,
    ordered_metrics,
    reason_text,
    support_text,
    value_text,
)
from fedward_server.reports.participation import code_meaning
from fedward_server.reports.privacy_view import is_private, largest_epsilon, protects
from fedward_server.reports.statements import undefined_reasons

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Card:
    """One fact of the summary."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class MetricRow:
    """One metric of the federated model and, where they exist, of its baselines."""

    label: str
    value: str
    interval: str
    support: str
    reason: str
    pooled: str
    local: str
    is_headline: bool


@dataclass(frozen=True)
class SiteRow:
    """One site's data; counts are texts, en dashes where only the band is known.

    Attributes:
        share: Of its update in the mean, in a round where everybody contributes.
    """

    name: str
    band: str
    unit: str
    share: str
    counts: tuple[str, ...]
    images: str
    exclusions: tuple[str, ...]
    not_annotated: tuple[str, ...]


@dataclass(frozen=True)
class FindingRow:
    """One finding of a multi-label task: its figures by metric, its cases and its threshold."""

    name: str
    auc: str
    interval: str
    sensitivity: str
    specificity: str
    f1: str
    balanced_accuracy: str
    accuracy: str
    positives: str
    negatives: str
    threshold: str


@dataclass(frozen=True)
class ConfusionRow:
    """The cases of one true class: counts by predicted class, with each one's share of the row."""

    name: str
    cells: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class SecondsRow:
    """One part of the run's time."""

    label: str
    duration: str
    share: float


def cards(result: Result) -> tuple[Card, ...]:
    """The facts at the top of the report."""
    name = headline_metric(result)
    made = []
    if name is not None:
        figure = pooled_test_metrics(result)[name]
        made.append(Card(metric_label(name), value_text(figure), interval_text(figure)))
        made.append(Card("Test cases", support_text(figure), "pooled over sites"))
    sites, seconds = result.get("sites") or {}, result.get("seconds") or {}
    made.append(Card("Sites", str(len(sites)), _bands(sites)))
    if is_private(result):
        kept = "at most" if protects(result) else "simulated"
        made.append(Card("Epsilon", largest_epsilon(result), kept))
    early = "stopped early" if result.get("stopped_early") else "completed"
    done, planned = result.get("rounds_completed"), result.get("rounds_planned")
    made.append(Card("Rounds", count_text(done), f"{early}, of {count_text(planned)}"))
    made.append(Card("Time", duration_text(seconds.get("total")), "in all"))
    return tuple(made)


def _bands(sites: Mapping[str, Any]) -> str:
    units = {str(site["unit"]) for site in sites.values() if site.get("unit")}
    return f"unit: {', '.join(sorted(units))}" if units else ""


def metric_rows(result: Result) -> tuple[MetricRow, ...]:
    """The pooled test metrics, the main one first."""
    metrics, pooled = main_metrics(result, pooled_test_metrics(result)), pooled_metrics(result)
    headline = headline_metric(result)
    names = sorted(ordered_metrics(metrics), key=lambda name: name != headline)
    return tuple(
        MetricRow(
            metric_label(name),
            value_text(metrics[name]),
            interval_text(metrics[name]),
            support_text(metrics[name]),
            reason_text(metrics[name]),
            value_text(pooled.get(name)),
            number_text(local_mean(result, name)),
            name == headline,
        )
        for name in names
    )


def finding_rows(result: Result) -> tuple[FindingRow, ...]:
    """The pooled test metrics of each finding; empty where the task is not multi-label."""
    if not is_multi_label(result):
        return ()
    return tuple(
        _finding_row(result, str(entry["name"])) for entry in result["job"]["task"]["classes"]
    )


def _finding_row(result: Result, name: str) -> FindingRow:
    metrics, thresholds = pooled_test_metrics(result), result.get("thresholds") or {}
    auc = metrics.get(f"auc:{name}")
    return FindingRow(
        name,
        auc=value_text(auc),
        interval=interval_text(auc),
        sensitivity=value_text(metrics.get(f"sensitivity:{name}")),
        specificity=value_text(metrics.get(f"specificity:{name}")),
        f1=value_text(metrics.get(f"f1:{name}")),
        balanced_accuracy=value_text(metrics.get(f"balanced_accuracy:{name}")),
        accuracy=value_text(metrics.get(f"accuracy:{name}")),
        positives=count_text(figure_value(auc, "positives")),
        negatives=count_text(figure_value(auc, "negatives")),
        threshold=number_text(finite(thresholds.get(name))),
    )


def finding_reasons(result: Result) -> tuple[str, ...]:
    """Why figures of single findings are undefined."""
    if not is_multi_label(result):
        return ()
    figures = pooled_test_metrics(result)
    return undefined_reasons({name: figures[name] for name in figures if ":" in name})


def comparison_notes(result: Result) -> tuple[str, ...]:
    """What to know before comparing the models of the comparison; empty without baselines."""
    name = headline_metric(result)
    if name is None or not has_baselines(result):
        return ()
    rows = contestants(result, name)
    notes = [
        f"{row.label}: {metric_label(name)} undefined, {reason_text(row.figure)}."
        for row in rows
        if row.value is None
    ]
    if not same_support(rows):
        tested = ", ".join(f"{row.label} {support_text(row.figure)}" for row in rows)
        notes.append(f"The models were not tested on the same cases ({tested}).")
    if len(local_metrics(result)) > 1:
        notes.append("The local mean counts each site once, whatever its size.")
    return tuple(notes)


def per_site(result: Result) -> dict[str, Any] | None:
    """Columns, rows and reasons of the metrics per site; None in a run that has none."""
    table = result.get("metrics_per_site")
    if not table:
        return None
    table = {site: main_metrics(result, figures or {}) for site, figures in table.items()}
    names = ordered_metrics({name for figures in table.values() for name in figures})
    reasons = [line for site, figures in table.items() for line in undefined_reasons(figures, site)]
    rows = [
        (site, [_site_cell(figures.get(name)) for name in names]) for site, figures in table.items()
    ]
    return {"columns": [metric_label(name) for name in names], "rows": rows, "reasons": reasons}


def _site_cell(figure: object) -> tuple[str, str, str]:
    interval, support = interval_text(figure), support_text(figure)
    cases = "" if support == UNDEFINED else f"n = {support}"
    return value_text(figure), "" if interval == UNDEFINED else interval, cases


def site_rows(result: Result) -> tuple[SiteRow, ...]:
    """The sites' data, as far as the result knows them."""
    sites: Mapping[str, Mapping[str, Any]] = result.get("sites") or {}
    total = sum(finite(site.get("weight")) or 0.0 for site in sites.values() if _trains(site))
    return tuple(_site_row(name, site, total) for name, site in sites.items())


def has_counts(result: Result) -> bool:
    """Say whether any site's own counts are known, as in a simulation."""
    sites = (result.get("sites") or {}).values()
    return any(site.get("counts") or site.get("cases") for site in sites)


def _trains(site: Mapping[str, Any]) -> bool:
    return bool(site.get("trains", True))


def _share_text(site: Mapping[str, Any], total: float) -> str:
    weight = finite(site.get("weight"))
    if weight is None or total <= 0:
        return UNDEFINED
    return f"{100 * weight / total:.1f} %" if _trains(site) else "evaluates only"


def _site_row(name: str, site: Mapping[str, Any], total_weight: float) -> SiteRow:
    counts, images = site.get("counts") or {}, site.get("cases") or {}
    excluded = site.get("excluded") or {}
    return SiteRow(
        name,
        str(site.get("band") or UNDEFINED),
        str(site.get("unit") or UNDEFINED),
        _share_text(site, total_weight),
        tuple(count_text(counts.get(split)) for split in SPLITS),
        count_text(sum(images.values()) if images else None),
        tuple(_exclusion(code, count) for code, count in excluded.items()),
        tuple(_not_annotated(site)),
    )


def _not_annotated(site: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a site's images have no label for, with the number of images."""
    if without := sum((site.get("not_annotated") or {}).values()):
        yield f"{count_text(without)} without any label"
    counts = list((site.get("findings") or {}).values())
    for name in counts[0] if counts else ():
        if unknown := sum(split[name]["not_annotated"] for split in counts):
            yield f"{count_text(unknown)} without {name}"


def _exclusion(code: str, count: object) -> str:
    meaning = code_meaning(code)
    return f"{count_text(count)} {code}" + (f": {meaning}" if meaning else "")


def confusion_rows(result: Result) -> tuple[ConfusionRow, ...]:
    """The confusion matrix by true class; empty where there is none."""
    confusion = result.get("confusion")
    if not confusion:
        return ()
    rows = []
    for name, counts in zip(confusion["classes"], confusion["counts"], strict=True):
        total = sum(counts)
        cells = tuple((count_text(n), n / total if total else None) for n in counts)
        rows.append(ConfusionRow(str(name), cells))
    return tuple(rows)


def seconds_rows(result: Result) -> tuple[SecondsRow, ...]:
    """How the run's time was spent, with shares of the total, and what the baselines took."""
    seconds = result.get("seconds") or {}
    total = finite(seconds.get("total")) or 0.0
    rows = [
        SecondsRow(name.capitalize(), duration_text(seconds[name]), _share(seconds[name], total))
        for name in ("training", "evaluation", "overhead")
        if finite(seconds.get(name)) is not None
    ]
    rows.append(SecondsRow("Total", duration_text(seconds.get("total")), 0.0))
    pooled = ((result.get("baselines") or {}).get("pooled") or {}).get("seconds") or {}
    if pooled:
        rows.append(SecondsRow("Pooled baseline", duration_text(pooled.get("total")), 0.0))
    return tuple(rows)


def _share(part: object, total: float) -> float:
    number = finite(part)
    return min(max(number / total, 0.0), 1.0) if number is not None and total > 0 else 0.0


def threshold_rows(result: Result) -> tuple[tuple[str, str], ...]:
    """The decision thresholds by class."""
    thresholds = result.get("thresholds") or {}
    return tuple((name, number_text(finite(value))) for name, value in thresholds.items())


def plottable(result: Result) -> tuple[str, ...]:
    """Name the metrics with at least one validation value, the selection metric first."""
    figures = [point.get("metrics") or {} for point in result.get("history") or []]
    names = {n for metrics in figures for n, f in metrics.items() if figure_value(f) is not None}
    chosen = (result.get("selected") or {}).get("metric")
    return tuple(sorted(ordered_metrics(names), key=lambda name: name != chosen))
