import numpy as np
import pytest
import torch
from tests.client.training.private.patient_loop import (
    SMALL_MODELS,
    assert_same_sums,
    clipped_sum,
    job_of,
    looped_sum,
)
from torch import Tensor, nn

from fedward_client.training.frozen_layers import freeze_layers
from fedward_client.training.per_sample import clipping
from fedward_client.training.per_sample.contributions import BatchLayout, DeferredProduct
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.job.job_file import Job
from fedward_common.models.catalogue import MODELS
from fedward_common.models.losses import build_loss
from fedward_common.models.registry import initial_module

ONE_VIEW = BatchLayout(num_patients=3, num_views=1)


def batch_of(job: Job, num_examples: int, *, partly: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    size, num_classes = tuple(job.data.image_size), len(job.task.classes)
    # Patients of very different brightness, so that some are clipped and some are not.
    brightness = torch.logspace(-1, 1, num_examples).view(-1, *[1] * (len(size) + 1))
    images = torch.randn(num_examples, 1, *size, generator=generator) * brightness
    if job.task.multi_label:
        targets = torch.randint(0, 2, (num_examples, num_classes), generator=generator)
        unknown = NOT_ANNOTATED
    else:
        shape = (num_examples, *size) if job.task.kind == "segmentation" else (num_examples,)
        targets = torch.randint(0, num_classes, shape, generator=generator)
        unknown = NOT_ANNOTATED_VOXEL if job.task.kind == "segmentation" else NOT_ANNOTATED
    if partly:
        targets[torch.rand(targets.shape, generator=generator) < 0.4] = unknown
        targets[0] = unknown
    return images.to(torch.get_default_dtype()), targets


def compare(
    job: Job, layout: BatchLayout = ONE_VIEW, *, partly: bool = False, frozen: tuple[str, ...] = ()
) -> nn.Module:
    module = initial_module(job, 3).double()
    freeze_layers(module, frozen)
    loss = build_loss(job.training.loss, job.task, partly_annotated=partly)
    batch = batch_of(job, layout.num_patients * layout.num_views, partly=partly)
    _, norms = looped_sum(module, loss, batch, layout, 1.0)
    middle = float(norms.median())  # clips some and leaves some
    expected, _ = looped_sum(module, loss, batch, layout, middle)
    ours, within = clipped_sum(module, loss, batch, layout, middle * (1 + 1e-12))
    assert_same_sums(ours, expected)
    assert within.tolist() == (norms <= middle).tolist()
    return module


def test_every_registered_model_is_compared() -> None:
    assert {label.split()[0] for label in SMALL_MODELS} == set(MODELS)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("label", SMALL_MODELS)
def test_one_pass_clips_as_a_loop_over_patients_does(label: str) -> None:
    compare(job_of(label))


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
def test_a_densenet_of_volumes_clips_as_a_loop_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SMALL_MODELS, "densenet121 3-D", ("classification", (32, 32, 32), {}))
    compare(job_of("densenet121 3-D"), BatchLayout(num_patients=2, num_views=1))


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    "label",
    ["cnn", "cnn 3-D", "cnn standardised", "resnet18", "unet", "unet 3-D", "unet deep"],
)
def test_views_of_a_patient_are_averaged_before_the_clip(label: str) -> None:
    compare(job_of(label), BatchLayout(num_patients=3, num_views=2))


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize("loss", ["dice", "dice-cross-entropy", "cross-entropy", "focal"])
def test_each_loss_of_segmentation_agrees(loss: str, partly: bool) -> None:
    compare(job_of("unet", loss=loss), partly=partly)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    "loss",
    [
        {"name": "cross-entropy", "label_smoothing": 0.1, "class_weights": (1.0, 5.0, 0.1)},
        {"name": "focal", "gamma": 1.5, "class_weights": (1.0, 5.0, 0.1)},
    ],
)
def test_each_loss_of_classification_agrees(loss: dict, multi_label: bool) -> None:
    compare(job_of("cnn", loss=loss, multi_label=multi_label), partly=multi_label)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("label", "frozen"),
    [
        ("cnn", ("features.0", "features.[3-5].*", "head.bias")),
        ("cnn standardised", ("features.0", "features.6.weight")),
        ("unet", ("model.0",)),
        ("resnet18", ("conv1", "norm1", "layer[123].*")),
    ],
)
def test_frozen_layers_have_no_part_in_the_norm(label: str, frozen: tuple[str, ...]) -> None:
    module = compare(job_of(label), frozen=frozen)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_clipped_sum_of_one_patient_stays_within_the_norm_in_float32() -> None:
    job = job_of("resnet18")
    module = initial_module(job, 3)
    images, targets = batch_of(job, 4)
    loss = build_loss(job.training.loss, job.task)
    for bound in (1e-3, 0.1, 1.0):
        for patient in range(4):
            one = images[patient : patient + 1] * 100, targets[patient : patient + 1]
            sums, _ = clipped_sum(module, loss, one, BatchLayout(1, 1), bound)
            norm = np.sqrt(sum(float(g.double().square().sum()) for g in sums.values()))
            assert norm <= bound * (1 + 1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("label", ["cnn", "cnn standardised", "resnet18", "unet", "cnn 3-D"])
def test_a_patient_that_is_not_finite_counts_as_zero_and_touches_nobody(
    label: str, value: float
) -> None:
    job = job_of(label)
    module = initial_module(job, 3)
    images, targets = batch_of(job, 4)
    loss = build_loss(job.training.loss, job.task)
    spoiled = images.clone()
    spoiled[2] = value
    with_it, within = clipped_sum(module, loss, (spoiled, targets), BatchLayout(4, 1), 0.5)
    others = [0, 1, 3]
    without, _ = clipped_sum(
        module, loss, (images[others], targets[others]), BatchLayout(3, 1), 0.5
    )
    if value != 1e30:  # group norm makes an ordinary gradient of a bright image
        assert not within[2]
        assert_same_sums(with_it, without, tolerance=1e-5)
    assert all(torch.isfinite(values).all() for values in with_it.values())


def test_a_square_rounded_below_zero_is_a_norm_of_zero_within_any_bound() -> None:
    parameter, layout = nn.Parameter(torch.zeros(1)), BatchLayout(2, 1)
    squares = torch.tensor([-1e-20, 4.0], dtype=torch.float64)
    factors = torch.ones(2, 1), torch.ones(2, 1)
    part = DeferredProduct(parameter, squares, factors, lambda a, b: (a * b).sum(0), layout)
    weights, within = clipping._weights_of([part], 1.0)
    assert weights.tolist() == [1.0, 0.5]
    assert within.tolist() == [True, False]


def test_a_module_is_as_it_was_after_clipping() -> None:
    job = job_of("cnn")
    module = initial_module(job, 3)
    images, targets = batch_of(job, 3)
    before = module(images)
    loss = build_loss(job.training.loss, job.task)
    clipped_sum(module, loss, (images, targets), ONE_VIEW, 1.0)
    assert all("forward" not in layer.__dict__ for layer in module.modules())
    assert torch.equal(module(images), before)
