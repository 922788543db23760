"""The learning rate as a pure function of the global step, so that a resumed run goes on as it was.

Every site is at the same global step in the same round, however often it took part; so is the
coordinator, where it takes the step for all of them.
"""

import math

from fedward_common.job.training_section import ScheduleSection


def learning_rate_at(
    step: int, total_steps: int, steps_per_round: int, section: ScheduleSection, base: float
) -> float:
    """Give the rate of one step.

    Linear from `base / w` to `base` over the first `w = warmup_rounds * steps_per_round` steps;
    then constant, or falling from `base` to `final_fraction * base` at the run's last step.

    Args:
        step: Global step, from 0 to total_steps - 1.
        total_steps: Steps of the whole run, rounds times local steps.
        steps_per_round: Local steps of one round.
        section: The job's schedule.
        base: Learning rate of the job's optimizer, above 0.
    """
    warmup_steps = section.warmup_rounds * steps_per_round
    if step < warmup_steps:
        return base * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    if section.name == "exponential":
        return float(base * section.final_fraction**progress)
    if section.name == "cosine":
        share = (1 + math.cos(math.pi * progress)) / 2
        return base * (section.final_fraction + (1 - section.final_fraction) * share)
    return base
