"""A lower bound on epsilon from one training with many canaries, each in it or not by a coin.

An auditor sees what was released and guesses for some canaries whether they were in. Under
(epsilon, delta) too many right guesses are improbable, so many right guesses refute the epsilon.

Source: Steinke, Nasr and Jagielski 2023, arXiv:2305.08846, theorem 5.2 and appendix D.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom  # type: ignore[import-untyped]  # scipy ships no types


def probability_of_guesses(
    num_canaries: int, num_guesses: int, num_right: int, epsilon: float, delta: float
) -> float:
    """Bound the probability of at least `num_right` right guesses under (epsilon, delta)."""
    one_right = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(num_right - 1, num_guesses, one_right))
    terms = binom.pmf(num_right - np.arange(1, num_right + 1), num_guesses, one_right)
    worst = float(np.max(np.cumsum(terms) / np.arange(1, num_right + 1), initial=0.0))
    return min(1.0, tail + 2 * num_canaries * delta * worst)


def epsilon_lower_bound(
    num_canaries: int, num_guesses: int, num_right: int, delta: float, confidence: float
) -> float:
    """Give the largest epsilon that these guesses refute at this confidence; 0 if none."""
    low, high = 0.0, 50.0
    refuted = 1 - confidence
    if probability_of_guesses(num_canaries, num_guesses, num_right, low, delta) > refuted:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if probability_of_guesses(num_canaries, num_guesses, num_right, middle, delta) > refuted:
            high = middle
        else:
            low = middle
    return low


def best_lower_bound(
    scores: NDArray[np.float64],
    was_in: NDArray[np.bool_],
    delta: float,
    confidence: float,
    guesses: tuple[int, ...],
) -> float:
    """Guess "in" for the highest scores and "out" for the lowest; give the best bound.

    Args:
        scores: Of each canary, larger where the release looks as if it was in.
        was_in: The coins.
        delta: Of the claim.
        confidence: Of all numbers of guesses together: each is tried with its share of the doubt.
        guesses: How many canaries are guessed, one try each.
    """
    order = np.argsort(scores, kind="stable")
    each = 1 - (1 - confidence) / len(guesses)
    bounds = []
    for count in guesses:
        half = count // 2
        right = int(was_in[order[-half:]].sum() + (~was_in[order[:half]]).sum())
        bounds.append(epsilon_lower_bound(len(scores), 2 * half, right, delta, each))
    return max(bounds)
