import dataclasses
import logging
from typing import Any

import numpy as np
import pytest
import torch
from tests.client.training.private.patient_loop import job_of, looped_sum
from tests.client.training.private.quiet_noise import (
    EVERYBODY,
    FIRST,
    QuietNoise,
    first_weights,
    outcome_of,
    patients,
    trained,
)

from fedward_client.training.local_training import RoundOfTraining, TrainingData
from fedward_client.training.per_sample.clipping import PatientClipping
from fedward_client.training.per_sample.contributions import BatchLayout
from fedward_client.training.private_training import PrivateOutcome, PrivateRound
from fedward_common.annotation import NOT_ANNOTATED_VOXEL
from fedward_common.errors import ConfigurationError, PrivacyError, TrainingError
from fedward_common.job.job_file import Job
from fedward_common.models.losses import build_loss
from fedward_common.models.registry import initial_module
from fedward_common.privacy.noise_source import OsKeyedNoise, SeededNoise

HALF = dataclasses.replace(EVERYBODY, sampling_rate=0.5)
AUGMENTED = {"flip": ["left-right"], "shift": 0.1, "intensity": 0.2, "noise": 0.1}


def private_job(label: str = "cnn", *, views: int = 1, **training: Any) -> Job:
    section: dict[str, Any] = {
        "mechanism": "per-site", "noise_multiplier": 1.0, "delta": 1e-5,
        "augmentation_multiplicity": views,
    }  # fmt: skip
    defaults: dict[str, Any] = {"optimizer": {"learning_rate": 0.5}, "num_classes": 2}
    return job_of(label, privacy=section, **(defaults | training))


def test_private_training_learns_a_separable_task() -> None:
    job, data = private_job(local_steps=60), patients(60)
    private = PrivateRound(noise_multiplier=1.0, sampling_rate=0.5, clipping_norm=1.0)
    module = initial_module(job, 3)
    trained(job, data, SeededNoise(5, "test"), private, module=module)
    with torch.no_grad():
        predicted = module.eval()(torch.from_numpy(data.images)).argmax(1).numpy()
    assert (predicted == data.labels).mean() > 0.95


def test_private_training_learns_to_segment_with_views_and_without_annotation() -> None:
    job = private_job(
        "unet", views=2, local_steps=40, loss="dice-cross-entropy",
        optimizer={"name": "adam", "learning_rate": 0.02},
    )  # fmt: skip
    whole = patients(40, size=(16, 8))
    assert whole.masks is not None
    masks = whole.masks.copy()
    masks[:, :4] = NOT_ANNOTATED_VOXEL
    masks[0] = NOT_ANNOTATED_VOXEL
    data = dataclasses.replace(whole, masks=masks, partly_annotated=True)
    private = PrivateRound(noise_multiplier=0.5, sampling_rate=0.5, clipping_norm=0.5)
    module = initial_module(job, 3)
    trained(job, data, SeededNoise(5, "test"), private, module=module)
    with torch.no_grad():
        predicted = module.eval()(torch.from_numpy(data.images)).argmax(1).numpy()
    assert (predicted == whole.masks)[:, 4:].mean() > 0.9


def test_a_step_is_the_sum_of_clipped_gradients_over_the_expected_number() -> None:
    job, data = private_job(), patients(8)
    drawn = [1, 4]
    private = PrivateRound(noise_multiplier=1.0, sampling_rate=0.5, clipping_norm=0.05)
    moved = first_weights(job) - trained(job, data, QuietNoise(drawn), private)
    module = initial_module(job, 3)
    batch = torch.from_numpy(data.images[drawn]), torch.from_numpy(data.labels[drawn])
    loss = build_loss(job.training.loss, job.task)
    sums, norms = looped_sum(module, loss, batch, BatchLayout(2, 1), 0.05)
    assert float(norms.min()) > 0.05
    flat = torch.cat([sums[parameter].view(-1) for parameter in module.parameters()]).numpy()
    # Half of 8 patients are expected; that 2 were drawn must not show in the divisor.
    np.testing.assert_allclose(moved, 0.5 * flat / 4, rtol=1e-3, atol=1e-7)


def test_a_patient_who_withdrew_does_not_show_in_the_divisor() -> None:
    job, drawn = private_job(), QuietNoise([1, 4])
    private = PrivateRound(1.0, 0.5, 0.05, num_patients=8)
    before = trained(job, patients(8), drawn, private)
    after = trained(job, patients(7), QuietNoise([1, 4]), private)
    np.testing.assert_array_equal(after, before)


def test_a_step_that_draws_nobody_is_noise_like_any_other() -> None:
    job, data = private_job(local_steps=30), patients(8)
    private = PrivateRound(noise_multiplier=2.0, sampling_rate=0.25, clipping_norm=0.1)
    quiet = QuietNoise([])
    np.testing.assert_array_equal(trained(job, data, quiet, private), first_weights(job))
    assert {deviation for _, deviation in quiet.deviations} == {0.2}
    assert sum(size for size, _ in quiet.deviations) == 30 * first_weights(job).size

    class NobodyButNoise(QuietNoise):
        def add_normal_to(self, values: Any, standard_deviation: float) -> None:
            SeededNoise(len(self.deviations), "test").add_normal_to(values, standard_deviation)
            super().add_normal_to(values, standard_deviation)

    moved = trained(job, data, NobodyButNoise([]), private) - first_weights(job)
    expected = 0.5 * np.sqrt(30) * 2.0 * 0.1 / (0.25 * 8)
    assert np.std(moved) == pytest.approx(expected, rel=0.03)


def test_every_trainable_value_gets_noise_once_a_step_and_frozen_ones_none() -> None:
    job, data = private_job(frozen=("features.0",), local_steps=2), patients()
    quiet = QuietNoise()
    module = initial_module(job, 3)
    trained(job, data, quiet, module=module)
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert sum(size for size, _ in quiet.deviations) == 2 * trainable
    before = initial_module(job, 3).get_parameter("features.0.weight")
    assert torch.equal(module.get_parameter("features.0.weight"), before)


class LoudDevice:
    """Stands for a GPU that draws noise: writes down what it is asked for, and adds one."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []

    def added_to(self, total: torch.Tensor, standard_deviation: float) -> torch.Tensor:
        self.asked.append((total.numel(), standard_deviation))
        return total.add_(1.0)


def test_noise_of_the_device_takes_the_place_of_the_sources_for_sums_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, quiet = LoudDevice(), QuietNoise([])
    places = []

    def chosen(place: str, *_: object) -> LoudDevice:
        places.append(place)
        return device

    monkeypatch.setattr("fedward_client.training.private_training.sum_noise_at", chosen)
    private = PrivateRound(2.0, 0.25, 0.5, noise_drawn_on="device")
    job = private_job(local_steps=2)
    adaptive = dataclasses.replace(job.privacy.adaptive_clipping, enabled=True)
    job = dataclasses.replace(
        job, privacy=dataclasses.replace(job.privacy, adaptive_clipping=adaptive)
    )
    moved = first_weights(job) - trained(job, patients(8), quiet, private)
    assert places == ["device"]
    assert sum(size for size, _ in device.asked) == 2 * moved.size
    first_deviation = device.asked[0][1]
    assert first_deviation > 2.0 * 0.5  # the count's share of the noise is made up for
    np.testing.assert_allclose(moved, 2 * 0.5 * 1.0 / (0.25 * 8), rtol=1e-5)
    count = job.privacy.adaptive_clipping.count_noise_multiplier
    assert quiet.deviations == [(1, count)] * 2  # the counts' noise is the source's own


def test_noise_of_the_device_is_refused_where_the_device_is_no_gpu() -> None:
    private = dataclasses.replace(EVERYBODY, noise_drawn_on="device")
    with pytest.raises(PrivacyError) as caught:
        trained(private_job(), patients(8), QuietNoise(), private)
    assert caught.value.code == "NOISE_DEVICE"


@pytest.mark.parametrize("views", [1, 3])
def test_parts_of_any_size_give_the_same_weights(views: int) -> None:
    data = patients(37, images_each=2)
    weights = [
        trained(
            private_job(views=views, augmentation=AUGMENTED, physical_batch_size=size),
            data,
            QuietNoise(),
        )
        for size in (1000, 1, 20)
    ]
    assert not np.array_equal(weights[0], first_weights(private_job()))
    for other in weights[1:]:
        np.testing.assert_allclose(other, weights[0], rtol=1e-3, atol=1e-5)


def test_penalties_act_after_the_noise_on_weights_alone() -> None:
    job, data = private_job(l2=0.1), patients()
    before, after = initial_module(job, 3), initial_module(job, 3)
    trained(job, data, QuietNoise([]), HALF, module=after)
    for name, parameter in before.named_parameters():
        shrunk = parameter * (1 - 0.5 * 0.1) if parameter.ndim > 1 else parameter
        torch.testing.assert_close(after.get_parameter(name), shrunk)


def test_the_schedule_is_that_of_training_without_privacy() -> None:
    job = private_job(local_steps=2, l2=0.1, schedule={"name": "cosine", "warmup_rounds": 1})
    data = patients()
    first = trained(job, data, QuietNoise([]), HALF)
    last = trained(job, data, QuietNoise([]), HALF, round_=RoundOfTraining(4, 4, 11))
    start = first_weights(job)
    assert np.abs(first - start).max() > 2 * np.abs(last - start).max() > 0


def test_the_same_noise_gives_the_same_weights_whatever_the_runs_seed() -> None:
    dropout = {"width": 8, "blocks": 2, "dropout": 0.3}
    job, data = private_job(augmentation=AUGMENTED, local_steps=3), patients(images_each=3)
    job = dataclasses.replace(job, model=dataclasses.replace(job.model, options=dropout))
    before = torch.random.get_rng_state()
    weights = trained(job, data, SeededNoise(5, "test"))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)  # whatever else draws from the global generator
    other_run = RoundOfTraining(FIRST.round_number, FIRST.total_rounds, seed=12)
    again = trained(job, data, SeededNoise(5, "test"), round_=other_run)
    np.testing.assert_array_equal(again, weights)
    assert not np.array_equal(trained(job, data, SeededNoise(6, "test")), weights)


def test_a_patient_that_is_not_finite_is_left_out_in_silence(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    job, data = private_job(), patients(8)
    spoiled = dataclasses.replace(data, images=data.images.copy())
    spoiled.images[3] = np.nan
    caplog.set_level(logging.DEBUG)
    with_it = trained(job, spoiled, QuietNoise([1, 3, 4]), HALF)
    without = trained(job, data, QuietNoise([1, 4]), HALF)
    np.testing.assert_allclose(with_it, without, rtol=1e-4, atol=1e-6)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_nothing_but_steps_time_and_the_clipping_norm_is_returned() -> None:
    outcome = outcome_of(
        private_job(local_steps=3), patients(), QuietNoise(), clock=iter([5.0, 7.5]).__next__
    )
    assert dataclasses.astuple(outcome) == (3, 2.5, EVERYBODY.clipping_norm)
    names = [field.name for field in dataclasses.fields(PrivateOutcome)]
    assert names == ["num_steps", "seconds_in_steps", "clipping_norm"]


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_weights_that_overflow_are_an_error() -> None:
    job = private_job(optimizer={"learning_rate": 100.0}, local_steps=2, l2=10.0)
    private = PrivateRound(noise_multiplier=1.0, sampling_rate=1.0, clipping_norm=1e38)
    with pytest.raises(TrainingError) as caught:
        trained(job, patients(), OsKeyedNoise(draws=1), private)
    assert caught.value.code == "NON_FINITE"


class LittleMemory:
    """Lets parts of a few patients through, and others only after some of the step was added."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fits: int, free_parts: int) -> None:
        self.sizes: list[int] = []
        original = PatientClipping.add_clipped_sum

        def limited(clipping: Any, losses: Any, layout: BatchLayout, *rest: Any) -> Any:
            self.sizes.append(layout.num_patients)
            result = original(clipping, losses, layout, *rest)
            if layout.num_patients > fits and len(self.sizes) > free_parts:
                raise torch.OutOfMemoryError("no memory")
            return result

        monkeypatch.setattr(PatientClipping, "add_clipped_sum", limited)


def test_a_gpu_without_memory_gets_smaller_parts_and_nobody_counts_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, job = patients(20), private_job(physical_batch_size=8, augmentation=AUGMENTED)
    expected = trained(job, data, QuietNoise())
    memory = LittleMemory(monkeypatch, fits=3, free_parts=1)
    np.testing.assert_allclose(trained(job, data, QuietNoise()), expected, rtol=1e-3, atol=1e-5)
    assert memory.sizes == [8, 8, 4, *[2] * 10]


def test_too_little_memory_for_one_patient_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    LittleMemory(monkeypatch, fits=0, free_parts=0)
    with pytest.raises(TrainingError) as caught:
        trained(private_job(), patients(), QuietNoise())
    assert caught.value.code == "OUT_OF_MEMORY"


def test_mixed_precision_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="mixed_precision"):
        trained(private_job(mixed_precision=True), patients(), QuietNoise())


@pytest.mark.parametrize("cases", [[], [np.array([0]), np.array([], dtype=np.int64)]])
def test_a_site_without_patients_or_images_is_named(cases: list[Any]) -> None:
    data = patients()
    empty = TrainingData(data.images, None, data.labels, cases)
    with pytest.raises(TrainingError) as caught:
        trained(private_job(), empty, QuietNoise())
    assert caught.value.code == "NO_TRAINING_PATIENTS"


def test_segmentation_without_masks_is_named() -> None:
    data = dataclasses.replace(patients(size=(16, 8)), masks=None)
    with pytest.raises(TrainingError) as caught:
        trained(private_job("unet"), data, QuietNoise())
    assert caught.value.code == "NO_MASKS"


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["noise_multiplier", "sampling_rate", "clipping_norm"])
def test_a_round_without_a_bound_or_noise_is_refused(name: str, value: float) -> None:
    with pytest.raises(PrivacyError, match=name):
        dataclasses.replace(EVERYBODY, **{name: value})  # type: ignore[arg-type]  # whatever the field
    with pytest.raises(PrivacyError, match="at most 1"):
        dataclasses.replace(EVERYBODY, sampling_rate=1.01)
