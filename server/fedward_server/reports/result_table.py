"""A result as tables for the terminal, readable at 80 columns.

Numbers are never wrapped or cut; names give way. Names are printed as text, never as markup.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedward_server.reports.comparison import has_baselines, headline_metric, main_metrics
from fedward_server.reports.figure_text import (
    UNDEFINED,
    Result,
    counted,
    duration_text,
    metric_label,
    number_text,
    ordered_metrics,
    rounds_text,
    value_text,
)
from fedward_server.reports.participation import attendance, failure_groups
from fedward_server.reports.privacy_view import privacy_line
from fedward_server.reports.report_view import finding_reasons, finding_rows, metric_rows
from fedward_server.reports.statements import aggregation_line, undefined_reasons, verdict
from fedward_server.reports.summary import seed_summary

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MAX_SITE_METRICS = 5
_SHORT_LABELS = {"balanced_accuracy": "Bal. acc."}


def print_result(console: "Console", result: Result) -> None:
    """Print what a simulation found: the verdict, its figures, failures and times."""
    name = str(((result.get("job") or {}).get("job") or {}).get("name") or result.get("run_id"))
    _print_text(console, f"\n{name}", style="bold")
    _print_text(console, verdict(result))
    _print_metrics(console, result)
    _print_findings(console, result)
    _print_sites(console, result)
    _print_failures(console, result)
    _print_protection(console, result)
    _print_seconds(console, result)


def print_seed_summary(console: "Console", results: Sequence[Result]) -> None:
    """Print mean and standard deviation of each metric over several seeds."""
    summary = seed_summary(results)
    seeds = ", ".join(str(seed) for seed in summary["seeds"]) or "none"
    table = _table(f"Seeds {seeds}: mean and standard deviation", "Metric")
    for title in ("Mean", "SD", "Lowest", "Highest", "Runs"):
        _add_number_column(table, title)
    for name, spread in summary["metrics"].items():
        _add_row(table, metric_label(name), *_spread_cells(spread))
    for baseline, label in (("pooled", "Pooled data"), ("local_mean", "Local mean")):
        for name, spread in ((summary["baselines"] or {}).get(baseline) or {}).items():
            _add_row(table, f"{label}: {metric_label(name)}", *_spread_cells(spread))
    console.print(table)
    if failed := summary["failed_seeds"]:
        _print_text(console, f"Failed and left out: seeds {', '.join(map(str, failed))}")


def _spread_cells(spread: dict[str, float | None]) -> list[str]:
    shown = [number_text(spread[key]) for key in ("mean", "sd", "min", "max")]
    return [*shown, str(spread["runs"])]


def _print_metrics(console: "Console", result: Result) -> None:
    rows = metric_rows(result)
    if not rows:
        return
    compared = has_baselines(result)
    table = _table("Test results, all sites pooled", "Metric")
    titles = ("Federated", "95 % interval", "Cases", "Pooled", "Local mean")
    for title in titles[: 5 if compared else 3]:
        _add_number_column(table, title)
    for row in rows:
        cells = (row.value, row.interval, row.support, row.pooled, row.local)
        _add_row(table, row.label, *cells[: 5 if compared else 3], bold=row.is_headline)
    console.print(table)
    for row in rows:
        if row.reason:
            _print_text(console, f"{UNDEFINED} {row.label}: {row.reason}", style="dim")


def _print_findings(console: "Console", result: Result) -> None:
    rows = finding_rows(result)
    if not rows:
        return
    table = _table("By finding, all sites pooled", "Finding")
    for title in ("AUC", "95 % interval", "Sens.", "Spec.", "F1", "With", "Without"):
        _add_number_column(table, title)
    for row in rows:
        rates = (row.auc, row.interval, row.sensitivity, row.specificity, row.f1)
        _add_row(table, row.name, *rates, row.positives, row.negatives)
    console.print(table)
    for reason in finding_reasons(result):
        _print_text(console, f"{UNDEFINED} {reason}", style="dim")


def _print_sites(console: "Console", result: Result) -> None:
    per_site = result.get("metrics_per_site")
    if not per_site:
        return
    per_site = {site: main_metrics(result, figures or {}) for site, figures in per_site.items()}
    names = ordered_metrics({name for figures in per_site.values() for name in figures})
    headline = headline_metric(result)
    shown = sorted(names, key=lambda name: name != headline)[:_MAX_SITE_METRICS]
    table = _table("Test results per site", "Site")
    for name in shown:
        _add_number_column(table, _SHORT_LABELS.get(name, metric_label(name)), wraps=True)
    for site, figures in per_site.items():
        _add_row(table, site, *(value_text(figures.get(name)) for name in shown))
    console.print(table)
    for site, figures in per_site.items():
        for reason in undefined_reasons(figures, site):
            _print_text(console, f"{UNDEFINED} {reason}", style="dim")
    if len(names) > len(shown):
        _print_text(console, "The other metrics stand in report.html.", style="dim")


def _print_failures(console: "Console", result: Result) -> None:
    lines = [
        f"{group.site}: {group.code} x {group.count}, {group.when_text}"
        for group in failure_groups(result)
    ]
    lines += [
        f"{site.site}: missed {counted(len(site.missed), 'round')} ({site.missed_text})"
        for site in attendance(result)
        if site.missed
    ]
    lines += [
        f"{site}: {counted(number, 'case')} left out ({code})"
        for site, about in (result.get("sites") or {}).items()
        for code, number in (about.get("excluded") or {}).items()
    ]
    if lines:
        _print_text(console, "\nFailures, missed rounds and cases left out", style="italic")
    for line in lines:
        _print_text(console, line)


def _print_protection(console: "Console", result: Result) -> None:
    lines = [line for line in (aggregation_line(result), privacy_line(result)) if line]
    if lines:
        _print_text(console, "\n" + "\n".join(lines))


def _print_seconds(console: "Console", result: Result) -> None:
    seconds = result.get("seconds") or {}
    parts = [
        f"{name} {duration_text(seconds[name])}"
        for name in ("training", "evaluation", "overhead")
        if seconds.get(name) is not None
    ]
    split = f" ({', '.join(parts)})" if parts else ""
    _print_text(console, f"\n{rounds_text(result)} in {duration_text(seconds.get('total'))}{split}")


def _table(title: str, first_column: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first_column, overflow="fold")
    return table


def _add_number_column(table: "Table", title: str, *, wraps: bool = False) -> None:
    """Add a column as wide as its numbers; a long title may wrap where `wraps` allows it."""
    from rich.text import Text

    widest = 8 if wraps else None
    table.add_column(
        Text(title), justify="right", overflow="fold", no_wrap=not wraps, min_width=widest
    )


def _add_row(table: "Table", name: str, *cells: str, bold: bool = False) -> None:
    from rich.text import Text

    style: Any = "bold" if bold else None
    table.add_row(Text(name), *(Text(cell) for cell in cells), style=style)


def _print_text(console: "Console", text: str, style: str = "") -> None:
    from rich.text import Text

    console.print(Text(text, style=style))
