import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

from fedward_common.evaluation.intervals import (
    auc_interval,
    auc_of_histogram,
    balanced_accuracy_interval,
    f1_interval,
    macro_f1_interval,
    mean_interval,
    mean_of_intervals,
    student_t_quantile,
    wilson_interval,
)
from fedward_common.evaluation.sums import FIXED_POINT_ONE, NUM_SCORE_BINS

Interval = tuple[float, float]


def holds(interval: Interval, value: float) -> bool:
    return 0 <= interval[0] <= value <= interval[1] <= 1


def histogram_of(negatives: np.ndarray, positives: np.ndarray) -> np.ndarray:
    return np.stack(
        [np.bincount(scores, minlength=NUM_SCORE_BINS) for scores in (negatives, positives)]
    )


def fixed(values: np.ndarray) -> tuple[int, int, int]:
    total, squares = (int(np.rint(v * FIXED_POINT_ONE).sum()) for v in (values, values**2))
    return len(values), total, squares


def test_t_quantiles_agree_with_scipy() -> None:
    degrees = [*range(1, 60), 100, 1000, 10**6]
    ours = [student_t_quantile(n) for n in degrees]
    np.testing.assert_allclose(ours, stats.t.ppf(0.975, degrees), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (3, 10), (57, 60), (5, 9000)])
def test_wilson_limits_agree_with_scipy(successes: int, trials: int) -> None:
    oracle = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(
        wilson_interval(successes, trials), (oracle.low, oracle.high), atol=1e-12
    )


def test_a_mean_with_t_limits_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).beta(5, 2, size=9)
    oracle = stats.t.interval(0.95, 8, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(mean_interval(*fixed(values)), oracle, atol=1e-6)


@pytest.mark.parametrize("values", [[0.5], [1.0, 1.0, 1.0], [0.0], [0.3, 0.3]])
def test_equal_or_single_values_get_wilson_limits_instead_of_no_width(values: list[float]) -> None:
    interval = mean_interval(*fixed(np.array(values)))
    np.testing.assert_allclose(interval, wilson_interval(sum(values), len(values)), atol=1e-9)
    assert interval[1] - interval[0] > 0.2


def test_delong_variance_agrees_with_the_pairwise_definition() -> None:
    rng = np.random.default_rng(5)
    negatives, positives = rng.integers(0, 30, 12), rng.integers(10, 40, 9)
    wins = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    auc = wins.mean()
    variance = wins.mean(axis=1).var(ddof=1) / 9 + wins.mean(axis=0).var(ddof=1) / 12
    low, high = auc_interval(histogram_of(negatives, positives))
    half = (math.log(high / (1 - high)) - math.log(low / (1 - low))) / 2
    assert math.isclose(half, 1.959963984540054 * math.sqrt(variance) / (auc * (1 - auc)))
    assert math.isclose(
        math.log(high * low / ((1 - high) * (1 - low))) / 2, math.log(auc / (1 - auc))
    )


@pytest.mark.parametrize(
    ("negatives", "positives", "auc"),
    [([1, 2], [5, 6, 7], 1.0), ([9, 9], [1, 1, 2], 0.0), ([4, 4], [4, 4, 4], 0.5)],
)
def test_an_auc_without_variance_gets_wilson_limits_of_the_smaller_class(
    negatives: list[int], positives: list[int], auc: float
) -> None:
    histogram = histogram_of(np.array(negatives), np.array(positives))
    assert auc_of_histogram(histogram) == auc
    assert auc_interval(histogram) == wilson_interval(2 * auc, 2)


def test_one_positive_alone_gives_an_interval_and_not_a_division_by_zero() -> None:
    histogram = histogram_of(np.arange(10), np.array([8]))
    assert holds(auc_interval(histogram), auc_of_histogram(histogram))


def test_f1_limits_are_wilson_limits_of_its_jaccard_index() -> None:
    low, high = wilson_interval(6, 10)  # TP 6, FP + FN 4: Jaccard 0.6, F1 12 / 16
    np.testing.assert_allclose(f1_interval(6, 4), (2 * low / (1 + low), 2 * high / (1 + high)))
    assert holds(f1_interval(6, 4), 0.75)


def test_macro_f1_variance_agrees_with_numerical_derivatives() -> None:
    confusion = np.array([[8, 2, 1], [1, 9, 0], [3, 1, 5]])
    share, count, step = confusion / 30, 30, 1e-6

    def macro_f1(p: np.ndarray) -> float:
        return float((2 * np.diag(p) / (p.sum(axis=0) + p.sum(axis=1))).mean())

    gradient = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            moved = np.zeros((3, 3))
            moved[i, j] = step
            gradient[i, j] = (macro_f1(share + moved) - macro_f1(share - moved)) / (2 * step)
    covariance = (np.diag(share.ravel()) - np.outer(share, share)) / count
    error = math.sqrt(gradient.ravel() @ covariance @ gradient.ravel())
    value = macro_f1(share)
    centre, half = math.log(value / (1 - value)), 1.959964 * error / (value * (1 - value))
    expected = [1 / (1 + math.exp(-(centre + sign * half))) for sign in (-1, 1)]
    np.testing.assert_allclose(macro_f1_interval(confusion), expected, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    cells=st.lists(st.integers(0, 40), min_size=9, max_size=9),
    scores=st.lists(st.integers(0, 9), min_size=2, max_size=12),
    cut=st.integers(1, 11),
)
def test_every_interval_lies_in_0_to_1_and_holds_its_value(
    cells: list[int], scores: list[int], cut: int
) -> None:
    confusion = np.array(cells).reshape(3, 3) + np.diag([1, 0, 0])
    confusion[1, 2] += 1
    confusion[2, 2] += 1
    correct, totals = np.diag(confusion), confusion.sum(axis=1)
    assert holds(balanced_accuracy_interval(correct, totals), float((correct / totals).mean()))
    sizes = confusion.sum(axis=0) + totals
    assert holds(macro_f1_interval(confusion), float((2 * correct / sizes).mean()))
    cut = min(cut, len(scores) - 1)
    histogram = histogram_of(np.array(scores[:cut]), np.array(scores[cut:]))
    assert holds(auc_interval(histogram), auc_of_histogram(histogram))
    dice = np.array(scores) / 9
    count, total, squares = fixed(dice)
    assert holds(mean_interval(count, total, squares), total / FIXED_POINT_ONE / count)
    assert holds(mean_of_intervals([wilson_interval(1, 4), wilson_interval(3, 4)]), 0.5)


def covered(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_auc_intervals_cover_the_true_auc_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(11)
    truth = float(stats.norm.cdf(1.5 / math.sqrt(2)))  # normal scores 1.5 apart: AUC 0.856
    samples = []
    for _ in range(600):
        negatives, positives = rng.normal(0, 1, 40), rng.normal(1.5, 1, 30)
        bins = [((s + 12) / 24 * 1024).astype(int) for s in (negatives, positives)]
        samples.append(auc_interval(histogram_of(*bins)))
    assert 0.92 <= covered(samples, truth) <= 0.98


def test_balanced_accuracy_and_f1_intervals_cover_the_truth_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(12)
    share = np.array([[0.5, 0.1], [0.04, 0.36]])
    draws = rng.multinomial(60, share.ravel(), size=600).reshape(-1, 2, 2)
    recalls = [balanced_accuracy_interval(np.diag(d), d.sum(axis=1)) for d in draws]
    assert 0.92 <= covered(recalls, (0.5 / 0.6 + 0.9) / 2) <= 0.98
    class_1 = [f1_interval(int(d[1, 1]), int(d[0, 1] + d[1, 0])) for d in draws]
    assert 0.92 <= covered(class_1, 0.72 / 0.86) <= 0.98
    macro = [macro_f1_interval(d) for d in draws]
    assert 0.92 <= covered(macro, (0.72 / 0.86 + 1.0 / 1.14) / 2) <= 0.98


def test_mean_dice_intervals_cover_the_truth_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(13)
    samples = [mean_interval(*fixed(rng.beta(8, 2, size=15))) for _ in range(600)]
    assert 0.92 <= covered(samples, 0.8) <= 0.98
