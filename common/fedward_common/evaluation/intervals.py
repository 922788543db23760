"""95 % confidence intervals, each from sums alone.

Every interval lies in [0, 1] and holds the value it is for. Cases count as independent of each
other, which is why a patient's images are averaged before they are summed. Where the usual variance
is zero (nothing was wrong, or nothing right) an interval of no width would lie; then the largest
variance that a mean of values in [0, 1] can have is taken, which makes it Wilson's interval.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedward_common.evaluation.checked_counts import FIXED_POINT_ONE, Counts

Interval = tuple[float, float]

NORMAL_QUANTILE = 1.959963984540054  # two-sided 95 %

# Student t, two-sided 95 %, 1 to 12 degrees of freedom (any printed table, here to 6 decimals).
_T_QUANTILES = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912,
    2.364624, 2.306004, 2.262157, 2.228139, 2.200985, 2.178813,
)  # fmt: skip


def _around(value: float, low: float, high: float) -> Interval:
    """Rounding may put a limit past the value or past 0 and 1 by an ulp; take that back."""
    return max(0.0, min(low, value)), min(1.0, max(high, value))


def wilson_interval(successes: float, trials: int) -> Interval:
    """Interval of a proportion `successes / trials`, with 1 trial or more.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22:209; Brown, Cai, DasGupta 2001, Stat. Sci. 16:101.
    """
    z2 = NORMAL_QUANTILE**2
    share = successes / trials
    middle = (successes + z2 / 2) / (trials + z2)
    spread = trials * share * (1 - share) + z2 / 4
    half = NORMAL_QUANTILE * math.sqrt(max(spread, 0.0)) / (trials + z2)
    return _around(share, middle - half, middle + half)


def logit_interval(value: float, standard_error: float) -> Interval:
    """Interval of a value strictly between 0 and 1, symmetric in its log-odds.

    Source: delta method; for the AUC recommended by Qin and Hotilovac 2008, Stat. Methods Med.
    Res. 17:207.
    """
    centre = math.log(value / (1 - value))
    half = NORMAL_QUANTILE * standard_error / (value * (1 - value))
    return _around(value, _expit(centre - half), _expit(centre + half))


def _expit(log_odds: float) -> float:
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    power = math.exp(max(log_odds, -700.0))
    return power / (1 + power)


def auc_of_histogram(histogram: Counts) -> float:
    """Share of pairs (positive, negative) in which the positive has the higher score.

    Pairs within one bin count half.

    Args:
        histogram: Negatives and positives by score, shape (2, bins), at least one of each.
    """
    placements, _ = _placements(histogram)
    return float(histogram[1] @ placements / histogram[1].sum())


def auc_bin_bound(histogram: Counts) -> float:
    """Give the most that `auc_of_histogram` can differ from the AUC of the unbinned scores.

    Binning keeps the order of cases in different bins, so only pairs within a bin can be counted
    wrongly, each by at most one half.
    """
    negatives, positives = histogram.astype(np.float64)
    return float(0.5 * (negatives @ positives) / (negatives.sum() * positives.sum()))


def _placements(histogram: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chance that a positive of each bin beats a negative, and that a negative is beaten."""
    negatives, positives = histogram.astype(np.float64)
    below = np.cumsum(negatives) - negatives / 2
    above = positives.sum() - np.cumsum(positives) + positives / 2
    return below / negatives.sum(), above / positives.sum()


def auc_interval(histogram: Counts) -> Interval:
    """Interval of `auc_of_histogram` by DeLong's variance, in log-odds.

    With an AUC of 0 or 1, a variance of 0 or one case of a class alone, Wilson's interval with the
    smaller class's count: no AUC has a variance above AUC (1 - AUC) / min(negatives, positives).

    Sources: DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837; Sun and Xu 2014, IEEE Signal
    Process. Lett. 21:1389; the bound: Birnbaum and Klose 1957, Ann. Math. Stat. 28:933.
    """
    auc = auc_of_histogram(histogram)
    totals = [int(total) for total in histogram.sum(axis=1)]
    variance = 0.0
    if min(totals) > 1:
        of_positives, of_negatives = _placements(histogram)
        for counts, total, placements in (
            (histogram[0], totals[0], of_negatives),
            (histogram[1], totals[1], of_positives),
        ):
            spread = float(counts @ (placements - auc) ** 2) / (total - 1)
            variance += spread / total
    if variance < 1e-15 or not 0 < auc < 1:
        return wilson_interval(auc * min(totals), min(totals))
    return logit_interval(auc, math.sqrt(variance))


def mean_of_intervals(intervals: list[Interval]) -> Interval:
    """Interval of the mean of several values from the same patients.

    It holds whatever their correlation is, since it takes them to move together; where they do not,
    it is wider than it need be.
    """
    lows, highs = zip(*intervals, strict=True)
    return math.fsum(lows) / len(lows), math.fsum(highs) / len(highs)


def balanced_accuracy_interval(correct: Counts, totals: Counts) -> Interval:
    """Interval of the mean of the classes' shares of correct cases, each class with a case.

    The classes' Wilson limits are combined by the method of variance estimates recovery, which
    unlike the delta method needs no exception where a class is all right or all wrong.

    Source: Zou and Donner 2008, Stat. Med. 27:1693.
    """
    shares = correct / totals
    limits = np.array(
        [wilson_interval(int(c), int(n)) for c, n in zip(correct, totals, strict=True)]
    )
    value = float(shares.mean())
    down, up = (
        math.sqrt(float(((limits[:, side] - shares) ** 2).sum())) / len(shares) for side in (0, 1)
    )
    return _around(value, value - down, value + up)


def f1_interval(true_positives: int, errors: int) -> Interval:
    """Interval of one class's F1 = 2 TP / (2 TP + FP + FN), `errors` being FP + FN.

    F1 = 2 J / (1 + J) with J = TP / (TP + FP + FN). Given the denominator J is a proportion, so its
    Wilson limits, put through the same rising function, are limits of F1.
    """
    low, high = wilson_interval(true_positives, true_positives + errors)
    value = 2 * true_positives / (2 * true_positives + errors)
    return _around(value, 2 * low / (1 + low), 2 * high / (1 + high))


def macro_f1_interval(confusion: Counts) -> Interval:
    """Interval of the mean of the classes' F1, each class with a case, by the delta method.

    The confusion, shape (K, K), is one draw of a multinomial. With a value of 0 or 1, or a variance
    of 0, the mean of the classes' intervals.

    Source: Takahashi, Yamamoto, Kuchiba, Koyama 2022, Appl. Intell. 52:4961, here in log-odds.
    """
    count = int(confusion.sum())
    share = confusion / count
    hits, sizes = np.diag(share), share.sum(axis=0) + share.sum(axis=1)
    loss = -2 * hits / sizes**2
    gradient = (loss[:, None] + loss[None, :] + np.diag(2 / sizes)) / len(share)
    mean = float((share * gradient).sum())
    variance = (float((share * gradient**2).sum()) - mean**2) / count
    value = float((2 * hits / sizes).mean())
    if variance < 1e-15 or not 0 < value < 1:
        errors = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * np.diag(confusion)
        pairs = zip(np.diag(confusion).tolist(), errors.tolist(), strict=True)
        return _around(value, *mean_of_intervals([f1_interval(hit, error) for hit, error in pairs]))
    return logit_interval(value, math.sqrt(variance))


def mean_interval(count: int, total: int, squares: int) -> Interval:
    """Interval of a mean of values in [0, 1], by Student's t, clipped to [0, 1].

    With one value, or all of them equal, Wilson's interval.

    Args:
        count: Number of values, 1 or more.
        total: Their sum, in units of 1/FIXED_POINT_ONE.
        squares: The sum of their squares, in the same units.
    """
    mean = total / FIXED_POINT_ONE / count
    # Integers of any size: the difference of two large sums loses no digit.
    scatter = count * squares * FIXED_POINT_ONE - total * total
    rounding = 2 * count * count * FIXED_POINT_ONE  # what half a unit for each number can make
    if count < 2 or scatter <= rounding:
        return wilson_interval(mean * count, count)
    variance = scatter / FIXED_POINT_ONE**2 / (count * (count - 1))
    half = student_t_quantile(count - 1) * math.sqrt(variance / count)
    return _around(mean, mean - half, mean + half)


def student_t_quantile(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t with 1 degree of freedom or more, to 1e-5.

    Source: above 12 degrees Abramowitz and Stegun 26.7.5 (Cornish-Fisher).
    """
    if degrees <= len(_T_QUANTILES):
        return _T_QUANTILES[degrees - 1]
    z = NORMAL_QUANTILE
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / degrees**power for power, term in enumerate(terms, start=1))
