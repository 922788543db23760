"""Faults of published systems. Each check passes on ours and fails on a mutant with the fault."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from tests.client.training.private.patient_loop import SMALL_MODELS, job_of
from tests.client.training.private.quiet_noise import (
    EVERYBODY,
    FIRST,
    QuietNoise,
    first_weights,
    patients,
    trained,
)
from torch import Tensor, nn

from fedward_client.training.local_training import RoundOfTraining, TrainingData
from fedward_client.training.per_sample import clipping
from fedward_client.training.per_sample.contributions import KeptRows
from fedward_client.training.private_training import PrivateRound, require_private_module
from fedward_common.errors import TrainingError
from fedward_common.job.job_file import Job
from fedward_common.models.flat_vector import FlatWeights
from fedward_common.models.registry import initial_module
from fedward_common.privacy.noise_source import NoiseSource, OsKeyedNoise, SeededNoise

Train = Callable[[Job, TrainingData, NoiseSource, PrivateRound, RoundOfTraining], FlatWeights]
MULTIPLIER, RATE, CLIPPING_NORM, NUM_PATIENTS = 1.5, 0.5, 0.3, 8
PRIVATE = PrivateRound(MULTIPLIER, RATE, CLIPPING_NORM)


def job_with(local_steps: int = 1, learning_rate: float = 1.0, **training: Any) -> Job:
    section = {"mechanism": "per-site", "noise_multiplier": MULTIPLIER, "delta": 1e-5}
    optimizer = {"learning_rate": learning_rate}
    return job_of(
        "cnn", privacy=section, num_classes=2, local_steps=local_steps, optimizer=optimizer,
        **training,
    )  # fmt: skip


def without_gradients() -> TrainingData:
    """Patients whose gradients are not finite, so that each counts as zero."""
    data = patients(NUM_PATIENTS)
    data.images[:] = np.nan
    return data


# Fault 3: a noise generator seeded with the run's seed or the clock.


def check_that_nobody_can_repeat_the_noise(make_noise: Callable[[int], NoiseSource]) -> None:
    job, data = job_with(), patients(NUM_PATIENTS)
    noises = [make_noise(FIRST.seed) for _ in range(2)]
    assert all(noise.is_private for noise in noises)
    first, second = (trained(job, data, noise, PRIVATE) for noise in noises)
    assert not np.array_equal(first, second)


def test_a_run_trained_again_with_its_seed_has_other_noise() -> None:
    check_that_nobody_can_repeat_the_noise(lambda _: OsKeyedNoise())


def test_noise_from_the_runs_seed_is_found() -> None:
    with pytest.raises(AssertionError):
        check_that_nobody_can_repeat_the_noise(lambda seed: SeededNoise(seed, "noise"))


# Fault 5: noise once after many clipped steps, scaled to the clip of one.


def check_that_each_step_has_noise_of_its_clip(wrapped: Callable[[Any], NoiseSource]) -> None:
    steps, job = 16, job_with(local_steps=16)
    noise = wrapped(SeededNoise(3, "test"))
    moved = trained(job, without_gradients(), noise, PRIVATE) - first_weights(job)
    of_a_step = MULTIPLIER * CLIPPING_NORM / (RATE * NUM_PATIENTS)
    assert np.std(moved) == pytest.approx(of_a_step * np.sqrt(steps), rel=0.05)


class NoiseAtTheEndAlone(QuietNoise):
    """The fault: the noise of every step but one is left out."""

    def __init__(self, inner: NoiseSource, steps: int = 16) -> None:
        super().__init__()
        self._inner, self._steps = inner, steps
        self._sizes = 0

    def add_normal_to(self, values: Any, standard_deviation: float) -> None:
        self._sizes += values.size
        if self._sizes > (self._steps - 1) * first_weights(job_with()).size:
            self._inner.add_normal_to(values, standard_deviation)


def test_each_step_has_noise_of_its_clip() -> None:
    check_that_each_step_has_noise_of_its_clip(lambda noise: noise)


def test_noise_at_the_end_alone_is_found() -> None:
    with pytest.raises(AssertionError):
        check_that_each_step_has_noise_of_its_clip(NoiseAtTheEndAlone)


# Faults 6 and 7: a patient weighs more than the noise covers, by a weight or by many images.


def check_that_one_patient_moves_the_weights_no_further_than_its_clip(
    job: Job, images_each: int, cases: Callable[[TrainingData], TrainingData] = lambda data: data
) -> None:
    data = cases(patients(NUM_PATIENTS, images_each=images_each))
    patient_of = np.arange(NUM_PATIENTS * images_each) // images_each
    owners = [int(patient_of[cases[0]]) for cases in data.cases_by_patient]
    without = [place for place, owner in enumerate(owners) if owner != 3]
    everybody = list(range(len(owners)))
    weights = [trained(job, data, QuietNoise(drawn), PRIVATE) for drawn in (everybody, without)]
    # The noise is MULTIPLIER times this: one clip over the expected number of entries.
    largest = CLIPPING_NORM / (RATE * len(owners))
    moved = np.linalg.norm(weights[0].astype(np.float64) - weights[1])
    assert 0 < moved <= largest * (1 + 1e-4)


@contextmanager
def weights_after_the_clip(factor: float) -> Iterator[None]:
    """The fault: clipped gradients are averaged with weights, as by numbers of examples."""
    original = clipping._weights_of

    def weighted(*arguments: Any) -> tuple[Tensor, Tensor]:
        weights, within = original(*arguments)
        return weights * factor, within

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(clipping, "_weights_of", weighted)
        yield


def image_by_image(data: TrainingData) -> TrainingData:
    """The fault: each image is taken for a patient."""
    return dataclasses.replace(data, cases_by_patient=list(np.arange(len(data.labels))[:, None]))


HEAVY: dict[str, Any] = {"loss": {"name": "cross-entropy", "class_weights": (1.0, 100.0)}}


def test_class_weights_do_not_lift_a_patient_above_the_clip() -> None:
    check_that_one_patient_moves_the_weights_no_further_than_its_clip(job_with(**HEAVY), 1)


def test_weights_after_the_clip_are_found() -> None:
    with weights_after_the_clip(4.0), pytest.raises(AssertionError):
        check_that_one_patient_moves_the_weights_no_further_than_its_clip(job_with(**HEAVY), 1)


def test_a_patient_with_many_images_counts_once() -> None:
    check_that_one_patient_moves_the_weights_no_further_than_its_clip(job_with(**HEAVY), 6)


def test_a_patient_who_counts_with_each_image_is_found() -> None:
    with pytest.raises(AssertionError):
        check_that_one_patient_moves_the_weights_no_further_than_its_clip(
            job_with(**HEAVY), 6, image_by_image
        )


# Fault 8: batch norm, or any buffer.


def check_that_patients_do_not_touch_each_other(module: nn.Module, size: tuple[int, ...]) -> None:
    module.train()
    assert not list(module.buffers())
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 1, *size, generator=generator)
    others = torch.cat([images[:1], 5 * torch.randn(2, 1, *size, generator=generator)])
    torch.testing.assert_close(module(images)[0], module(others)[0], rtol=1e-3, atol=1e-4)


class WithBatchNorm(nn.Module):
    """The fault."""

    def __init__(self, *, keeps_statistics: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, track_running_stats=keeps_statistics)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(images).mean((2, 3))  # type: ignore[no-any-return]  # a layer's


@pytest.mark.parametrize("label", SMALL_MODELS)
def test_no_registered_model_lets_patients_touch_each_other(label: str) -> None:
    module = initial_module(job_of(label), 3)
    check_that_patients_do_not_touch_each_other(module, SMALL_MODELS[label][1])


@pytest.mark.parametrize("keeps_statistics", [True, False])
def test_a_batch_norm_is_found_and_refused(keeps_statistics: bool) -> None:
    module = WithBatchNorm(keeps_statistics=keeps_statistics)
    with pytest.raises(AssertionError):
        check_that_patients_do_not_touch_each_other(module, (4, 4))
    with pytest.raises(TrainingError):
        require_private_module(module)


# Clipping itself: a mutant that forgets it must not pass for ours.


def test_a_sum_without_clipping_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(parts: list[Any], clipping_norm: float) -> tuple[Tensor, Tensor]:
        rows = next(part for part in parts if isinstance(part, KeptRows)).rows
        return torch.ones(len(rows), dtype=torch.float64), torch.ones(len(rows), dtype=torch.bool)

    monkeypatch.setattr(clipping, "_weights_of", unclipped)
    with pytest.raises(AssertionError):
        check_that_one_patient_moves_the_weights_no_further_than_its_clip(job_with(**HEAVY), 1)


def test_the_clip_of_all_parameters_is_one_clip() -> None:
    data = patients(1)
    job, private = job_with(), dataclasses.replace(EVERYBODY, clipping_norm=CLIPPING_NORM)
    moved = trained(job, data, QuietNoise(), private) - first_weights(job)
    assert np.linalg.norm(moved) == pytest.approx(CLIPPING_NORM, rel=1e-4)
