import math

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

from fedward_client.training.device_noise import (
    DeviceNoise,
    add_draws,
    fresh_seed,
    sum_noise_at,
)
from fedward_common.errors import PrivacyError
from fedward_common.privacy.noise_source import OsKeyedNoise, SeededNoise


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("device", ["cpu", "mps", "meta"])
def test_a_device_whose_generator_is_not_cudas_is_refused(device: str) -> None:
    with pytest.raises(PrivacyError) as refusal:
        DeviceNoise(OsKeyedNoise(), torch.device(device))
    assert refusal.value.code == "NOISE_DEVICE"


def test_it_is_as_private_as_where_its_seeds_come_from() -> None:
    device = torch.device("cuda")
    assert DeviceNoise(OsKeyedNoise(), device).is_private
    assert not DeviceNoise(SeededNoise(1), device).is_private


def test_unless_the_device_is_asked_for_noise_is_the_sites_own_and_added_once() -> None:
    total = torch.full((5,), 2.0)
    noisy = sum_noise_at("cpu", SeededNoise(7), torch.device("cuda")).added_to(total.clone(), 3.0)
    expected = np.full(5, 2.0, dtype=np.float32)
    SeededNoise(7).add_normal_to(expected, 3.0)
    np.testing.assert_array_equal(noisy.numpy(), expected)
    assert noisy.device == total.device


def test_the_device_is_taken_only_where_it_is_asked_for() -> None:
    source = OsKeyedNoise()
    assert isinstance(sum_noise_at("device", source, torch.device("cuda")), DeviceNoise)
    with pytest.raises(PrivacyError, match="cpu"):
        sum_noise_at("device", source, torch.device("cpu"))


def test_every_request_has_a_seed_of_64_bits() -> None:
    source = SeededNoise(2)
    seeds = [fresh_seed(source) for _ in range(2000)]
    assert len(set(seeds)) == 2000
    for bit in range(64):
        share = sum(seed >> bit & 1 for seed in seeds) / 2000
        assert abs(share - 0.5) < 4.5 * 0.5 / math.sqrt(2000)
    for seed in (0, 2**64 - 1):
        generator_of(seed)  # the whole range is taken


@pytest.mark.parametrize("draws", [1, 4])
def test_noise_is_added_in_place_with_the_standard_deviation_asked_for(draws: int) -> None:
    values = torch.full((300, 400), 5.0)
    add_draws(values, 3.0, generator_of(3), draws)
    noise = (values.numpy().astype(np.float64).reshape(-1) - 5.0) / 3.0
    assert stats.kstest(noise, "norm").pvalue > 1e-4
    assert abs(float(noise.var()) - 1.0) < 4 * math.sqrt(2 / noise.size)


def test_several_blocks_have_other_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.training.device_noise._BLOCK_VALUES", 1000)
    values = torch.zeros(2500)
    add_draws(values, 1.0, generator_of(4), 4)
    assert np.unique(values.numpy()).size > 2490


def test_a_parameter_that_wants_gradients_takes_noise() -> None:
    parameter = torch.nn.Parameter(torch.zeros(100))
    add_draws(parameter, 1.0, generator_of(5), 1)
    assert parameter.detach().abs().min() > 0


def test_a_strided_tensor_and_noise_of_no_size_are_refused() -> None:
    for values, deviation in ((torch.zeros(4, 4).T, 1.0), (torch.zeros(4), 0.0)):
        with pytest.raises(PrivacyError) as refusal:
            add_draws(values, deviation, generator_of(6), 4)
        assert refusal.value.code == "INVALID_NOISE"
        assert not values.any()
