"""What private training adds after clipping and noise: none of it is clipped."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from tests.client.training.private.patient_loop import job_of
from tests.client.training.private.quiet_noise import (
    FIRST,
    QuietNoise,
    first_weights,
    patients,
    trained,
)

from fedward_client.training.private_training import PrivateRound
from fedward_common.job.job_file import Job
from fedward_common.models.parameter_spec import FlatWeights
from fedward_common.privacy.noise_source import SeededNoise

SMALL = PrivateRound(noise_multiplier=2.0, sampling_rate=0.5, clipping_norm=0.01)


def private_job(**training: Any) -> Job:
    section = {"mechanism": "per-site", "noise_multiplier": 1.0, "delta": 1e-5}
    defaults: dict[str, Any] = {"optimizer": {"learning_rate": 0.5}, "num_classes": 2}
    return job_of("cnn", privacy=section, **(defaults | training))


class NobodyButNoise(QuietNoise):
    """Draws nobody, so that every gradient is 0; the noise is that of a seed."""

    def __init__(self) -> None:
        super().__init__([])
        self._noise = SeededNoise(5, "test")

    def add_normal_to(self, values: Any, standard_deviation: float) -> None:
        super().add_normal_to(values, standard_deviation)
        self._noise.add_normal_to(values, standard_deviation)


def correction_of(job: Job) -> FlatWeights:
    """Longer than the clipping norm by far."""
    random = np.random.default_rng(1)
    return random.normal(0, 1, first_weights(job).size).astype(np.float32)


def moved(job: Job, noise: QuietNoise, correction: FlatWeights | None = None) -> FlatWeights:
    round_ = dataclasses.replace(FIRST, correction=correction)
    return trained(job, patients(8), noise, SMALL, round_) - first_weights(job)


def test_with_gradients_of_0_only_the_noise_and_the_correction_move() -> None:
    job = private_job(local_steps=3)
    correction = correction_of(job)
    by_noise = moved(job, NobodyButNoise())
    assert np.count_nonzero(by_noise) > 0.99 * by_noise.size
    both = moved(job, NobodyButNoise(), correction)
    np.testing.assert_allclose(both, by_noise - 0.5 * 3 * correction, rtol=1e-3, atol=1e-5)


def test_a_correction_alone_is_taken_whole_however_small_the_clipping_norm() -> None:
    job = private_job(local_steps=2)
    correction = correction_of(job)
    np.testing.assert_allclose(
        moved(job, QuietNoise([]), correction), -correction, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("changes", [{"proximal_mu": 0.5}, {"l2": 0.1}], ids=["mu", "l2"])
def test_the_noise_is_the_same_with_a_term_and_without(changes: dict[str, float]) -> None:
    asked = []
    for job in (private_job(local_steps=2), private_job(local_steps=2, **changes)):
        noise = QuietNoise([1, 4])
        moved(job, noise)
        asked.append(noise.deviations)
    assert asked[0] == asked[1]
    assert {deviation for _, deviation in asked[0]} == {2.0 * 0.01}


def test_the_proximal_term_pulls_the_noise_of_earlier_steps_back() -> None:
    # From w0: n1 after one step; the second step adds n2 and takes 0.5 * mu * n1 back.
    first = moved(private_job(local_steps=1), NobodyButNoise())
    plain = moved(private_job(local_steps=2), NobodyButNoise())
    held = moved(private_job(local_steps=2, proximal_mu=0.5), NobodyButNoise())
    np.testing.assert_allclose(held, plain - 0.25 * first, rtol=1e-3, atol=1e-6)
    assert np.linalg.norm(first) > 0.01  # far longer than the clipping norm would let a term be
