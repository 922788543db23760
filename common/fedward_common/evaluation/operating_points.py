"""Where a classification of two classes draws the line, and what follows from it.

A threshold is the edge of a histogram bin, so the confusion at any threshold is exact.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_common.evaluation.checked_counts import NUM_SCORE_BINS, SCORE_LIMIT, Counts
from fedward_common.evaluation.sums import ClassificationSums

MAX_ROC_POINTS = 200


@dataclass(frozen=True)
class Threshold:
    """From which score on a case counts as class 1: the lower edge of a histogram bin.

    `bin_edge` is 0 (every case is class 1) to NUM_SCORE_BINS (none is).
    """

    bin_edge: int

    @property
    def probability(self) -> float:
        """The threshold as a probability of class 1: at least this much is class 1."""
        if self.bin_edge in (0, NUM_SCORE_BINS):
            return float(self.bin_edge > 0)
        log_odds = (2 * self.bin_edge / NUM_SCORE_BINS - 1) * SCORE_LIMIT
        return 1 / (1 + math.exp(-log_odds))


EVEN_ODDS = Threshold(NUM_SCORE_BINS // 2)


def _cases_from_edge(histogram: Counts) -> Counts:
    """Negatives and positives at or above each bin edge, shape (2, bins + 1)."""
    above = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([above, np.zeros((2, 1), dtype=np.int64)], axis=1)


def choose_threshold(sums: ClassificationSums) -> Threshold:
    """Choose the threshold of highest balanced accuracy on (pooled validation) sums.

    Neighbouring edges that tie count as one, at their middle; of several such, the one nearest to
    probability 0.5. Where a class has no case, probability 0.5.

    Raises:
        ValueError: There are more than two classes, which have no threshold.
    """
    if sums.num_classes != 2:
        raise ValueError(f"{sums.num_classes} classes have no threshold")
    negatives, positives = (int(total) for total in sums.class_totals)
    if negatives == 0 or positives == 0:
        return EVEN_ODDS
    false_alarms, hits = _cases_from_edge(sums.histograms[0])
    gain = hits * negatives - false_alarms * positives  # in integers, so that ties are exact
    best = np.flatnonzero(gain == gain.max())
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    middles = [(int(run[0]) + int(run[-1])) // 2 for run in runs]
    return Threshold(min(middles, key=lambda edge: abs(edge - EVEN_ODDS.bin_edge)))


def confusion_matrix(sums: ClassificationSums, threshold: Threshold | None) -> Counts:
    """Count cases by [true, predicted] class, shape (K, K).

    Of two classes the prediction goes by the threshold (None: probability 0.5), of more by the
    largest probability.

    Raises:
        ValueError: A threshold came for more than two classes.
    """
    if sums.num_classes > 2:
        if threshold is not None:
            raise ValueError(f"{sums.num_classes} classes have no threshold")
        return sums.confusion
    called = _cases_from_edge(sums.histograms[0])[:, (threshold or EVEN_ODDS).bin_edge]
    return np.stack([sums.class_totals - called, called], axis=1)


def roc_points(
    sums: ClassificationSums, curve: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give points of a ROC curve for drawing, from (0, 0) to (1, 1), MAX_ROC_POINTS at most.

    Returns:
        False and true positive rate, rising, of one length; empty where a class has no case. Each
        lies on the curve; what is left out is within 2 / (MAX_ROC_POINTS - 1) along it of a point.
    """
    histogram = sums.histograms[curve]
    totals = histogram.sum(axis=1)
    if (totals == 0).any():
        return np.zeros(0), np.zeros(0)
    rates = (_cases_from_edge(histogram) / totals[:, None])[:, ::-1]
    length = rates.sum(axis=0)
    wanted = np.linspace(0.0, 2.0, MAX_ROC_POINTS)
    kept = np.unique(np.searchsorted(length, wanted).clip(max=NUM_SCORE_BINS))
    return rates[0, kept], rates[1, kept]
