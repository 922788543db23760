"""The charts of a report: data in, SVG out.

An undefined value leaves a gap, never a zero. Each series differs in colour and in marker or
dash, so that nothing depends on colour alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedward_server.reports.comparison import Contestant
from fedward_server.reports.figure_text import (
    MetricFigure,
    figure_value,
    finite,
    metric_label,
    number_text,
    value_text,
)
from fedward_server.reports.svg_canvas import (
    EXTRA_1,
    EXTRA_2,
    FEDERATED,
    GRID,
    INK,
    LOCAL,
    MUTED,
    POOLED,
    SvgFigure,
    drawn,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 432.0
_KIND_STYLES = {"federated": (FEDERATED, "o"), "pooled": (POOLED, "s"), "local": (LOCAL, "D")}
_SERIES_STYLES: tuple[tuple[str, Any, str], ...] = (
    (FEDERATED, "-", "o"),
    (POOLED, (0, (5, 2)), "s"),
    (LOCAL, (0, (2, 1.5)), "D"),
    (EXTRA_1, (0, (6, 2, 1, 2)), "^"),
    (EXTRA_2, (0, (1, 1)), "v"),
)
MAX_CURVES = len(_SERIES_STYLES)
_MAX_MARKED_POINTS = 40
_LABEL_LENGTH = 26


@dataclass(frozen=True)
class Curve:
    """One metric over the rounds; NaN where undefined."""

    label: str
    rounds: tuple[int, ...]
    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


def curve_of(history: Sequence[Mapping[str, Any]], metric: str) -> Curve:
    """Take one metric out of a run's history, in the order of the rounds."""
    points = sorted(history, key=lambda point: int(point["round"]))
    figures: list[MetricFigure] = [
        (point.get("metrics") or {}).get(metric) or {} for point in points
    ]

    def column(key: str) -> tuple[float, ...]:
        known = (figure_value(figure, key) for figure in figures)
        return tuple(float("nan") if value is None else value for value in known)

    rounds = tuple(int(point["round"]) for point in points)
    return Curve(metric_label(metric), rounds, column("value"), column("low"), column("high"))


def comparison_chart(rows: Sequence[Contestant], metric: str, *, key: str) -> SvgFigure:
    """Draw each model's value of one metric with its 95 % interval, one row a model."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            _draw_contestant(axes, row, -place)
        places = [-place for place in range(len(rows))]
        axes.set_yticks(places, [_short(row.label) for row in rows], color=INK)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.set_xlabel(metric_label(metric))
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=6)
        _quiet(axes, "x")
        axes.spines["left"].set_visible(False)
        values = axes.twinx()
        values.set_ylim(axes.get_ylim())
        values.set_yticks(places, [value_text(row.figure) for row in rows], color=INK)
        values.tick_params(length=0)
        values.spines[:].set_visible(False)

    described = ", ".join(f"{row.label} {value_text(row.figure)}" for row in rows)
    size = (_WIDTH, 62 + 27.0 * len(rows))
    text = f"{metric_label(metric)} with 95 % intervals: {described}"
    title = f"{metric_label(metric)} by model"
    return drawn(draw, size=size, key=key, title=title, description=text)


def _draw_contestant(axes: "Axes", row: Contestant, place: int) -> None:
    value = row.value
    if value is None:
        return
    colour, marker = _KIND_STYLES[row.kind]
    low, high = figure_value(row.figure, "low"), figure_value(row.figure, "high")
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5, alpha=0.55)
    axes.plot([value], [place], marker=marker, color=colour, markersize=8)


def curves_chart(curves: Sequence[Curve], selected_round: int | None, *, key: str) -> SvgFigure:
    """Draw metrics over the rounds, the first with its interval; mark the selected round.

    Args:
        curves: At most `MAX_CURVES`.
        selected_round: Whose weights were kept; None for no mark.
        key: Prefix of the figure's ids.
    """

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for place, (curve, style) in enumerate(zip(curves, _SERIES_STYLES, strict=False)):
            _draw_curve(axes, curve, style, is_main=place == 0)
        if selected_round is not None:
            axes.axvline(selected_round, color=INK, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
        axes.set_xlabel("Round")
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
        _quiet(axes, "y")
        figure.legend(loc="outside upper left", ncols=2 if len(curves) != 3 else 3, fontsize=11)

    return drawn(
        draw,
        size=(_WIDTH, 290),
        key=key,
        title="Validation by round",
        description=_curves_description(curves, selected_round),
    )


def _draw_curve(axes: "Axes", curve: Curve, style: tuple[str, Any, str], *, is_main: bool) -> None:
    colour, dashes, marker = style
    if is_main:
        axes.fill_between(
            curve.rounds, curve.lows, curve.highs, color=colour, alpha=0.14, linewidth=0
        )
    axes.plot(
        curve.rounds,
        curve.values,
        color=colour,
        linestyle=dashes,
        linewidth=2.2 if is_main else 1.5,
        marker=marker if len(curve.rounds) <= _MAX_MARKED_POINTS else None,
        markersize=4.5 if is_main else 3.5,
        label=_short(curve.label),
    )


def _curves_description(curves: Sequence[Curve], selected_round: int | None) -> str:
    last = ", ".join(
        f"{curve.label} ends at {number_text(finite(curve.values[-1]))}"
        for curve in curves
        if curve.values
    )
    marked = "" if selected_round is None else f"; round {selected_round} was selected"
    return f"Validation by round: {last}{marked}"


def roc_chart(roc: Sequence[Mapping[str, Any]], *, key: str) -> SvgFigure:
    """Draw one ROC curve a class against the diagonal of chance; at most `MAX_CURVES` classes."""
    shown = list(zip(roc, _SERIES_STYLES, strict=False))

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.5, zorder=1)
        for curve, (colour, dashes, _) in shown:
            axes.plot(
                curve["false_positive_rate"],
                curve["true_positive_rate"],
                color=colour,
                linestyle=dashes,
                linewidth=2.2,
                label=_short(str(curve["class"])),
            )
        axes.set(xlim=(-0.02, 1.0), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("False positive rate (1 - specificity)")
        axes.set_ylabel("True positive rate (sensitivity)")
        _quiet(axes, "both")
        axes.legend(loc="lower right", fontsize=11)

    names = ", ".join(str(curve["class"]) for curve, _ in shown)
    text = f"ROC curve of {names}"
    return drawn(draw, size=(_WIDTH, 380), key=key, title="ROC", description=text)


def _quiet(axes: "Axes", grid: str) -> None:
    """Leave a light grid and no ticks."""
    axes.grid(visible=True, axis=grid, color=GRID, linewidth=1)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
        axes.spines[side].set_linewidth(0.6)


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 3] + "..."
