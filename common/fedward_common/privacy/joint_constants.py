"""The constants of a joint run, derived alike by every site and the coordinator.

Everything comes from the job, the number of training sites and the number of parameters, which are
the manifest's. So nobody has to be believed about them, and a run that goes on has the same.
"""

import functools
import math

from fedward_common.errors import ConfigurationError, PrivacyError
from fedward_common.job.job_file import Job
from fedward_common.privacy.joint_mechanism import JointConstants, effective_noise_multiplier
from fedward_common.secagg.thresholds import threshold_of


def require_joint_quorum(job: Job, num_sites: int) -> None:
    """Refuse a quorum that would let a sum of too few sites be decoded.

    Raises:
        PrivacyError: `JOINT_QUORUM_TOO_SMALL`.
    """
    threshold = threshold_of(num_sites)
    required = job.quorum.required_sites
    if job.privacy.mechanism == "joint" and required < threshold:
        raise PrivacyError(
            f"quorum.required_sites is {required}: the joint mechanism with {num_sites} training "
            f"sites needs {threshold} or more in every sum",
            hint="fewer sites would not carry enough of the noise: raise quorum.required_sites",
            code="JOINT_QUORUM_TOO_SMALL",
        )


def joint_constants_of(job: Job, num_sites: int, num_parameters: int) -> JointConstants:
    """Derive what the consortium agrees on.

    With `privacy.epsilon` the noise is calibrated for the steps of the whole run, and raised by
    what rounding costs, so that `effective_noise_multiplier` is not below the calibrated one. A
    given `privacy.noise_multiplier` is taken as it is; rounding then counts in epsilon.

    Args:
        job: With the joint mechanism.
        num_sites: Training sites of the manifest.
        num_parameters: Of the manifest.

    Raises:
        PrivacyError: The job's numbers leave no room in the ring, or noise that is too fine.
        ConfigurationError: The job is none with the joint mechanism.
    """
    section, rate = job.privacy, job.training.sampling_rate
    if section.mechanism != "joint" or section.expected_batch_patients is None or rate is None:
        raise ConfigurationError(
            f"a job with privacy.mechanism = {section.mechanism!r} has no joint constants",
            hint="sampling_rate and expected_batch_patients belong to the joint mechanism",
        )
    constants = functools.partial(
        JointConstants,
        clipping_norm=section.clipping_norm,
        num_sites=num_sites,
        threshold=threshold_of(num_sites),
        fraction_bits=section.fraction_bits,
        ring_bits=section.ring_bits,
        num_parameters=num_parameters,
        expected_batch=section.expected_batch_patients,
    )
    if section.noise_multiplier is not None:
        return constants(noise_multiplier=section.noise_multiplier)
    wanted = _calibrated(section.epsilon or 0.0, section.delta or 0.0, rate, job.job.rounds)
    multiplier = _before_rounding(
        wanted, section.clipping_norm, section.fraction_bits, num_parameters
    )
    while effective_noise_multiplier(constants(noise_multiplier=multiplier)) < wanted:
        multiplier *= 1.0 + 2.0**-40
    return constants(noise_multiplier=multiplier)


@functools.lru_cache(maxsize=64)
def _calibrated(epsilon: float, delta: float, sampling_rate: float, num_steps: int) -> float:
    from fedward_common.privacy.calibration import noise_multiplier_for

    return noise_multiplier_for(epsilon, delta, sampling_rate=sampling_rate, num_steps=num_steps)


def _before_rounding(
    wanted: float, clipping_norm: float, fraction_bits: int, num_parameters: int
) -> float:
    """Solve `effective_noise_multiplier` for the multiplier, but for the last bits."""
    norm_in_steps = math.ldexp(clipping_norm, fraction_bits)
    sensitivity_in_steps = norm_in_steps + math.sqrt(num_parameters)
    return math.hypot(wanted * sensitivity_in_steps, 2.0) / norm_in_steps
