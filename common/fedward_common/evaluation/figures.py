"""Figures of a split, derived from merged sums alone.

A figure that cannot be had (no patient, or none of a class) has no value and says why; it is never
a 0 or a 0.5 that looks like a result. Binary figures follow from the histogram at a threshold that
is a bin edge, so they are exact; only the AUC knows scores no finer than a bin, and says by how
much at most (`bin_bound`).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedward_common.evaluation.checked_counts import FIXED_POINT_ONE, Counts
from fedward_common.evaluation.intervals import (
    auc_bin_bound,
    auc_interval,
    auc_of_histogram,
    balanced_accuracy_interval,
    f1_interval,
    macro_f1_interval,
    mean_interval,
    mean_of_intervals,
    wilson_interval,
)
from fedward_common.evaluation.operating_points import (
    MAX_ROC_POINTS,
    Threshold,
    choose_threshold,
    confusion_matrix,
    roc_points,
)
from fedward_common.evaluation.sums import ClassificationSums, SegmentationSums

__all__ = [
    "MAX_ROC_POINTS",
    "Figure",
    "Threshold",
    "choose_threshold",
    "classification_figures",
    "confusion_matrix",
    "roc_points",
    "segmentation_figures",
]


@dataclass(frozen=True)
class Figure:
    """One metric with its 95 % interval, or the reason why there is none.

    Attributes:
        value: The metric; None where it is not defined.
        low: Lower limit, at most `value`; None where there is no interval.
        high: Upper limit, at least `value`; None where there is no interval.
        support: Cases it rests on: for sensitivity the positives, for Dice the patients with one.
        reason: Why there is no value.
        bin_bound: Of an AUC: the most it can differ from that of the unbinned scores.
        excluded: Of a Dice: patients left out, as neither truth nor prediction has the structure.
        positives: Of a finding of a multi-label task: annotated cases that have it.
        negatives: Of the same: annotated cases that do not.
    """

    value: float | None
    low: float | None
    high: float | None
    support: int
    reason: str | None = None
    bin_bound: float | None = None
    excluded: int = 0
    positives: int | None = None
    negatives: int | None = None

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Give value, low, high and support always, the other fields where they say something."""
        silent = {"reason": None, "bin_bound": None, "excluded": 0}
        silent |= {"positives": None, "negatives": None}
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if k not in silent or v != silent[k]}


def classification_figures(
    sums: ClassificationSums,
    class_names: Sequence[str],
    threshold: Threshold | None,
    *,
    split: str = "test",
) -> dict[str, Figure]:
    """Give every figure of a classification by name.

    Two classes: auc, accuracy, balanced_accuracy, sensitivity, specificity, f1 (of class 1), loss,
    at the threshold (None: probability 0.5). More: `auc` and `f1` are means over the classes and
    stand beside `auc:NAME`, `sensitivity:NAME`, `specificity:NAME`, `f1:NAME` of each class against
    the rest; a mean is defined only where all its parts are.

    Args:
        sums: Merged sums of the split.
        class_names: In the order of the class ids.
        threshold: From `choose_threshold` on other patients; None for more than two classes.
        split: How a reason calls these patients.

    Raises:
        ValueError: The names are not one for each class, or there is a threshold for more than two.
    """
    if len(class_names) != sums.num_classes:
        raise ValueError(f"{len(class_names)} names came for {sums.num_classes} classes")
    confusion = confusion_matrix(sums, threshold)
    present = _Present(tuple(class_names), tuple(sums.class_totals.tolist()), split)
    figures = _auc_figures(sums, present) | _accuracy_figures(confusion, present)
    if sums.num_classes == 2:
        figures |= _class_figures(confusion, present, 1, suffix="")
    else:
        for k, name in enumerate(class_names):
            figures |= _class_figures(confusion, present, k, suffix=f":{name}")
        figures["f1"] = _macro_f1_figure(confusion, present)
    figures["loss"] = loss_figure(sums.loss_sum, sums.count, split)
    return figures


def segmentation_figures(
    sums: SegmentationSums, class_names: Sequence[str], *, split: str = "test"
) -> dict[str, Figure]:
    """Give `dice:NAME` of each structure, `dice` as their mean, and loss.

    Args:
        sums: Merged sums of the split.
        class_names: In the order of the class ids, the background first.
        split: How a reason calls these patients.

    Raises:
        ValueError: The names are not one for each structure and one for the background.
    """
    if len(class_names) != sums.num_structures + 1:
        raise ValueError(f"{len(class_names)} names came for {sums.num_structures} structures")
    parts = [
        _dice_figure(sums, k, f"no patient with {name!r} in the {split} split")
        for k, name in enumerate(class_names[1:])
    ]
    support, excluded = min(p.support for p in parts), max(p.excluded for p in parts)
    figures = {"dice": mean_figure(parts, support, excluded)}
    figures |= {f"dice:{name}": part for name, part in zip(class_names[1:], parts, strict=True)}
    return figures | {"loss": loss_figure(sums.loss_sum, sums.patients, split)}


@dataclass(frozen=True)
class _Present:
    """Which classes have cases, and the reason that an undefined figure gives."""

    names: tuple[str, ...]
    totals: tuple[int, ...]
    split: str

    @property
    def count(self) -> int:
        return sum(self.totals)

    def rest(self, k: int) -> int:
        return self.count - self.totals[k]

    def reason_without(self, *classes: int) -> str | None:
        """Why a figure that needs a case of each of these classes is undefined, if it is."""
        if self.count == 0:
            return f"no patient in the {self.split} split"
        absent = [self.names[k] for k in classes if self.totals[k] == 0]
        return f"no patient of class {absent[0]!r} in the {self.split} split" if absent else None

    def reason_without_rest(self, k: int) -> str | None:
        """The same for a figure that needs a case of any other class."""
        if len(self.totals) == 2 or self.count == 0 or self.rest(k) > 0:
            return self.reason_without(*([1 - k] if len(self.totals) == 2 else []))
        return f"every patient in the {self.split} split is of class {self.names[k]!r}"


def _undefined(support: int, reason: str, excluded: int = 0) -> Figure:
    return Figure(None, None, None, support, reason=reason, excluded=excluded)


def mean_figure(parts: Sequence[Figure], support: int, excluded: int = 0) -> Figure:
    """Give the mean of several figures of the same patients; undefined where one of them is."""
    reason = next((part.reason for part in parts if part.reason is not None), None)
    if reason is not None:
        return _undefined(support, reason, excluded)
    value = math.fsum(part.value or 0.0 for part in parts) / len(parts)
    low, high = mean_of_intervals([(part.low or 0.0, part.high or 0.0) for part in parts])
    bounds = [part.bin_bound for part in parts if part.bin_bound is not None]
    bound = math.fsum(bounds) / len(parts) if bounds else None
    return Figure(value, low, high, support, bin_bound=bound, excluded=excluded)


def _auc_figures(sums: ClassificationSums, present: _Present) -> dict[str, Figure]:
    curves = [1] if sums.num_classes == 2 else range(sums.num_classes)
    parts = [
        _auc_figure(histogram, present, k)
        for k, histogram in zip(curves, sums.histograms, strict=True)
    ]
    if len(parts) == 1:
        return {"auc": parts[0]}
    named = {f"auc:{name}": part for name, part in zip(present.names, parts, strict=True)}
    return {"auc": mean_figure(parts, sums.count), **named}


def _auc_figure(histogram: Counts, present: _Present, k: int) -> Figure:
    reason = present.reason_without(k) or present.reason_without_rest(k)
    if reason is not None:
        return _undefined(present.count, reason)
    low, high = auc_interval(histogram)
    value, bound = auc_of_histogram(histogram), auc_bin_bound(histogram)
    return Figure(value, low, high, present.count, bin_bound=bound)


def _share_figure(successes: int, trials: int, reason: str | None) -> Figure:
    if reason is not None:
        return _undefined(trials, reason)
    return Figure(successes / trials, *wilson_interval(successes, trials), trials)


def _accuracy_figures(confusion: Counts, present: _Present) -> dict[str, Figure]:
    correct, totals = np.diag(confusion), confusion.sum(axis=1)
    accuracy = _share_figure(int(correct.sum()), present.count, present.reason_without())
    reason = present.reason_without(*range(len(totals)))
    if reason is not None:
        return {"accuracy": accuracy, "balanced_accuracy": _undefined(present.count, reason)}
    value = float((correct / totals).mean())
    low, high = balanced_accuracy_interval(correct, totals)
    balanced = Figure(value, low, high, present.count)
    return {"accuracy": accuracy, "balanced_accuracy": balanced}


def _class_figures(
    confusion: Counts, present: _Present, k: int, *, suffix: str
) -> dict[str, Figure]:
    hits, called = int(confusion[k, k]), int(confusion[:, k].sum())
    positives, rest = present.totals[k], present.rest(k)
    right_rest = rest - (called - hits)
    without_class = present.reason_without(k)
    errors = (positives - hits) + (called - hits)
    return {
        f"sensitivity{suffix}": _share_figure(hits, positives, without_class),
        f"specificity{suffix}": _share_figure(right_rest, rest, present.reason_without_rest(k)),
        f"f1{suffix}": _f1_figure(hits, errors, present.count, without_class),
    }


def _f1_figure(hits: int, errors: int, support: int, reason: str | None) -> Figure:
    if reason is not None:
        return _undefined(support, reason)
    return Figure(2 * hits / (2 * hits + errors), *f1_interval(hits, errors), support)


def _macro_f1_figure(confusion: Counts, present: _Present) -> Figure:
    reason = present.reason_without(*range(len(confusion)))
    if reason is not None:
        return _undefined(present.count, reason)
    sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
    value = float((2 * np.diag(confusion) / sizes).mean())
    return Figure(value, *macro_f1_interval(confusion), present.count)


def loss_figure(loss_sum: int, count: int, split: str) -> Figure:
    """Give a mean loss, which has no interval."""
    if count == 0:
        return _undefined(0, f"no patient in the {split} split")
    return Figure(loss_sum / FIXED_POINT_ONE / count, None, None, count)


def _dice_figure(sums: SegmentationSums, k: int, reason: str) -> Figure:
    count, excluded = int(sums.counts[k]), int(sums.both_empty[k])
    if count == 0:
        return _undefined(0, reason, excluded)
    total, squares = int(sums.dice_sums[k]), int(sums.dice_square_sums[k])
    low, high = mean_interval(count, total, squares)
    return Figure(total / FIXED_POINT_ONE / count, low, high, count, excluded=excluded)
