import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.training.private.patient_loop import job_of
from tests.client.training.private.quiet_noise import EVERYBODY, QuietNoise, outcome_of, patients

from fedward_client.training.per_sample.adaptive_clipping import (
    gradient_noise_multiplier,
    next_clipping_norm,
)
from fedward_common.errors import PrivacyError
from fedward_common.job.job_file import Job
from fedward_common.job.privacy_section import AdaptiveClippingSection
from fedward_common.privacy.accountant import combined_noise_multiplier

SECTION = AdaptiveClippingSection(enabled=True)
QUARTER = dataclasses.replace(EVERYBODY, sampling_rate=0.25)


def adaptive_job(**adaptive: Any) -> Job:
    section = {
        "mechanism": "per-site", "noise_multiplier": 1.0, "delta": 1e-5,
        "adaptive_clipping": {"enabled": True} | adaptive,
    }  # fmt: skip
    return job_of("cnn", privacy=section, num_classes=2)


@given(planned=st.floats(0.05, 50), surplus=st.floats(1.01, 100))
def test_gradient_and_count_together_have_the_planned_multiplier(
    planned: float, surplus: float
) -> None:
    count = surplus * planned / 2
    gradient = gradient_noise_multiplier(planned, count)
    assert gradient > planned
    assert combined_noise_multiplier(gradient, count) == pytest.approx(planned, rel=1e-9)


@pytest.mark.parametrize("count", [0.1, 0.5])
def test_a_count_that_uses_all_the_privacy_is_refused(count: float) -> None:
    with pytest.raises(PrivacyError) as caught:
        gradient_noise_multiplier(1.0, count)
    assert caught.value.code == "COUNT_NOISE_TOO_SMALL"


def test_the_norm_shrinks_where_too_many_are_within() -> None:
    # 6 of 8 drawn were within: 6 - 4 = 2 over 8 expected, share 3/4, a quarter above the target.
    assert next_clipping_norm(2.0, 2.0, 8.0, SECTION) == pytest.approx(2 * math.exp(-0.2 * 0.25))
    assert next_clipping_norm(2.0, 0.0, 8.0, SECTION) == 2.0


@pytest.mark.parametrize("count", [-1e30, 1e30])
def test_the_norm_stays_a_number_whatever_the_noise(count: float) -> None:
    norm = 1.0
    for _ in range(5):
        norm = next_clipping_norm(norm, count, 0.5, SECTION)
        assert 1e-9 <= norm <= 1e9


def test_the_norm_settles_at_the_target_quantile() -> None:
    section = dataclasses.replace(SECTION, target_quantile=0.8)
    norms = np.random.default_rng(1).lognormal(0, 1, 1000)
    norm = 0.01
    for _ in range(300):
        norm = next_clipping_norm(norm, float((norms <= norm).sum()) - 500, 1000, section)
    assert norm == pytest.approx(np.quantile(norms, 0.8), rel=0.02)


def test_count_and_gradient_are_noised_in_the_same_step_each_with_its_own() -> None:
    quiet = QuietNoise()
    outcome = outcome_of(adaptive_job(count_noise_multiplier=4.0), patients(8), quiet)
    *of_gradient, of_count = quiet.deviations
    expected = (1 - 8.0**-2) ** -0.5  # of noise multiplier 1 and clipping norm 1
    assert {size for size, _ in of_gradient} != {1}
    assert all(deviation == pytest.approx(expected) for _, deviation in of_gradient)
    assert of_count == (1, 4.0)
    assert outcome.clipping_norm != 1.0


@pytest.mark.parametrize(("norm", "within"), [(1e-6, 0), (1e6, 3)])
def test_one_patient_more_moves_the_released_count_by_a_half(norm: float, within: int) -> None:
    counts = []
    for drawn in ([0, 1], [0, 1, 2]):

        class Watched(QuietNoise):
            def add_normal_to(self, values: Any, standard_deviation: float) -> None:
                if values.size == 1:
                    counts.append(float(values[0]))

        private = dataclasses.replace(QUARTER, clipping_norm=norm)
        outcome_of(adaptive_job(), patients(8), Watched(drawn), private=private)
    assert counts == ([1.0, 1.5] if within else [-1.0, -1.5])


def test_a_step_that_draws_nobody_releases_a_count_too() -> None:
    quiet = QuietNoise([])
    outcome = outcome_of(adaptive_job(), patients(8), quiet, private=QUARTER)
    assert quiet.deviations[-1] == (1, 10.0)
    assert outcome.clipping_norm == 1.0  # half of nobody is the target


def test_the_norm_stays_where_adaptive_clipping_is_off() -> None:
    outcome = outcome_of(adaptive_job(enabled=False), patients(8), QuietNoise())
    assert outcome.clipping_norm == 1.0
