"""What a planned run would move, hold and cost, reckoned from the job and the number of sites.

Vectors are exact. What secure aggregation adds beside them, and memory, are estimates that say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedward_common.errors import PrivacyError
from fedward_common.evaluation.sums import empty_sums
from fedward_common.job.job_file import Job
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.secagg.layout import training_layout
from fedward_common.secagg.thresholds import largest_coalition, threshold_of
from fedward_common.wire.contribution import contribution_vectors

EXAMPLE_PATIENTS = (100, 300, 1000, 3000, 10_000)

_FLOAT32_BYTES = 4
_LANE_BYTES = 8
# Of one site and attempt: keys, packets, signatures and shares. docs/SECURE_AGGREGATION.md has
# each message's exact size; these straight lines are within 5 % of it from 3 to 100 sites.
_PROTOCOL_UP_BYTES = 3100
_PROTOCOL_UP_BYTES_A_SITE = 2580
_PROTOCOL_DOWN_BYTES_A_SITE = 5550
_PROTOCOL_DOWN_BYTES_A_PAIR = 36


@dataclass(frozen=True)
class RoundBytes:
    """What one training site sends and receives in one round, in bytes.

    Attributes:
        down: Weights and what comes beside them.
        up: Its contribution, as it is sent.
        protocol_down: About; of secure aggregation's other messages.
        protocol_up: The same, sent.
    """

    down: int
    up: int
    protocol_down: int = 0
    protocol_up: int = 0


@dataclass(frozen=True)
class SumRules:
    """What a sum of `num_sites` needs with secure aggregation on.

    Attributes:
        threshold: Sites whose answers open the sum.
        dropouts_tolerated: Sites that may leave after keys are shared.
        largest_coalition: Sites that may work with the coordinator and learn nothing.
    """

    num_sites: int
    threshold: int
    dropouts_tolerated: int
    largest_coalition: int


@dataclass(frozen=True)
class SiteNoise:
    """What private training means at a site of so many training patients.

    Attributes:
        epsilon: Of the whole run for one patient; None where the site would refuse.
        refused_with: Why it would; else empty.
    """

    patients: int
    noise_multiplier: float | None
    sampling_rate: float | None
    epsilon: float | None
    refused_with: str = ""


def round_bytes(job: Job, num_sites: int, num_parameters: int, *, evaluates: bool) -> RoundBytes:
    """Reckon one round of one training site.

    Args:
        job: The job.
        num_sites: That train.
        num_parameters: Of the model.
        evaluates: Whether the weights before are evaluated in the same exchange.
    """
    vector = _FLOAT32_BYTES * num_parameters
    down = vector
    if evaluates and job.strategy.ema_decay > 0:
        down += vector
    if job.strategy.name == "scaffold":
        down += vector
    if job.secure_aggregation.enabled:
        layout = training_layout(job, num_sites, num_parameters, evaluates=evaluates)
        lane = 1 + sum(field.length for field in layout.lane.fields)  # the counter is 1
        return RoundBytes(
            down,
            layout.num_words * layout.word_bytes + lane * _LANE_BYTES,
            num_sites * (_PROTOCOL_DOWN_BYTES_A_SITE + _PROTOCOL_DOWN_BYTES_A_PAIR * num_sites),
            _PROTOCOL_UP_BYTES + _PROTOCOL_UP_BYTES_A_SITE * num_sites,
        )
    sizes = {"float32": 4, "int64": 8}
    up = sum(v.length * sizes[v.dtype] for v in contribution_vectors(job, num_parameters))
    if evaluates:
        up += 8 * len(empty_sums(job.task).to_vector())
    return RoundBytes(down, up)


def sum_rules(job: Job, num_sites: int) -> SumRules | None:
    """Say what a sum of all training sites needs; None without secure aggregation."""
    if not job.secure_aggregation.enabled:
        return None
    threshold = threshold_of(num_sites)
    return SumRules(num_sites, threshold, num_sites - threshold, largest_coalition(num_sites))


def coordinator_memory_bytes(job: Job, num_sites: int, num_parameters: int) -> int:
    """Estimate what the coordinator holds of the model, without Flower's copies of messages."""
    vectors = 3  # weights, running sum, one answer in hand
    beside = {"fedavg": 0, "fedavgm": 1, "fedadam": 2, "scaffold": 3, "median": num_sites - 1}
    vectors += beside[job.strategy.name]
    vectors += job.strategy.ema_decay > 0
    vectors += 2 * (job.privacy.mechanism == "joint")  # its sum is of 64-bit numbers
    return vectors * _FLOAT32_BYTES * num_parameters


def noise_by_size(
    job: Job, num_sites: int, num_parameters: int, patients: Sequence[int] = EXAMPLE_PATIENTS
) -> list[SiteNoise]:
    """Give what hospitals of these sizes would find; nothing without private training."""
    if job.privacy.mechanism == "none":
        return []
    return [_noise_of(job, num_sites, num_parameters, count) for count in patients]


def _noise_of(job: Job, num_sites: int, num_parameters: int, count: int) -> SiteNoise:
    from fedward_common.privacy.accountant import PLD
    from fedward_common.privacy.calibration import (
        noise_multiplier_for,
        require_delta_fits,
        sampling_rate_of,
    )
    from fedward_common.privacy.disclosures import Disclosure, SampledGaussian
    from fedward_common.privacy.joint_mechanism import (
        effective_noise_multiplier,
        joint_disclosure,
    )

    section, delta = job.privacy, job.privacy.delta or 0.0
    num_steps = job.job.rounds * job.training.local_steps
    disclosure: Disclosure
    try:
        require_delta_fits(delta, count)
        rate = sampling_rate_of(job.training, count)
        if section.mechanism == "joint":
            constants = joint_constants_of(job, num_sites, num_parameters)
            multiplier = effective_noise_multiplier(constants)
            disclosure = joint_disclosure(constants, rate, num_steps)
        else:
            multiplier = section.noise_multiplier or noise_multiplier_for(
                section.epsilon or 0.0, delta, sampling_rate=rate, num_steps=num_steps
            )
            disclosure = SampledGaussian(multiplier, rate, num_steps)
        return SiteNoise(count, multiplier, rate, PLD.epsilon_of([disclosure], delta))
    except PrivacyError as error:
        return SiteNoise(count, None, None, None, error.code)
