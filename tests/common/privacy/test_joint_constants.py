import dataclasses
import math
from typing import Any

import pytest
from tests.joint_federation import joint_job
from tests.tiny_federation import tiny_job

from fedward_common.errors import ConfigurationError, PrivacyError
from fedward_common.privacy.accountant import PLD
from fedward_common.privacy.calibration import noise_multiplier_for
from fedward_common.privacy.joint_constants import (
    joint_constants_of,
    require_joint_quorum,
)
from fedward_common.privacy.joint_mechanism import effective_noise_multiplier, joint_disclosure
from fedward_common.secagg.thresholds import threshold_of

BY_EPSILON = joint_job(noise_multiplier=None, epsilon=8.0, expected_batch_patients=512.0)


def test_the_threshold_is_that_of_secure_aggregation() -> None:
    thresholds = [joint_constants_of(BY_EPSILON, n, 1000).threshold for n in range(3, 12)]
    assert thresholds == [threshold_of(n) for n in range(3, 12)]


def test_the_defaults_have_room_for_a_hundred_thousand_parameters() -> None:
    constants = joint_constants_of(BY_EPSILON, 4, 100_000)
    assert constants.threshold == 3
    assert constants.rounded_sensitivity < 1.005
    assert constants.num_honest_survivors == 2


@pytest.mark.parametrize("num_parameters", [1, 100_000, 11_000_000])
@pytest.mark.parametrize("clipping_norm", [0.05, 1.0, 100.0])
def test_noise_is_raised_by_what_rounding_costs_and_no_more(
    num_parameters: int, clipping_norm: float
) -> None:
    section = dataclasses.replace(BY_EPSILON.privacy, clipping_norm=clipping_norm, ring_bits=64)
    job = dataclasses.replace(BY_EPSILON, privacy=section)
    constants = joint_constants_of(job, 4, num_parameters)
    wanted = noise_multiplier_for(8.0, 1e-4, sampling_rate=0.5, num_steps=job.job.rounds)
    assert constants.noise_multiplier > wanted
    assert wanted <= effective_noise_multiplier(constants) < wanted * (1 + 1e-9)


def test_the_whole_run_costs_the_jobs_epsilon_at_most() -> None:
    constants = joint_constants_of(BY_EPSILON, 4, 100_000)
    disclosure = joint_disclosure(constants, 0.5, BY_EPSILON.job.rounds)
    assert 7.5 < PLD.epsilon_of([disclosure], 1e-4) <= 8.0


def test_a_multiplier_of_the_job_is_taken_as_it_is_and_rounding_counts() -> None:
    constants = joint_constants_of(joint_job(noise_multiplier=1.5), 4, 1000)
    assert constants.noise_multiplier == 1.5
    assert effective_noise_multiplier(constants) < 1.5


def test_the_same_manifest_gives_the_same_constants() -> None:
    assert joint_constants_of(BY_EPSILON, 4, 77) == joint_constants_of(BY_EPSILON, 4, 77)
    assert math.isfinite(joint_constants_of(BY_EPSILON, 4, 77).share_sigma)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ring_bits": 20}, "RING_TOO_SMALL"),
        ({"fraction_bits": 1}, "NOISE_TOO_FINE"),
        ({"expected_batch_patients": 1e9, "fraction_bits": 40}, "RING_TOO_SMALL"),
    ],
)
def test_numbers_that_leave_a_step_to_chance_are_refused(
    changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(PrivacyError) as refusal:
        joint_constants_of(joint_job(**changes), 4, 1000)
    assert refusal.value.code == code
    assert refusal.value.hint


def test_a_quorum_below_the_threshold_is_refused_by_its_key() -> None:
    require_joint_quorum(joint_job(), 4)
    with pytest.raises(PrivacyError, match=r"quorum\.required_sites is 3: .* 7 .* needs 5") as no:
        require_joint_quorum(joint_job(), 7)
    assert no.value.code == "JOINT_QUORUM_TOO_SMALL"
    require_joint_quorum(tiny_job(), 100)  # nothing to keep without the joint mechanism


def test_a_job_without_the_joint_mechanism_has_no_constants() -> None:
    with pytest.raises(ConfigurationError, match="'none'"):
        joint_constants_of(tiny_job(), 4, 1000)
