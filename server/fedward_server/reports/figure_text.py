"""Figures of a result as names and numbers for people.

A figure is a table with `value`, `low`, `high`, `support`, `reason`, `bin_bound` and `excluded`.
Anything that is not a finite number counts as undefined and is shown as an en dash.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

Result = Mapping[str, Any]
MetricFigure = Mapping[str, Any]

UNDEFINED = "\N{EN DASH}"
NO_REASON = "no value was recorded"

_LABELS = {
    "auc": "AUC",
    "auc_macro": "AUC, mean of classes",
    "f1": "F1",
    "iou": "IoU",
    "loss": "Loss",
}
_ORDER = ("auc", "dice", "balanced_accuracy", "accuracy", "sensitivity", "specificity", "f1")
_LOSS = "loss"
_PROPER_NAMES = ("auc", "dice", "f1", "iou")


def finite(value: object) -> float | None:
    """Give a finite number as a float, anything else as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def figure_value(figure: object, key: str = "value") -> float | None:
    """Give one number of a figure, None where the figure or the number is undefined."""
    return finite(figure.get(key)) if isinstance(figure, Mapping) else None


def metric_label(name: str) -> str:
    """Name a metric for people: `dice:left lung` becomes `Dice, left lung`."""
    base, _, part = name.partition(":")
    label = _LABELS.get(base, base.replace("_", " ").capitalize())
    return f"{label}, {part}" if part else label


def metric_in_sentence(name: str) -> str:
    """Name a metric inside a sentence: `AUC` and `Dice` keep their capitals, the rest does not."""
    label = metric_label(name)
    return label if name.startswith(_PROPER_NAMES) else label[:1].lower() + label[1:]


def ordered_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Sort metrics for reading: the main ones first, parts after their whole, the loss last."""

    def place(name: str) -> tuple[int, str, str]:
        base, _, part = name.partition(":")
        known = _ORDER.index(base) if base in _ORDER else len(_ORDER) + (base == _LOSS)
        return known, base, part

    return tuple(sorted(names, key=place))


def number_text(value: float | None) -> str:
    """Three decimals, or an en dash."""
    return UNDEFINED if value is None else f"{value:.3f}"


def value_text(figure: object) -> str:
    """The value of a figure with three decimals, or an en dash."""
    return number_text(figure_value(figure))


def interval_text(figure: object) -> str:
    """The 95 % interval as `0.931 to 0.972`; an en dash without one."""
    low, high = figure_value(figure, "low"), figure_value(figure, "high")
    return UNDEFINED if low is None or high is None else f"{low:.3f} to {high:.3f}"


def support_text(figure: object) -> str:
    """The number of cases behind a figure."""
    return count_text(figure_value(figure, "support"))


def count_text(count: object) -> str:
    """A whole number with thousands set apart by a comma, or an en dash."""
    number = finite(count)
    return UNDEFINED if number is None else f"{number:,.0f}"


def reason_text(figure: object) -> str:
    """Why a figure is undefined; empty where it has a value."""
    if figure_value(figure) is not None:
        return ""
    reason = figure.get("reason") if isinstance(figure, Mapping) else None
    return str(reason) if reason else NO_REASON


def duration_text(seconds: object) -> str:
    """A duration in its natural unit: `4.9 s`, `12 min 5 s`, `3 h 20 min`."""
    number = finite(seconds)
    if number is None:
        return UNDEFINED
    if number < 60:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def rounds_text(result: Result) -> str:
    """How far a run got: `140 of 150 rounds`."""
    return f"{result.get('rounds_completed') or 0} of {result.get('rounds_planned') or 0} rounds"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 site`, `3 sites`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
