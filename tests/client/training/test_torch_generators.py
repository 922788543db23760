import pytest
import torch

from fedward_client.training.torch_generators import (
    borrowed_generators,
    hidden_seed,
    seeded_dropout,
)
from fedward_common.privacy.noise_source import SeededNoise

CPU = torch.device("cpu")


def test_dropout_follows_from_its_seed_and_the_generator_is_given_back() -> None:
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with seeded_dropout(seed, CPU):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_generator_is_given_back_after_an_error_too() -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError), borrowed_generators(CPU):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_hidden_seed_is_new_each_time_and_one_that_torch_takes() -> None:
    noise = SeededNoise(1)
    seeds = {hidden_seed(noise) for _ in range(100)}
    assert len(seeds) == 100
    assert max(seeds) < 2**63
