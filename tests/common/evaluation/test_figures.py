import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.evaluation.figures import (
    MAX_ROC_POINTS,
    Figure,
    Threshold,
    choose_threshold,
    classification_figures,
    confusion_matrix,
    roc_points,
    segmentation_figures,
)
from fedward_common.evaluation.sums import (
    NUM_SCORE_BINS,
    ClassificationSums,
    sums_of_classification,
    sums_of_segmentation,
)

NAMES = ("normal", "lesion")


def binary_sums(scores: list[float], labels: list[int]) -> ClassificationSums:
    p = np.array(scores)
    n = len(scores)
    return sums_of_classification(
        np.stack([1 - p, p], axis=1), np.array(labels, dtype=int), np.arange(n), np.full(n, 0.5)
    )


def rank_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """AUC by its definition, pair by pair: slow, and nothing of ours."""
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[positive] for n in scores[~positive]]
    return float(np.mean(pairs))


def random_sums(rng: np.random.Generator, n: int, k: int, sharpness: float) -> ClassificationSums:
    labels = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + sharpness * np.eye(k)[labels]
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return sums_of_classification(rows, labels, np.arange(n), -np.log(rows[range(n), labels]))


def test_binary_figures_of_six_patients_worked_by_hand() -> None:
    sums = binary_sums([0.1, 0.3, 0.6, 0.4, 0.8, 0.9], [0, 0, 0, 1, 1, 1])
    figures = classification_figures(sums, NAMES, None)
    values = {name: figure.value for name, figure in figures.items()}
    assert values == pytest.approx(
        {
            "auc": 8 / 9,  # only 0.4 against 0.6 is in the wrong order
            "accuracy": 4 / 6,
            "balanced_accuracy": 2 / 3,
            "sensitivity": 2 / 3,
            "specificity": 2 / 3,
            "f1": 2 / 3,
            "loss": 0.5,
        }
    )
    assert figures["auc"].bin_bound == 0
    assert (figures["auc"].support, figures["sensitivity"].support) == (6, 3)
    assert figures["loss"].low is None


def test_three_class_figures_worked_by_hand() -> None:
    rows = np.eye(3)[[0, 0, 1, 1, 2, 0]] * 0.8 + 0.2 / 3
    sums = sums_of_classification(rows, np.array([0, 0, 0, 1, 2, 2]), np.arange(6), np.ones(6))
    figures = classification_figures(sums, ("a", "b", "c"), None)
    assert figures["accuracy"].value == pytest.approx(4 / 6)
    assert figures["balanced_accuracy"].value == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert figures["sensitivity:a"].value == pytest.approx(2 / 3)
    assert figures["specificity:a"].value == pytest.approx(2 / 3)
    assert figures["f1:b"].value == pytest.approx(2 / 3)
    assert figures["f1"].value == pytest.approx((2 / 3 + 2 / 3 + 2 / 3) / 3)
    assert figures["auc:c"].value == pytest.approx(0.75)  # one of two found, the other tied
    parts = [figures[f"auc:{name}"].value or math.nan for name in "abc"]
    assert figures["auc"].value == pytest.approx(sum(parts) / 3)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(2, 40),
    digits=st.integers(1, 6),
    spread=st.sampled_from([0.001, 0.1, 3.0, 40.0]),
)
def test_the_auc_is_within_its_bin_bound_of_the_exact_rank_auc(
    seed: int, n: int, digits: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(1 / (1 + np.exp(-rng.normal(0, spread, n))), digits)
    labels = np.arange(n) % 2
    figure = classification_figures(binary_sums(scores.tolist(), labels.tolist()), NAMES, None)[
        "auc"
    ]
    assert figure.value is not None
    assert figure.bin_bound is not None
    exact = rank_auc(scores, labels == 1)
    assert abs(figure.value - exact) <= figure.bin_bound + 1e-12


def test_the_bin_bound_is_reached_by_scores_that_share_a_bin() -> None:
    figure = classification_figures(binary_sums([0.5, 0.501], [0, 1]), NAMES, None)["auc"]
    assert (figure.value, figure.bin_bound) == (0.5, 0.5)  # the exact AUC is 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 25),
    k=st.integers(2, 4),
    sharpness=st.sampled_from([0.0, 2.0, 20.0, -20.0]),
)
def test_every_figure_lies_in_its_interval_or_says_why_it_is_missing(
    seed: int, n: int, k: int, sharpness: float
) -> None:
    rng = np.random.default_rng(seed)
    sums = random_sums(rng, n, k, sharpness)
    threshold = choose_threshold(sums) if k == 2 else None
    figures = classification_figures(sums, [f"c{i}" for i in range(k)], threshold)
    dice = np.where(rng.random((n, k - 1)) < 0.4, np.nan, rng.integers(0, 3, (n, k - 1)) / 2)
    masks = sums_of_segmentation(dice, np.arange(n), np.ones(n))
    figures |= segmentation_figures(masks, [f"c{i}" for i in range(k)])
    for name, figure in figures.items():
        if figure.value is None:
            assert figure.reason
            assert figure.low is None
        elif name != "loss":
            assert figure.low is not None
            assert figure.high is not None
            assert 0 <= figure.low <= figure.value <= figure.high <= 1
            assert figure.reason is None


def test_a_site_with_patients_of_one_class_has_no_auc_and_says_why() -> None:
    figures = classification_figures(binary_sums([0.2, 0.7], [1, 1]), NAMES, None)
    reason = "no patient of class 'normal' in the test split"
    assert figures["auc"] == Figure(None, None, None, 2, reason=reason)
    assert figures["balanced_accuracy"].reason == figures["specificity"].reason == reason
    assert figures["specificity"].support == 0
    assert figures["accuracy"].value == figures["sensitivity"].value == 0.5


def test_no_patient_at_all_leaves_every_figure_undefined() -> None:
    for names in (NAMES, ("a", "b", "c")):
        rows, none = np.zeros((0, len(names))), np.zeros(0, dtype=int)
        sums = sums_of_classification(rows, none, none, np.zeros(0))
        figures = classification_figures(sums, names, None, split="validation")
        assert {f.reason for f in figures.values()} == {"no patient in the validation split"}


def test_more_than_two_classes_of_which_one_alone_has_patients_say_so() -> None:
    sums = sums_of_classification(np.eye(3)[[0, 1]], np.zeros(2, int), np.arange(2), np.zeros(2))
    figures = classification_figures(sums, ("a", "b", "c"), None)
    assert figures["specificity:a"].reason == "every patient in the test split is of class 'a'"
    assert figures["auc"].value is None
    assert figures["specificity:b"].value == 0.5


def test_the_threshold_of_separated_classes_lies_in_the_middle_between_them() -> None:
    threshold = choose_threshold(binary_sums([0.7, 0.75, 0.95, 0.97], [0, 0, 1, 1]))
    middle = (math.log(0.75 / 0.25) + math.log(0.95 / 0.05)) / 2
    assert math.log(threshold.probability / (1 - threshold.probability)) == pytest.approx(
        middle, abs=0.03
    )
    wide = choose_threshold(binary_sums([0.02, 0.98], [0, 1]))
    assert wide.probability == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [0, 1, 1]])
def test_without_two_classes_or_any_skill_the_threshold_is_one_half(labels: list[int]) -> None:
    assert choose_threshold(binary_sums([0.9, 0.9, 0.9], labels)).probability == 0.5


def test_thresholds_rise_from_all_to_none() -> None:
    assert Threshold(0).probability == 0
    assert Threshold(NUM_SCORE_BINS).probability == 1
    with pytest.raises(ValueError, match="3 classes"):
        choose_threshold(random_sums(np.random.default_rng(0), 5, 3, 1.0))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), edge=st.integers(0, NUM_SCORE_BINS))
def test_the_confusion_at_a_threshold_is_that_of_the_scores_and_none_beats_the_chosen_one(
    seed: int, edge: int
) -> None:
    rng = np.random.default_rng(seed)
    labels, log_odds = rng.integers(0, 2, 30), rng.normal(0, 3, 30)
    sums = binary_sums((1 / (1 + np.exp(-log_odds))).tolist(), labels.tolist())
    called = log_odds >= edge / NUM_SCORE_BINS * 24 - 12
    expected = [[np.sum((labels == t) & (called == p)) for p in (0, 1)] for t in (0, 1)]
    np.testing.assert_array_equal(confusion_matrix(sums, Threshold(edge)), expected)
    at_edge, at_chosen = (
        classification_figures(sums, NAMES, t)["balanced_accuracy"].value
        for t in (Threshold(edge), choose_threshold(sums))
    )
    assert at_edge is None or at_chosen is None or at_edge <= at_chosen + 1e-12


def test_a_roc_curve_is_thinned_rises_and_keeps_its_area() -> None:
    sums = random_sums(np.random.default_rng(4), 3000, 2, 1.0)
    false_rate, true_rate = roc_points(sums, 0)
    assert 50 < len(false_rate) == len(true_rate) <= MAX_ROC_POINTS
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert (np.diff(false_rate) >= 0).all()
    assert (np.diff(true_rate) >= 0).all()
    auc = classification_figures(sums, NAMES, None)["auc"].value
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(auc, abs=0.002)
    assert len(roc_points(binary_sums([0.4], [1]), 0)[0]) == 0


def test_dice_figures_count_who_was_left_out() -> None:
    dice = np.array([[0.5, np.nan], [1.0, np.nan], [np.nan, np.nan]])
    sums = sums_of_segmentation(dice, np.arange(3), np.ones(3))
    figures = segmentation_figures(sums, ("background", "heart", "tumour"))
    heart = figures["dice:heart"]
    assert (heart.value, heart.support, heart.excluded) == (0.75, 2, 1)
    tumour = figures["dice:tumour"]
    assert (tumour.value, tumour.support, tumour.excluded) == (None, 0, 3)
    assert tumour.reason == "no patient with 'tumour' in the test split"
    assert figures["dice"].reason == tumour.reason
    one = segmentation_figures(
        sums_of_segmentation(dice[:, :1], np.arange(3), np.ones(3)), ("background", "heart")
    )
    assert one["dice"] == one["dice:heart"]


def test_a_figure_as_a_table_leaves_out_what_says_nothing() -> None:
    assert Figure(0.5, 0.4, 0.6, 9).to_dict() == {
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "support": 9,
    }
    table = Figure(None, None, None, 0, "no patient", 0.0, 3).to_dict()
    assert table == {
        "value": None, "low": None, "high": None, "support": 0,
        "reason": "no patient", "bin_bound": 0.0, "excluded": 3,
    }  # fmt: skip


def test_names_that_do_not_fit_the_sums_are_refused() -> None:
    with pytest.raises(ValueError, match="3 names"):
        classification_figures(binary_sums([0.5], [1]), ("a", "b", "c"), None)
