"""The report of one run as a single HTML file.

It needs no network and runs no script: styles and figures are inside, and its content policy
forbids everything else. Whatever comes from a job, a site or an error is escaped as text.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fedward_common.atomic_files import write_atomically
from fedward_server.reports import privacy_view, report_view, statements
from fedward_server.reports.comparison import (
    contestants,
    has_baselines,
    headline_metric,
    main_metrics,
    pooled_test_metrics,
)
from fedward_server.reports.example_svg import example_figure
from fedward_server.reports.examples import ExamplePrediction
from fedward_server.reports.figure_text import Result, figure_value, ordered_metrics, rounds_text
from fedward_server.reports.figures_svg import (
    MAX_CURVES,
    comparison_chart,
    curve_of,
    curves_chart,
    roc_chart,
)
from fedward_server.reports.job_text import job_text
from fedward_server.reports.participation import attendance, failure_groups
from fedward_server.reports.svg_canvas import SvgFigure

_TEMPLATE = "report.html.j2"


def write_html_report(
    path: Path, result: Result, examples: Sequence[ExamplePrediction] = ()
) -> None:
    """Write the report of one run; the same input gives the same bytes.

    Args:
        path: The HTML file; its folder exists.
        result: What `result.json` holds, schema `fedward-result/1`; optional parts may be null.
        examples: Images to show. They become part of the file, so pass none from a real hospital
            whose policy does not allow it.

    Raises:
        DiskFullError: No space; an older report is untouched.
    """
    write_atomically(path, html_of(result, examples).encode())


def html_of(result: Result, examples: Sequence[ExamplePrediction] = ()) -> str:
    """Make the report's text."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_template_text),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(**_context(result, examples))


def _template_text(name: str) -> str:
    folder = resources.files("fedward_server.reports").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _context(result: Result, examples: Sequence[ExamplePrediction]) -> dict[str, Any]:
    job = result.get("job") or {}
    return {
        "result": _lenient(result),
        "job": _lenient(job.get("job")),
        "task": _lenient(job.get("task")),
        "model": _lenient(job.get("model")),
        "job_text": job_text(job),
        "failed": result.get("status") == "failed",
        "has_baselines": has_baselines(result),
        "rounds_text": rounds_text(result),
        "view": report_view,
        "statements": statements,
        "privacy": privacy_view,
        "attendance": attendance(result),
        "failures": failure_groups(result),
        "figures": _figures(result),
        "examples": [
            (example, example_figure(example, key=f"example-{number}"))
            for number, example in enumerate(examples)
        ],
    }


def _lenient(table: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Give a table whose missing keys are None: a failed run may not have them all."""
    return defaultdict(lambda: None, table or {})


def _figures(result: Result) -> dict[str, Any]:
    """Draw what the result has data for; None for the rest."""
    roc = [curve for curve in result.get("roc") or [] if curve.get("false_positive_rate")]
    return {
        "comparisons": _comparisons(result),
        "validation": _validation(result, losses=False),
        "loss": _validation(result, losses=True),
        "roc": roc_chart(roc, key="roc") if roc else None,
    }


def _comparisons(result: Result) -> list[SvgFigure]:
    """Compare the models by the main metric and by the next one, where baselines exist."""
    if not has_baselines(result):
        return []
    main = headline_metric(result)
    metrics = main_metrics(result, pooled_test_metrics(result))
    names = sorted(ordered_metrics(metrics), key=lambda name: name != main)
    rows = {name: contestants(result, name) for name in names if not name.startswith("loss")}
    known = [name for name in rows if any(row.value is not None for row in rows[name])]
    return [
        comparison_chart(rows[name], name, key=f"comparison-{i}")
        for i, name in enumerate(known[:2])
    ]


def _validation(result: Result, *, losses: bool) -> SvgFigure | None:
    names = [name for name in report_view.plottable(result) if name.startswith("loss") == losses]
    if not names:
        return None
    curves = [curve_of(result["history"], name) for name in names[:MAX_CURVES]]
    chosen = figure_value(result.get("selected") or {}, "round")
    key = "loss" if losses else "validation"
    return curves_chart(curves, None if chosen is None else round(chosen), key=key)
