"""Private training as a whole against the epsilon that is claimed for it, with 1024 canaries.

A canary is a patient with an image of one bright pixel, its own; a coin decides whether it is in
the cohort. The model is one linear layer, so each canary has weights that nobody else moves, and
how far they moved towards its label is its score. The gradients are orthogonal but for the bias:
about the most that one patient can show of itself in a single training.

A bound above the accountant's epsilon refutes the claim at 99.9 %. The honest mechanism stays
below it; each fault that is put in here rises above it.

What this cannot find:

- Faults that cost less than a factor of about five in noise. One training shows less of epsilon
  than many do, and of delta next to nothing.
- Shuffled or fixed-size batches: they help most an attacker who sees every step; this one sees the
  last weights.
- Noise that can be guessed (a known seed, a repeated stream, gaps of floating point): the scores
  make no use of it. `test_noise_distribution` and `test_noise_source` look at that.
- What is not a weight: buffers, counts, losses, seconds, and the number of patients itself.
- Patients with several images or views, other layers, adaptive clipping, shared noise, and what
  several runs disclose together: there is one image a patient, one layer, one run.
"""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.guarantees.linear_training import NoNoise
from tests.guarantees.one_run_audit import best_lower_bound, epsilon_lower_bound
from torch import nn

from fedward_client.training.local_training import RoundOfTraining, TrainingData
from fedward_client.training.per_sample import clipping, drawn_patients
from fedward_client.training.private_training import PrivateRound, train_privately
from fedward_common.job.job_file import Job, job_from_table
from fedward_common.privacy.accountant import PLD
from fedward_common.privacy.calibration import noise_multiplier_for
from fedward_common.privacy.disclosures import SampledGaussian
from fedward_common.privacy.noise_source import SeededNoise

SIDE = 32
NUM_CANARIES = SIDE * SIDE
BRIGHTNESS = 100.0  # a gradient of norm 71, so nothing but the clipping makes it 1
EPSILON, DELTA, CONFIDENCE = 1.0, 1e-5, 0.999
SAMPLING_RATE, NUM_STEPS = 0.1, 256
CLIPPING_NORM = 1.0
GUESSES = (100, 400, NUM_CANARIES)
SEEDS = range(5)


class NoiseForASmallerNorm(SeededNoise):
    """Noise is scaled to a tenth of the norm that gradients are clipped to."""

    def add_normal_to(self, values: NDArray[np.float32], standard_deviation: float) -> None:
        super().add_normal_to(values, standard_deviation / 10)


class NoiseOnceARound(SeededNoise):
    """Only the last step of the round has noise."""

    num_sums = 0

    def add_normal_to(self, values: NDArray[np.float32], standard_deviation: float) -> None:
        self.num_sums += 1
        if self.num_sums == NUM_STEPS:
            super().add_normal_to(values, standard_deviation)


def job_of_canaries() -> Job:
    return job_from_table(
        {
            "job": {"name": "audit", "rounds": 1},
            "task": {
                "kind": "classification",
                "classes": [{"id": 0, "name": "no"}, {"id": 1, "name": "yes"}],
            },
            "model": {"name": "cnn"},
            "data": {"modality": "OT", "image_size": (SIDE, SIDE)},
            "training": {
                "local_steps": NUM_STEPS,
                "sampling_rate": SAMPLING_RATE,
                "physical_batch_size": NUM_CANARIES,
                # So small that the model stays undecided, and each gradient as large as at first.
                "optimizer": {"name": "sgd", "learning_rate": 1e-3},
            },
            "privacy": {
                "mechanism": "per-site",
                "epsilon": EPSILON,
                "delta": DELTA,
                "clipping_norm": CLIPPING_NORM,
            },
            "secure_aggregation": {"enabled": False},
        }
    )


@functools.cache
def calibrated_noise() -> float:
    return noise_multiplier_for(EPSILON, DELTA, sampling_rate=SAMPLING_RATE, num_steps=NUM_STEPS)


def claimed_epsilon() -> float:
    steps = SampledGaussian(calibrated_noise(), SAMPLING_RATE, NUM_STEPS)
    return PLD.epsilon_of([steps], DELTA)


def audited_epsilon(seed: int, make_noise: Callable[..., SeededNoise] = SeededNoise) -> float:
    """Train once, and give the largest epsilon that the weights refute."""
    coins = np.random.default_rng(seed)
    labels = coins.integers(0, 2, NUM_CANARIES)
    was_in = coins.integers(0, 2, NUM_CANARIES).astype(np.bool_)
    pixels = np.eye(NUM_CANARIES, dtype=np.float32) * np.float32(BRIGHTNESS)
    data = TrainingData(
        images=pixels.reshape(NUM_CANARIES, 1, SIDE, SIDE),
        masks=None,
        labels=labels,
        cases_by_patient=[np.array([place]) for place in np.flatnonzero(was_in)],
    )
    linear = nn.Linear(NUM_CANARIES, 2)
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
    job = job_of_canaries()
    train_privately(
        nn.Sequential(nn.Flatten(), linear),
        job,
        job.privacy,
        data,
        RoundOfTraining(round_number=1, total_rounds=1, seed=0),
        PrivateRound(calibrated_noise(), SAMPLING_RATE, CLIPPING_NORM),
        make_noise(seed, "audit"),
        torch.device("cpu"),
    )
    towards_yes = (linear.weight[1] - linear.weight[0]).detach().double().numpy()
    scores = np.where(labels == 1, towards_yes, -towards_yes)
    return best_lower_bound(scores, was_in, DELTA, CONFIDENCE, GUESSES)


# -- private training ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_private_training_is_not_refuted(seed: int) -> None:
    assert 0.9 * EPSILON < claimed_epsilon() <= EPSILON
    assert audited_epsilon(seed) <= claimed_epsilon()


@pytest.mark.parametrize("fault", [NoNoise, NoiseForASmallerNorm, NoiseOnceARound])
def test_the_audit_finds_faulty_noise(fault: Callable[..., SeededNoise]) -> None:
    assert audited_epsilon(0, fault) > claimed_epsilon()


def test_the_audit_finds_gradients_that_are_not_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    weights_of = clipping._weights_of
    # All clip factors are 1.
    monkeypatch.setattr(clipping, "_weights_of", lambda parts, norm: weights_of(parts, 1e9))
    assert audited_epsilon(0) > claimed_epsilon()


def test_the_audit_finds_steps_that_take_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    def everybody(noise: object, num_patients: int, rate: float) -> NDArray[np.int64]:
        return np.arange(num_patients)

    monkeypatch.setattr(drawn_patients, "poisson_sample", everybody)
    assert audited_epsilon(0) > claimed_epsilon()


# -- the statistics --------------------------------------------------------------------------------


def test_a_bound_from_guesses_that_are_all_right_is_the_one_worked_by_hand() -> None:
    # p**100 = 0.05 with p = 1 / (1 + exp(-epsilon)), and no delta.
    right = 0.05**0.01
    expected = np.log(right / (1 - right))
    assert epsilon_lower_bound(1000, 100, 100, 0.0, 0.95) == pytest.approx(expected, abs=1e-9)


def test_guesses_that_are_half_right_refute_nothing() -> None:
    assert epsilon_lower_bound(1000, 100, 50, 0.0, 0.95) == 0.0


def test_delta_lowers_the_bound() -> None:
    bounds = [epsilon_lower_bound(1000, 100, 95, delta, 0.95) for delta in (0.0, 1e-5, 1e-4)]
    assert bounds == sorted(set(bounds), reverse=True)


def test_coins_told_by_randomised_response_are_refuted_up_to_its_epsilon_and_no_further() -> None:
    """Each coin is told truly with probability e / (1 + e): epsilon 1, reached exactly."""
    draw = np.random.default_rng(3)
    bounds = []
    for _ in range(50):
        was_in = draw.random(4096) < 0.5
        is_true = draw.random(4096) < 1 / (1 + np.exp(-1.0))
        scores = np.where(is_true == was_in, 1.0, -1.0)
        # Fewer guesses than canaries: a few more coins fall on one side than on the other.
        bounds.append(best_lower_bound(scores, was_in, 0.0, CONFIDENCE, (3500,)))
    assert max(bounds) <= 1.0
    assert np.median(bounds) > 0.8
