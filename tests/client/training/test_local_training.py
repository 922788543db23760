from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedward_client.training import local_training
from fedward_client.training.frozen_layers import freeze_layers
from fedward_client.training.local_training import (
    RoundOfTraining,
    TrainingData,
    pick_device,
    train_locally,
)
from fedward_client.training.optimizers import build_optimizer
from fedward_common.errors import ConfigurationError, TrainingError
from fedward_common.job.job_file import Job
from fedward_common.models.flat_vector import FlatWeights, flat_from_module
from fedward_common.models.registry import initial_module

CPU = torch.device("cpu")
FIRST = RoundOfTraining(round_number=1, total_rounds=4, seed=11)
AUGMENTED = {"flip": ["left-right"], "shift": 0.1, "rotate_degrees": 10.0, "noise": 0.1}


def separable(num_patients: int = 24, size: tuple[int, ...] = (8, 8)) -> TrainingData:
    """Make two images a patient; bright under the mask: a column in class 0, half in class 1."""
    random = np.random.default_rng(0)
    labels = np.arange(2 * num_patients) // 2 % 2
    images = random.normal(0, 0.3, (labels.size, 1, *size)).astype(np.float32)
    masks = np.zeros((labels.size, *size), dtype=np.uint8)
    masks[..., 0] = 1
    masks[labels == 1, ..., : size[-1] // 2] = 1
    images[:, 0] += 2 * masks
    cases = np.split(np.arange(labels.size), num_patients)
    return TrainingData(images, masks, labels.astype(np.int64), cases)


def loss_on(module: torch.nn.Module, data: TrainingData) -> float:
    module.eval()
    with torch.no_grad():
        logits = module(torch.from_numpy(data.images))
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels)).item()


def trained(job: Job, data: TrainingData, round_: RoundOfTraining = FIRST) -> FlatWeights:
    module = initial_module(job, 3)
    train_locally(module, job, data, round_, CPU)
    return flat_from_module(module)


@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.2), ("adam", 0.02), ("adamw", 0.02)])
def test_training_learns_a_separable_task(make_job: Any, name: str, rate: float) -> None:
    job = make_job(local_steps=20, optimizer={"name": name, "learning_rate": rate})
    module, data = initial_module(job, 3), separable()
    before = loss_on(module, data)
    outcome = train_locally(module, job, data, FIRST, CPU, clock=iter([5.0, 7.5]).__next__)
    assert loss_on(module, data) < before / 2
    assert (outcome.num_steps, outcome.seconds_in_steps) == (20, 2.5)


@pytest.mark.parametrize("size", [(8, 8), (4, 4, 4)])
@pytest.mark.parametrize("loss", ["dice", "dice-cross-entropy", "cross-entropy", "focal"])
def test_training_learns_to_segment(make_job: Any, size: tuple[int, ...], loss: str) -> None:
    job = make_job(
        size,
        kind="segmentation",
        local_steps=60,
        loss={"name": loss},
        optimizer={"name": "adam", "learning_rate": 0.03},
    )
    module, data = initial_module(job, 3), separable(size=size)
    train_locally(module, job, data, FIRST, CPU)
    assert data.masks is not None
    with torch.no_grad():
        predicted = module.eval()(torch.from_numpy(data.images)).argmax(1).numpy()
    assert (predicted == data.masks).mean() > 0.9


def test_the_same_seed_and_round_give_the_same_bits_and_others_do_not(make_job: Any) -> None:
    options = {"width": 8, "blocks": 2, "dropout": 0.3}
    job, data = make_job(options=options, augmentation=AUGMENTED), separable()
    before = torch.random.get_rng_state()
    weights = trained(job, data)
    torch.rand(3)  # whatever else draws from the global generator
    np.testing.assert_array_equal(trained(job, data), weights)
    assert not np.array_equal(trained(job, data, RoundOfTraining(2, 4, 11)), weights)
    assert not np.array_equal(trained(job, data, RoundOfTraining(1, 4, 12)), weights)
    torch.random.set_rng_state(before)
    trained(job, data)
    assert torch.equal(before, torch.random.get_rng_state())


def test_two_rounds_without_optimizer_state_equal_one_twice_as_long(make_job: Any) -> None:
    schedule = {"name": "cosine"}
    whole = make_job(local_steps=6, schedule=schedule)
    halves = make_job(local_steps=3, schedule=schedule)
    module, data = initial_module(halves, 3), separable()
    for number in (1, 2):
        train_locally(module, halves, data, RoundOfTraining(number, 4, 11), CPU)
    # Equal up to how the run's steps are cut into rounds: same batches, same learning rates.
    expected = trained(whole, data, RoundOfTraining(1, 2, 11))
    np.testing.assert_array_equal(flat_from_module(module), expected)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_neither_gradients_nor_moments_stay_after_the_round(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    built: list[torch.optim.Optimizer] = []

    def building(*arguments: Any) -> torch.optim.Optimizer:
        built.append(build_optimizer(*arguments))
        return built[-1]

    monkeypatch.setattr(local_training, "build_optimizer", building)
    optimizer = {"name": name, "momentum": 0.9} if name == "sgd" else {"name": name}
    job = make_job(local_steps=2, optimizer=optimizer | {"learning_rate": 0.1})
    module = initial_module(job, 3)
    train_locally(module, job, separable(), FIRST, CPU)
    assert len(built) == 1
    assert not built[0].state
    assert all(parameter.grad is None for parameter in module.parameters())


def test_frozen_layers_stay_bit_for_bit_and_others_move(make_job: Any) -> None:
    job = make_job(frozen=("features.0", "features.[3-5].*"), l1=0.01, l2=0.01)
    module = initial_module(job, 3)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    train_locally(module, job, separable(), FIRST, CPU)
    same = {n for n, tensor in module.state_dict().items() if torch.equal(tensor, before[n])}
    assert same == {
        "features.0.weight", "features.3.weight", "features.4.weight", "features.4.bias"
    }  # fmt: skip


def test_a_pattern_that_matches_nothing_is_refused_with_the_layers(make_job: Any) -> None:
    module = initial_module(make_job(), 0)
    with pytest.raises(ConfigurationError, match="'feature'") as caught:
        freeze_layers(module, ["feature"])
    assert "features.0, features.1" in caught.value.hint
    assert "head" in caught.value.hint
    with pytest.raises(ConfigurationError, match="nothing to train"):
        freeze_layers(module, ["*"])


def test_freezing_anew_thaws_what_is_no_longer_named(make_job: Any) -> None:
    module = initial_module(make_job(), 0)
    freeze_layers(module, ["features"])
    assert len(freeze_layers(module, ["head"])) == len(list(module.parameters())) - 2


@pytest.mark.parametrize("rate", [1e-3, 100.0])
def test_a_loss_that_is_not_finite_is_an_error_with_its_code(make_job: Any, rate: float) -> None:
    job = make_job(optimizer={"learning_rate": rate})
    data = separable()
    data.images[:] = np.nan
    with pytest.raises(TrainingError) as caught:
        trained(job, data)
    assert caught.value.code == "NON_FINITE"


def test_weights_that_overflow_in_the_last_step_are_found(make_job: Any) -> None:
    job, data = make_job(local_steps=1), separable()
    module = initial_module(job, 3)
    spoiled = module.get_parameter("head.weight")
    spoiled.register_hook(lambda gradient: gradient * torch.inf)  # type: ignore[no-untyped-call]  # torch's own
    with pytest.raises(TrainingError, match="NaN or infinite"):
        train_locally(module, job, data, FIRST, CPU)


@pytest.mark.parametrize("num_patients", [1, 3])
def test_a_site_smaller_than_a_batch_or_with_one_class_trains(
    make_job: Any, num_patients: int
) -> None:
    data = separable(num_patients)
    data.labels[:] = 1
    job = make_job(loss={"name": "cross-entropy", "class_weights": [1.0, 4.0]})
    assert np.isfinite(trained(job, data)).all()


def test_a_site_without_training_patients_is_named(make_job: Any) -> None:
    data = separable()
    empty = TrainingData(data.images, None, data.labels, [])
    with pytest.raises(TrainingError) as caught:
        trained(make_job(), empty)
    assert caught.value.code == "NO_TRAINING_PATIENTS"


def test_segmentation_without_masks_is_named(make_job: Any) -> None:
    data = separable()
    no_masks = TrainingData(data.images, None, data.labels, data.cases_by_patient)
    with pytest.raises(TrainingError) as caught:
        trained(make_job(kind="segmentation"), no_masks)
    assert caught.value.code == "NO_MASKS"


def test_memory_mapped_images_train_to_the_same_bits(make_job: Any, tmp_path: Path) -> None:
    data = separable()
    np.save(tmp_path / "images.npy", data.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    on_disk = TrainingData(mapped, None, data.labels, data.cases_by_patient)
    job = make_job(augmentation={"intensity": 0.1})
    np.testing.assert_array_equal(trained(job, on_disk), trained(job, data))


def test_mixed_precision_runs_only_if_asked_and_keeps_float32_weights(make_job: Any) -> None:
    data = separable()
    mixed, full = trained(make_job(mixed_precision=True), data), trained(make_job(), data)
    assert mixed.dtype == np.float32
    assert not np.array_equal(mixed, full)
    np.testing.assert_allclose(mixed, full, atol=0.05)


def test_a_penalty_pulls_weights_towards_0(make_job: Any) -> None:
    data = separable()
    norms = [np.linalg.norm(trained(make_job(l2=l2), data)) for l2 in (0.0, 1.0)]
    assert norms[1] < norms[0]


def test_the_device_is_the_gpu_where_there_is_one() -> None:
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
