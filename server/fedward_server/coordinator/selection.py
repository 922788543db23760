"""Which round's weights are the best, and when to stop; decided on pooled validation figures."""

from collections.abc import Mapping, Sequence
from typing import Any

# A site that missed an evaluation changes whose patients were asked: such a round is not compared.
# Sites are counted, not patients: a site could claim any number of these.
_COMPARABLE_SHARE = 0.9
_LOWER_IS_BETTER = {"loss"}


def is_best(
    metric: str, evaluation: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]
) -> bool:
    """Say whether a new evaluation is better than all comparable ones before it.

    Args:
        metric: Name of the deciding figure.
        evaluation: Its `figures`, as `Figure.to_dict` gives each, and the `sites` in it.
        evaluations: Those before.
    """
    value, num_sites = evaluation["figures"][metric]["value"], len(evaluation["sites"])
    most = max((len(before["sites"]) for before in evaluations), default=0)
    if value is None or num_sites < _COMPARABLE_SHARE * most:
        return False
    comparable = [
        before["figures"][metric]["value"]
        for before in evaluations
        if before["figures"][metric]["value"] is not None
        and len(before["sites"]) >= _COMPARABLE_SHARE * num_sites
    ]
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
