from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedward_common.models.catalogue import architecture_of
from fedward_common.models.flat_vector import flat_from_module, spec_of
from fedward_common.models.registry import build_model, initial_module

# name, image size, options, group norms, parameters (one channel, two classes)
BUILT = [
    ("cnn", (28, 28), {}, 6, 287_138),
    ("cnn", (8, 8, 8), {"width": 8, "dropout": 0.2}, 6, 54_074),
    ("cnn", (8, 8), {"width": 8, "weight_standardisation": True}, 6, 18_218),
    ("cnn", (8, 8, 8), {"width": 8, "weight_standardisation": True}, 6, 54_074),
    ("resnet18", (32, 32), {}, 20, 11_171_266),
    ("resnet18", (32, 32), {"weight_standardisation": True}, 20, 11_171_266),
    ("resnet18", (8, 8), {"small_images": True}, 20, 11_168_706),
    ("densenet121", (32, 32), {}, 121, 6_949_634),
    ("gabor", (28, 28), {}, 2, 1_252),
    ("gabor", (20, 33), {"scales": 2, "orientations": 4, "grid": 4}, 2, 290),
    ("unet", (16, 16), {}, 9, 52_117),
    ("unet", (8, 8, 8), {"dropout": 0.1}, 9, 150_973),
    ("unet", (9, 9), {"strides": (3, 3, 1)}, 9, 48_021),
    ("unet", (16, 32), {"strides": (4, 2, 1)}, 9, 48_021),
    ("unet", (16, 16), {"residual_units": 0}, 6, 41_120),
    ("unet", (16, 16), {"residual_units": 2}, 13, 101_441),
]


@pytest.mark.parametrize(("name", "size", "options", "num_norms", "num_parameters"), BUILT)
def test_each_model_trains_on_one_image_and_has_group_norms_alone(
    make_job: Any,
    name: str,
    size: tuple[int, ...],
    options: dict[str, Any],
    num_norms: int,
    num_parameters: int,
) -> None:
    job = make_job(name, size, **options)
    module = initial_module(job, seed=1)
    logits = module(torch.ones(1, 1, *size))
    logits.square().sum().backward()
    assert logits.shape == ((1, 2, *size) if name == "unet" else (1, 2))
    assert all(parameter.grad is not None for parameter in module.parameters())
    kinds = [type(layer) for layer in module.modules()]
    assert sum(kind is nn.GroupNorm for kind in kinds) == num_norms
    named_norm = [k.__name__ for k in kinds if "Norm" in k.__name__ and k is not nn.GroupNorm]
    assert [name for name in named_norm if name != "_GroupNormUNet"] == []
    assert spec_of(module, architecture_of(job)).num_parameters == num_parameters
    assert not any(getattr(layer, "inplace", False) for layer in module.modules())


@pytest.mark.parametrize(
    ("name", "classes"), [("cnn", 7), ("unet", 3), ("resnet18", 5), ("gabor", 4)]
)
def test_classes_and_channels_come_from_the_job(make_job: Any, name: str, classes: int) -> None:
    job = make_job(name, (32, 32), num_classes=classes, image_channels=3)
    assert build_model(job)(torch.zeros(1, 3, 32, 32)).shape[1] == classes


def test_a_3d_resnet_keeps_its_layout(make_job: Any) -> None:
    job = make_job("resnet18", (8, 8, 8), small_images=True, num_classes=3)
    assert build_model(job)(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3)


@pytest.mark.parametrize("name", ["cnn", "unet"])
def test_initial_weights_follow_from_the_seed_and_leave_the_global_generator(
    make_job: Any, name: str
) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (
        flat_from_module(initial_module(make_job(name), seed)) for seed in (2**62, 2**62, 5)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
