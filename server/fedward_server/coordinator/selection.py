"""Which round's weights are the best, and when to stop; decided on pooled validation figures."""

from collections.abc import Mapping, Sequence
from typing import Any

# A site that missed an evaluation changes whose patients were asked: such a round is not compared.
_COMPARABLE_SUPPORT = 0.9
_LOWER_IS_BETTER = {"loss"}


def is_best(
    metric: str, figures: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]
) -> bool:
    """Say whether a new evaluation is better than all comparable ones before it.

    Args:
        metric: Name of the deciding figure.
        figures: The new evaluation, as `Figure.to_dict` gives each.
        evaluations: Those before, each with its `figures`.
    """
    value, support = figures[metric]["value"], figures[metric]["support"]
    if value is None:
        return False
    before = [
        e["figures"][metric] for e in evaluations if e["figures"][metric]["value"] is not None
    ]
    most = max((f["support"] for f in before), default=0)
    if support < _COMPARABLE_SUPPORT * most:
        return False
    comparable = [f["value"] for f in before if f["support"] >= _COMPARABLE_SUPPORT * support]
    if metric in _LOWER_IS_BETTER:
        return all(value < other for other in comparable)
    return all(value > other for other in comparable)


def should_stop(
    patience: int, best_round: int | None, evaluations: Sequence[Mapping[str, Any]]
) -> bool:
    """Say whether `patience` evaluations in a row were no better; 0 never stops."""
    if patience == 0 or best_round is None:
        return False
    return sum(1 for e in evaluations if e["round"] > best_round) >= patience
