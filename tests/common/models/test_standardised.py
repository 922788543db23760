from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import jacrev

from fedward_common.models.registry import initial_module
from fedward_common.models.standardised import (
    SMALLEST_VARIANCE,
    StandardisedConv2d,
    StandardisedConv3d,
    standardise,
    through_standardisation,
)


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale


def test_weights_1_3_5_become_minus_0_and_plus_the_root_of_1_5() -> None:
    weight = torch.tensor([[1.0, 3.0, 5.0]], dtype=torch.float64)  # mean 3, variance 8/3
    standardised, scale = standardise(weight)
    root = 1.5**0.5
    expected = torch.tensor([[-root, 0.0, root]], dtype=torch.float64)
    torch.testing.assert_close(standardised, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(scale.item(), (8 / 3 + SMALLEST_VARIANCE) ** -0.5)


def test_each_channel_has_mean_0_and_variance_1() -> None:
    standardised, _ = standardise(drawn(4, 3, 3, 3) + 7)
    torch.testing.assert_close(standardised.mean((1, 2, 3)), torch.zeros(4, dtype=torch.float64))
    variance = standardised.square().mean((1, 2, 3))
    torch.testing.assert_close(variance, torch.ones_like(variance), rtol=1e-5, atol=0)


def test_equal_weights_become_zero_and_not_nan() -> None:
    standardised, scale = standardise(torch.full((2, 3, 3), 0.1))
    assert standardised.abs().max() < 1e-3
    assert torch.isfinite(scale).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    outputs=st.integers(1, 3),
    values=st.integers(1, 6),
    scale=st.sampled_from((1e-4, 1e-3, 1.0, 100.0)),  # the first two where the added variance shows
    seed=st.integers(0, 99),
)
def test_gradients_go_through_the_standardisation_as_by_its_jacobian(
    outputs: int, values: int, scale: float, seed: int
) -> None:
    weight = drawn(outputs, values, seed=seed, scale=scale)
    gradients = drawn(5, outputs, values, seed=seed + 1)
    jacobian = jacrev(lambda w: standardise(w)[0])(weight)
    expected = torch.einsum("poi,oijk->pjk", gradients, jacobian)
    ours = through_standardisation(gradients, *standardise(weight))
    largest = max(1e-12, float(expected.abs().max()))
    assert float((ours - expected).abs().max()) <= 1e-9 * largest + 1e-12


@pytest.mark.parametrize(
    ("layer", "plain", "shape"),
    [
        (StandardisedConv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 3, 2, 1), (2, 3, 7, 6)),
        (StandardisedConv3d(2, 4, 3), nn.Conv3d(2, 4, 3), (2, 2, 4, 4, 4)),
    ],
)
def test_a_layer_is_a_plain_one_with_standardised_weights(
    layer: nn.Module, plain: nn.Module, shape: tuple[int, ...]
) -> None:
    state = layer.state_dict()
    assert list(state) == ["weight", "bias"]
    plain.load_state_dict(state | {"weight": standardise(state["weight"])[0]})
    images = drawn(*shape).float()
    assert torch.equal(layer(images), plain(images))


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_standardisation_reaches_every_convolution_and_changes_no_initial_weight(
    make_job: Any, name: str
) -> None:
    plain = initial_module(make_job(name, (32, 32)), 1)
    standardised = initial_module(make_job(name, (32, 32), weight_standardisation=True), 1)
    kinds = [type(m) for m in standardised.modules() if isinstance(m, nn.Conv2d)]
    assert set(kinds) == {StandardisedConv2d}
    assert not any(isinstance(m, StandardisedConv2d) for m in plain.modules())
    ours, theirs = standardised.state_dict(), plain.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
