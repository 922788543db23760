"""SCAFFOLD's control variates as one site sees them.

`c` is the global control variate, `c_i` the site's own. Every step is corrected by c - c_i, and
what the round changes in c_i follows from how far the weights came (option II). So c_i is made of
updates, c and the job alone: where updates carry noise, it costs no privacy of its own.

Source: Karimireddy et al. 2020, arXiv:1910.06378, algorithm 1.
"""

import numpy as np

from fedward_client.training.local_training import RoundOfTraining
from fedward_common.errors import TrainingError
from fedward_common.job.job_file import TrainingSection
from fedward_common.job.learning_rate import learning_rate_at
from fedward_common.models.parameter_spec import FlatWeights


def change_of_own_variate(
    update: FlatWeights, global_variate: FlatWeights, sum_of_rates: float
) -> FlatWeights:
    """Give the new c_i minus the old one: -c - update / (K lr).

    Args:
        update: New weights minus the global ones.
        global_variate: c of the round.
        sum_of_rates: Learning rates of all K steps of the round; with one rate, K lr. Where it is
            0, no step was taken and nothing changes.

    Raises:
        TrainingError: `NON_FINITE`, the rates are too small for float32.
    """
    if sum_of_rates == 0:
        return np.zeros_like(global_variate)
    with np.errstate(over="ignore"):
        change: FlatWeights = np.divide(update, np.float32(-sum_of_rates), dtype=np.float32)
    change -= global_variate
    if not np.isfinite(change).all():
        raise TrainingError(
            "a control variate is not finite",
            hint="the learning rate is too small for float32",
            code="NON_FINITE",
        )
    return change


def sum_of_rates(section: TrainingSection, round_: RoundOfTraining) -> float:
    """Add up the learning rates of a round's steps."""
    steps = section.local_steps
    first = (round_.round_number - 1) * steps
    return sum(
        learning_rate_at(
            step,
            round_.total_rounds * steps,
            steps,
            section.schedule,
            section.optimizer.learning_rate,
        )
        for step in range(first, first + steps)
    )
