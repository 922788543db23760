"""How much noise a job needs, from what it may cost."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

from fedward_common.errors import PrivacyError
from fedward_common.job.privacy_section import MIN_NOISE_MULTIPLIER
from fedward_common.job.training_section import TrainingSection
from fedward_common.privacy.accountant import PLD, merge, require_delta
from fedward_common.privacy.disclosures import Disclosure, SampledGaussian

# Multipliers of four digits, counted upwards: 0.01 is 0, 0.01001 is 1, 1.0 is 18000.
_PER_DECADE = 9000
_SMALLEST = 0
_LARGEST = 8 * _PER_DECADE
# Of log epsilon over log sigma, to begin with; and how far apart two points must be to correct it.
_USUAL_SLOPE = -1.1
_FAR_ENOUGH = 0.005
_NEWTON_STEPS = 8
_ALL_STEPS = 30  # halving 72,000 takes 17


def noise_multiplier_for(
    epsilon: float,
    delta: float,
    *,
    sampling_rate: float,
    num_steps: int,
    already: Sequence[Disclosure] = (),
) -> float:
    """Give the smallest noise multiplier that keeps within an epsilon.

    Args:
        epsilon: What all disclosures together may cost, above 0.
        delta: The delta of that epsilon.
        sampling_rate: Each patient's chance of being in a step's sample.
        num_steps: Steps of the whole run.
        already: What was disclosed before, and counts as well.

    Returns:
        A multiplier of four significant digits, from 0.01 to 1e6: the accountant gives `epsilon` or
        less with it, and more with the next smaller one.

    Raises:
        PrivacyError: `INVALID_EPSILON`, `INVALID_DELTA`, `INVALID_DISCLOSURE`; `BUDGET_EXCEEDED`:
            what was disclosed before leaves no room for any noise.
    """
    require_epsilon(epsilon)
    require_delta(delta)
    steps = SampledGaussian(1.0, sampling_rate, num_steps)

    @functools.cache
    def epsilon_at(index: int) -> float:
        planned = dataclasses.replace(steps, noise_multiplier=_multiplier(index))
        return PLD.epsilon_of([*already, planned], delta)

    first = _estimate(epsilon, delta, steps, already)
    if epsilon_at(_LARGEST) > epsilon:
        raise PrivacyError(
            f"epsilon {epsilon:g} at delta {delta:g}: not even a noise multiplier of "
            f"{_multiplier(_LARGEST):g} keeps within it",
            hint=f"before this job it is {PLD.epsilon_of(already, delta):.4g} already",
            code="BUDGET_EXCEEDED",
        )
    return _multiplier(_smallest_index(epsilon_at, epsilon, first))


def require_epsilon(epsilon: float) -> None:
    """Check that an epsilon can be aimed at.

    Raises:
        PrivacyError: `INVALID_EPSILON`.
    """
    if not 0 < epsilon < math.inf:
        raise PrivacyError(
            f"epsilon is {epsilon}", hint="a finite number above 0", code="INVALID_EPSILON"
        )


def require_delta_fits(delta: float, num_patients: int) -> None:
    """Check that delta is small against one patient's share.

    A delta of 1 / N allows to publish one patient's image; a tenth of it is the most that is taken.

    Raises:
        PrivacyError: `DELTA_TOO_LARGE`, `INVALID_DELTA`, or `NO_PATIENTS`.
    """
    require_delta(delta)
    _require_patients(num_patients)
    if delta > 1 / (10 * num_patients):
        raise PrivacyError(
            f"delta {delta:g} is too large for {num_patients} patients: at most 1 / (10 N), "
            f"{1 / (10 * num_patients):.4g}",
            hint="a smaller delta costs little: 1e-6 for 1e-5 is about 10 % more noise",
            code="DELTA_TOO_LARGE",
        )


def sampling_rate_of(section: TrainingSection, num_patients: int) -> float:
    """Give each patient's chance of being in a step's sample.

    Raises:
        PrivacyError: `BATCH_TOO_LARGE`: more patients a step than there are; `NO_PATIENTS`.
    """
    _require_patients(num_patients)
    if section.batch_patients is None:
        return float(section.sampling_rate or 0.0)
    if section.batch_patients > num_patients:
        raise PrivacyError(
            f"training.batch_patients is {section.batch_patients}, there are {num_patients} "
            "patients to train on",
            hint="a smaller batch, or training.sampling_rate, which fits sites of any size",
            code="BATCH_TOO_LARGE",
        )
    return section.batch_patients / num_patients


def _require_patients(num_patients: int) -> None:
    if num_patients < 1:
        raise PrivacyError(
            f"{num_patients} patients to train on", hint="1 or more", code="NO_PATIENTS"
        )


def _multiplier(index: int) -> float:
    decade, digits = divmod(index, _PER_DECADE)
    return float(f"{1000 + digits}e{decade - 5}")


def _index(multiplier: float) -> int:
    """Give the index of a multiplier, rounded up and kept in range."""
    bounded = min(max(multiplier, MIN_NOISE_MULTIPLIER), _multiplier(_LARGEST))
    decade = math.floor(math.log10(bounded)) + 2
    digits = math.ceil(bounded * 10.0 ** (5 - decade) - 1e-6) - 1000
    return min(max(decade * _PER_DECADE + digits, _SMALLEST), _LARGEST)


def _estimate(
    epsilon: float, delta: float, steps: SampledGaussian, already: Sequence[Disclosure]
) -> int:
    """Guess where to look, as if the privacy loss of all steps together were normal."""
    z = math.sqrt(-2 * math.log(delta))
    variance = (math.sqrt(z**2 + 2 * epsilon) - z) ** 2 - merge(already).loss_variance
    a_step = max(variance, 1e-12) / (steps.num_steps * steps.sampling_rate**2)
    return _index(1 / math.sqrt(math.log1p(a_step)))


def _smallest_index(epsilon_at: Callable[[int], float], epsilon: float, first: int) -> int:
    """Find the smallest index whose epsilon is small enough; the largest one's is.

    Newton's steps on a log-log scale, with the slope of the last two points, inside of a bracket;
    by halves where they take too long.
    """
    fails, fits = _SMALLEST - 1, _LARGEST
    index, slope = first, _USUAL_SLOPE
    last_x = last_excess = math.nan
    for attempt in range(_ALL_STEPS):
        spent = epsilon_at(index)
        fails, fits = (index, fits) if spent > epsilon else (fails, index)
        if fits - fails <= 1:
            break
        x, excess = math.log(_multiplier(index)), math.log(max(spent, 1e-300) / epsilon)
        if abs(x - last_x) > _FAR_ENOUGH:
            slope = min((excess - last_excess) / (x - last_x), -0.1)
        last_x, last_excess = x, excess
        index = _index(math.exp(min(x - excess / slope, 20.0)))
        if attempt >= _NEWTON_STEPS:
            index = (fails + fits) // 2
        index = min(max(index, fails + 1), fits - 1)
    return fits
