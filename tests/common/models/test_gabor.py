import cmath
import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.client.training.private.patient_loop import assert_same_sums, clipped_sum, looped_sum
from torch import Tensor, nn
from torch.testing import assert_close

from fedward_client.training.per_sample.contributions import BatchLayout
from fedward_client.training.per_sample.layer_rules import unfit_layers
from fedward_common.models.gabor import FilterBank, morlet
from fedward_common.models.losses import build_loss
from fedward_common.models.model_options import GaborOptions
from fedward_common.models.registry import initial_module

SIZE = (28, 28)


def images_of(number: int, channels: int = 1) -> Tensor:
    return torch.rand(number, channels, *SIZE, generator=torch.Generator().manual_seed(4))


def with_a_trained_head(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(9)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module


def stripes(angle: float, radians_a_pixel: float) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    along = columns * math.cos(angle) + rows * math.sin(angle)
    return torch.cos(radians_a_pixel * along)[None, None]


def test_the_head_alone_is_trained_and_travels(make_job: Any) -> None:
    module = initial_module(make_job("gabor", SIZE), 1)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    assert shapes == {"head.weight": (2, 25 * 25), "head.bias": (2,)}
    assert list(module.buffers()) == []


def test_the_model_begins_without_an_opinion_whatever_the_seed(make_job: Any) -> None:
    for seed in (1, 2):
        assert not initial_module(make_job("gabor", SIZE), seed)(images_of(3)).any()


@pytest.mark.parametrize("scale", [0, 1, 2])
@pytest.mark.parametrize("angle", [0.0, math.pi / 8, math.pi / 2])
def test_a_filter_ignores_brightness_and_follows_its_formula(scale: int, angle: float) -> None:
    """A slow second implementation, one value at a time, without the factor before it all."""
    sigma, slant = 0.8 * 2**scale, 0.5
    reach = range(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1)
    waves, bells = [], []
    for row in reach:
        for column in reach:
            along = column * math.cos(angle) + row * math.sin(angle)
            across = -column * math.sin(angle) + row * math.cos(angle)
            bells.append(math.exp(-(along**2 + slant**2 * across**2) / (2 * sigma**2)))
            waves.append(bells[-1] * cmath.exp(1j * 0.75 * math.pi / 2**scale * along))
    middle = sum(waves) / sum(bells)
    expected = np.array([wave - middle * bell for wave, bell in zip(waves, bells, strict=True)])
    ours = morlet(scale, angle, slant)
    assert abs(ours.sum()) < 1e-12
    np.testing.assert_allclose(
        ours.ravel() * 2 * math.pi * sigma**2 / slant, expected, rtol=0, atol=1e-12
    )


def test_a_filter_turned_by_a_right_angle_is_the_filter_of_that_angle() -> None:
    turned = morlet(1, math.pi / 2, 0.5)
    np.testing.assert_allclose(turned, morlet(1, 0.0, 0.5).T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [0, 1, 2])
@pytest.mark.parametrize("orientation", [0, 1, 4, 7])
def test_stripes_are_answered_most_by_the_filter_of_their_direction_and_width(
    scale: int, orientation: int
) -> None:
    image = stripes(math.pi * orientation / 8, 0.75 * math.pi / 2**scale)
    answers = FilterBank(GaborOptions())(image)[0, 1:].mean((1, 2))
    assert int(answers.argmax()) == 8 * scale + orientation


def test_maps_are_the_image_and_then_each_scale_on_the_grid() -> None:
    images = images_of(2, channels=3)
    maps = FilterBank(GaborOptions(scales=2, orientations=4, grid=7))(images)
    assert maps.shape == (2, 3 * 9, 7, 7)
    assert_close(maps[:, :3], images.view(2, 3, 7, 4, 7, 4).mean((3, 5)))


def test_channels_are_filtered_one_by_one() -> None:
    images = images_of(2, channels=3)
    maps = FilterBank(GaborOptions(scales=1, orientations=4))(images)
    for channel in range(3):
        alone = FilterBank(GaborOptions(scales=1, orientations=4))(images[:, channel, None])
        assert_close(maps[:, 3 + 4 * channel : 7 + 4 * channel], alone[:, 1:])


def test_brightness_and_contrast_of_an_image_change_nothing(make_job: Any) -> None:
    module = with_a_trained_head(initial_module(make_job("gabor", SIZE), 1))
    images = images_of(3)
    assert_close(module(images * 0.3 + 5), module(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_an_image_without_any_structure_gives_the_bias(make_job: Any, kind: torch.dtype) -> None:
    module = with_a_trained_head(initial_module(make_job("gabor", SIZE), 1)).to(kind)
    images = torch.full((1, 1, *SIZE), 0.25, dtype=kind).requires_grad_()
    logits = module(images)
    logits.sum().backward()
    assert_close(logits[0].detach(), module.get_parameter("head.bias").detach())
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_the_smallest_images_that_are_taken_can_be_filtered(make_job: Any) -> None:
    for size, options in (
        ((20, 33), {}),
        ((5, 5), {"scales": 1}),
        ((27, 27), {"scales": 4, "grid": 2}),
    ):
        assert initial_module(make_job("gabor", size, **options), 1)(torch.rand(1, 1, *size)).shape


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_views", [1, 2])
def test_one_pass_clips_as_a_loop_over_patients_does(
    make_job: Any, channels: int, num_views: int
) -> None:
    job = make_job("gabor", SIZE, num_classes=3, image_channels=channels)
    module = with_a_trained_head(initial_module(job, 3)).double()
    loss, layout = build_loss(job.training.loss, job.task), BatchLayout(4, num_views)
    images = images_of(4 * num_views, channels).double()
    batch = images, torch.tensor([0, 1, 2, 1] * num_views)
    _, norms = looped_sum(module, loss, batch, layout, 1.0)
    middle = float(norms.median())  # clips some and leaves some
    expected, _ = looped_sum(module, loss, batch, layout, middle)
    ours, within = clipped_sum(module, loss, batch, layout, middle * (1 + 1e-12))
    assert_same_sums(ours, expected)
    assert within.tolist() == (norms <= middle).tolist()


def test_the_model_is_fit_for_private_training(make_job: Any) -> None:
    assert list(unfit_layers(initial_module(make_job("gabor", SIZE), 1))) == []


def test_a_patient_changes_nobody_elses_answer(make_job: Any) -> None:
    module = with_a_trained_head(initial_module(make_job("gabor", SIZE), 1))
    images = images_of(3)
    images[1] = math.nan
    logits = module(images)
    assert_close(logits[[0, 2]], module(images_of(3))[[0, 2]])
    assert logits[1].isnan().all()
