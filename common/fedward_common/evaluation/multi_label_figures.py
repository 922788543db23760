"""Figures of a multi-label split: those of each finding, and their means over the findings."""

import dataclasses
from collections.abc import Sequence

from fedward_common.evaluation.classification_sums import ClassificationSums
from fedward_common.evaluation.figures import (
    Figure,
    classification_figures,
    loss_figure,
    mean_figure,
)
from fedward_common.evaluation.multi_label_sums import MultiLabelSums
from fedward_common.evaluation.operating_points import Threshold


def multi_label_figures(
    sums: MultiLabelSums,
    class_names: Sequence[str],
    thresholds: Sequence[Threshold],
    *,
    split: str = "test",
) -> dict[str, Figure]:
    """Give auc, accuracy, balanced_accuracy, sensitivity, specificity and f1, and the loss.

    Each stands as `METRIC:NAME` for every finding, over the cases annotated for it, at the
    finding's threshold, and as `METRIC` for their mean; a mean is defined only where all its parts
    are. The loss is the mean over all annotated findings of all cases.

    Args:
        sums: Merged sums of the split.
        class_names: In the order of the class ids.
        thresholds: One a finding, chosen on other patients; empty for probability 0.5.
        split: How a reason calls these patients.

    Raises:
        ValueError: The names or the thresholds are not one for each finding.
    """
    drawn = tuple(thresholds) or (None,) * len(sums.findings)
    if not len(class_names) == len(drawn) == len(sums.findings):
        raise ValueError(
            f"{len(class_names)} names and {len(thresholds)} thresholds came "
            f"for {len(sums.findings)} findings"
        )
    parts = [
        _of_finding(one, name, threshold, split)
        for one, name, threshold in zip(sums.findings, class_names, drawn, strict=True)
    ]
    support = min(one.count for one in sums.findings)
    figures: dict[str, Figure] = {}
    for metric in parts[0]:
        figures[metric] = mean_figure([part[metric] for part in parts], support)
        for name, part in zip(class_names, parts, strict=True):
            figures[f"{metric}:{name}"] = part[metric]
    loss_sum = sum(one.loss_sum for one in sums.findings)
    count = sum(one.count for one in sums.findings)
    return figures | {"loss": loss_figure(loss_sum, count, split)}


def _of_finding(
    sums: ClassificationSums, name: str, threshold: Threshold | None, split: str
) -> dict[str, Figure]:
    negatives, positives = (int(total) for total in sums.class_totals)
    reason = _why_undefined(negatives, positives, name, split)
    figures = classification_figures(sums, (f"no {name}", name), threshold, split=split)
    del figures["loss"]
    return {
        metric: dataclasses.replace(
            figure,
            reason=reason if figure.value is None else None,
            positives=positives,
            negatives=negatives,
        )
        for metric, figure in figures.items()
    }


def _why_undefined(negatives: int, positives: int, name: str, split: str) -> str | None:
    if not negatives and not positives:
        return f"no patient in the {split} split is annotated for {name!r}"
    if not positives:
        return f"no patient in the {split} split has {name!r}"
    return (
        None if negatives else f"every patient annotated for {name!r} in the {split} split has it"
    )
