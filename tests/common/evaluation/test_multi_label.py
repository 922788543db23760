"""Figures of findings: by hand, against a slow second version, and blind to what is masked."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward_common.errors import CohortError, MalformedMessageError, UnusableUpdateError
from fedward_common.evaluation.figures import Figure, classification_figures
from fedward_common.evaluation.multi_label_figures import multi_label_figures
from fedward_common.evaluation.operating_points import Threshold, choose_threshold
from fedward_common.evaluation.sums import (
    ClassificationSums,
    MultiLabelSums,
    sums_of_classification,
    sums_of_multi_label,
)

NAMES = ("effusion", "nodule")
METRICS = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1")
# Six patients of one image: findings present 1, absent 0, not annotated -1.
LABELS = np.array([[0, 1], [0, -1], [0, 0], [1, -1], [1, 0], [1, 1]])
SCORES = np.array([[0.1, 0.9], [0.3, 0.7], [0.6, 0.2], [0.4, 0.6], [0.8, 0.6], [0.9, 0.3]])


def one_image_each(scores: NDArray[Any], labels: NDArray[Any]) -> MultiLabelSums:
    return sums_of_multi_label(scores, labels, np.arange(len(labels)), np.full(labels.shape, 0.5))


def values(figures: dict[str, Figure]) -> dict[str, float | None]:
    return {name: figure.value for name, figure in figures.items()}


def slow_figures(scores: NDArray[Any], labels: NDArray[Any], threshold: float) -> dict[str, float]:
    """Figures of one finding by their definitions, of annotated cases one by one."""
    pairs = [(s, label) for s, label in zip(scores, labels, strict=True) if label >= 0]
    positives = [s for s, label in pairs if label == 1]
    negatives = [s for s, label in pairs if label == 0]
    order = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    hits = sum(s >= threshold for s in positives)
    alarms = sum(s >= threshold for s in negatives)
    sensitivity, specificity = hits / len(positives), 1 - alarms / len(negatives)
    return {
        "auc": sum(order) / len(order),
        "accuracy": (hits + len(negatives) - alarms) / len(pairs),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "f1": 2 * hits / (hits + alarms + len(positives)),
    }


def test_figures_of_six_patients_worked_by_hand() -> None:
    figures = multi_label_figures(one_image_each(SCORES, LABELS), NAMES, ())
    of_effusion = {"auc": 8 / 9, "sensitivity": 2 / 3, "specificity": 2 / 3, "accuracy": 4 / 6}
    # Of the nodule's four: 0.9 and 0.3 have it, 0.2 and 0.6 do not.
    of_nodule = {"auc": 3 / 4, "sensitivity": 1 / 2, "specificity": 1 / 2, "accuracy": 2 / 4}
    for metric in of_effusion:
        assert figures[f"{metric}:effusion"].value == pytest.approx(of_effusion[metric])
        assert figures[f"{metric}:nodule"].value == pytest.approx(of_nodule[metric])
        mean = (of_effusion[metric] + of_nodule[metric]) / 2
        assert figures[metric].value == pytest.approx(mean)
    assert figures["loss"].value == 0.5
    assert figures["loss"].support == 10


def test_the_annotated_with_and_without_a_finding_stand_beside_its_figures() -> None:
    figures = multi_label_figures(one_image_each(SCORES, LABELS), NAMES, ())
    auc = figures["auc:nodule"].to_dict()
    assert (auc["positives"], auc["negatives"], auc["support"]) == (2, 2, 4)
    assert figures["sensitivity:effusion"].support == 3
    assert figures["auc"].support == 4  # the smallest of the findings'
    assert "positives" not in figures["auc"].to_dict()


def test_a_finding_has_its_own_threshold() -> None:
    sums = one_image_each(SCORES, LABELS)
    thresholds = tuple(choose_threshold(one) for one in sums.findings)
    figures = multi_label_figures(sums, NAMES, thresholds)
    for k, name in enumerate(NAMES):
        expected = slow_figures(SCORES[:, k], LABELS[:, k], thresholds[k].probability)
        assert {m: figures[f"{m}:{name}"].value for m in METRICS} == pytest.approx(expected)
    assert thresholds[0] != thresholds[1]


def test_of_one_finding_a_patients_images_of_one_label_are_one_case() -> None:
    labels = np.array([[1, 0], [1, 1], [0, -1], [-1, 1]])
    scores = np.array([[0.9, 0.1], [0.3, 0.8], [0.2, 0.5], [0.7, 0.2]])
    losses = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 100.0], [100.0, 6.0]])
    sums = sums_of_multi_label(scores, labels, np.array([7, 7, 7, 8]), losses)
    # Finding 0: patient 7 with (0.6) and without (0.2). Finding 1: 7 without, 7 with, 8 with.
    assert [one.count for one in sums.findings] == [2, 3]
    assert [one.class_totals.tolist() for one in sums.findings] == [[1, 1], [1, 2]]
    assert [one.loss_sum / 2**32 for one in sums.findings] == [2.0 + 5.0, 2.0 + 4.0 + 6.0]


def test_one_finding_is_judged_as_a_classification_of_two_classes_is() -> None:
    rng = np.random.default_rng(5)
    scores, labels, patients = rng.random(50), rng.integers(0, 2, 50), rng.integers(0, 20, 50)
    losses = rng.exponential(size=50)
    rows = np.stack([1 - scores, scores], axis=1)
    binary = sums_of_classification(rows, labels, patients, losses)
    several = sums_of_multi_label(scores[:, None], labels[:, None], patients, losses[:, None])
    assert several.findings == (binary,)
    expected = values(classification_figures(binary, ("no", "yes"), Threshold(500)))
    figures = values(multi_label_figures(several, ("yes",), (Threshold(500),)))
    assert {name: figures[name] for name in expected} == expected


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 30), max_size=3).map(sorted))
def test_merged_figures_are_those_of_all_patients_counted_one_by_one(
    seed: int, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 2, (34, 2))
    labels[:4] = [[0, 0], [1, 1], [0, 1], [1, 0]]  # so that all is defined
    scores = rng.permuted(np.tile(np.linspace(0.02, 0.98, 34)[:, None], (1, 2)), axis=0)
    edges = [0, *cuts, 34]
    parts = [one_image_each(scores[a:b], labels[a:b]) for a, b in pairwise(edges)]
    total = parts[0]
    for part in parts[1:]:
        total = total.merge(part)
    figures = multi_label_figures(total, NAMES, (Threshold(512), Threshold(480)))
    for k, (name, edge) in enumerate(zip(NAMES, (512, 480), strict=True)):
        expected = slow_figures(scores[:, k], labels[:, k], Threshold(edge).probability)
        assert {m: figures[f"{m}:{name}"].value for m in METRICS} == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), wrong=st.sampled_from([0.0, 0.5, 1.0, float("nan")]))
def test_what_is_not_annotated_never_changes_a_sum(seed: int, wrong: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 2, (20, 3))
    scores, losses = rng.random((20, 3)), rng.exponential(size=(20, 3))
    patients = rng.integers(0, 8, 20)
    before = sums_of_multi_label(scores, labels, patients, losses)
    scores[labels == -1] = losses[labels == -1] = wrong
    assert sums_of_multi_label(scores, labels, patients, losses) == before


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([-1, -1, -1], "no patient in the test split is annotated for 'nodule'"),
        ([0, -1, 0], "no patient in the test split has 'nodule'"),
        ([1, 1, -1], "every patient annotated for 'nodule' in the test split has it"),
    ],
)
def test_a_finding_without_cases_is_undefined_and_says_why(column: list[int], reason: str) -> None:
    labels = np.array([[0, 0, 1], column]).T
    figures = multi_label_figures(one_image_each(np.full((3, 2), 0.4), labels), NAMES, ())
    assert figures["auc:effusion"].value is not None
    for name in ("auc", "auc:nodule", "balanced_accuracy:nodule"):
        assert (figures[name].value, figures[name].reason) == (None, reason)
    defined = {name for name, figure in figures.items() if figure.value is not None}
    assert {f"{metric}:effusion" for metric in METRICS} | {"loss"} <= defined
    assert all((figure.value is None) == (figure.reason is not None) for figure in figures.values())


def test_no_patient_at_all_leaves_every_figure_undefined() -> None:
    figures = multi_label_figures(MultiLabelSums.empty(2), NAMES, (), split="validation")
    assert {figure.value for figure in figures.values()} == {None}
    assert all("validation" in (figure.reason or "") for figure in figures.values())


def test_a_label_that_is_none_of_the_three_or_a_diverged_model_is_refused() -> None:
    one, patient = np.array([[0.5]]), np.array([0])
    for label in (2, -2):
        with pytest.raises(CohortError):
            sums_of_multi_label(one, np.array([[label]]), patient, one)
    with pytest.raises(UnusableUpdateError):
        sums_of_multi_label(one * np.nan, np.array([[1]]), patient, one)


def test_sums_of_other_numbers_of_findings_or_classes_do_not_mix() -> None:
    with pytest.raises(MalformedMessageError):
        MultiLabelSums.empty(2).merge(MultiLabelSums.empty(3))
    with pytest.raises(MalformedMessageError):
        MultiLabelSums((ClassificationSums.empty(3),))
    with pytest.raises(MalformedMessageError):
        MultiLabelSums(())
    with pytest.raises(ValueError, match="2 findings"):
        multi_label_figures(MultiLabelSums.empty(2), ("only one",), ())
