"""Which round's weights are the best, and when to stop; decided on pooled validation figures."""

from collections.abc import Mapping, Sequence
from typing import Any

# A site that missed an evaluation changes whose patients were asked: such a round is not compared.
_COMPARABLE_SHARE = 0.9
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
    value, asked = figures[metric]["value"], _num_patients(figures)
    if value is None:
        return False
    most = max((_num_patients(e["figures"]) for e in evaluations), default=0)
    if asked < _COMPARABLE_SHARE * most:
        return False
    comparable = [
        e["figures"][metric]["value"]
        for e in evaluations
        if e["figures"][metric]["value"] is not None
        and _num_patients(e["figures"]) >= _COMPARABLE_SHARE * asked
    ]
    if metric in _LOWER_IS_BETTER:
        return all(value < other for other in comparable)
    return all(value > other for other in comparable)


def _num_patients(figures: Mapping[str, Any]) -> int:
    # Of all figures the loss alone counts everybody: a Dice leaves out whom both masks spare.
    return int(figures["loss"]["support"])


def should_stop(
    patience: int, best_round: int | None, evaluations: Sequence[Mapping[str, Any]]
) -> bool:
    """Say whether `patience` evaluations in a row were no better; 0 never stops."""
    if patience == 0 or best_round is None:
        return False
    return sum(1 for e in evaluations if e["round"] > best_round) >= patience
