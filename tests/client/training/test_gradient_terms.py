"""Penalties, proximal term and correction, worked by hand and in training."""

from typing import Any

import numpy as np
import torch
from tests.client.training.test_local_training import CPU, FIRST, separable, trained
from torch import nn

from fedward_client.training.gradient_terms import GradientTerms
from fedward_client.training.local_training import RoundOfTraining, train_locally
from fedward_client.training.optimizers import build_optimizer
from fedward_common.job.training_section import OptimizerSection, TrainingSection
from fedward_common.models.flat_vector import flat_from_module
from fedward_common.models.registry import initial_module


class TwoWeights(nn.Module):
    """One vector of two weights, and a buffer behind it."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([first, second]))
        self.register_buffer("seen", torch.zeros(1))


def steps_towards(target: tuple[float, float], mu: float, num_steps: int) -> list[list[float]]:
    """Go down 1/2 |w - target|^2 from (1, 0) at a rate of 1/2; give the weights after each step."""
    module = TwoWeights(1.0, 0.0)
    section = TrainingSection(local_steps=num_steps, batch_patients=1, proximal_mu=mu)
    terms = GradientTerms(module, [module.weight], section, None)
    optimizer = build_optimizer(OptimizerSection("sgd"), [module.weight], 0.5)
    seen = []
    for _ in range(num_steps):
        module.weight.grad = module.weight.detach() - torch.tensor(target)
        terms.add()
        optimizer.step()
        seen.append(module.weight.tolist())
    return seen


def test_two_steps_of_two_sites_of_fedprox_worked_by_hand() -> None:
    # Gradient (w - target) + 0.5 (w - (1, 0)): the pull back begins with the second step.
    first = steps_towards((3.0, 0.0), 0.5, 2)
    assert first == [[2.0, 0.0], [2.25, 0.0]]  # 2 - (-1 + 0.5) / 2
    second = steps_towards((1.0, 4.0), 0.5, 2)
    assert second == [[1.0, 2.0], [1.0, 2.5]]  # 2 - (-2 + 1) / 2


def test_without_mu_nothing_pulls_back() -> None:
    assert steps_towards((3.0, 0.0), 0.0, 2) == [[2.0, 0.0], [2.5, 0.0]]


def test_a_large_mu_keeps_a_sites_weights_near_the_global_ones(make_job: Any) -> None:
    data = separable()
    rate = {"learning_rate": 0.1}
    start = flat_from_module(initial_module(make_job(), 3))
    came = [
        np.linalg.norm(
            trained(make_job(local_steps=20, proximal_mu=mu, optimizer=rate), data) - start
        )
        for mu in (0.0, 1.0, 9.0)
    ]
    assert came[0] > 1.5 * came[1] > 2 * came[2] > 0


def test_biases_are_held_and_frozen_layers_stay(make_job: Any) -> None:
    job = make_job(frozen=("features.0",), proximal_mu=0.5, local_steps=4)
    free = make_job(frozen=("features.0",), local_steps=4)
    held, loose, before = (initial_module(job, 3) for _ in range(3))
    train_locally(held, job, separable(), FIRST, CPU)
    train_locally(loose, free, separable(), FIRST, CPU)
    name = "head.bias"
    assert not torch.equal(held.get_parameter(name), loose.get_parameter(name))
    frozen = "features.0.weight"
    assert torch.equal(held.get_parameter(frozen), before.get_parameter(frozen))


def test_a_correction_is_added_to_each_step_at_its_own_place(make_job: Any) -> None:
    job = make_job(local_steps=1, optimizer={"learning_rate": 0.25})
    data = separable()
    plain = trained(job, data)
    correction = np.random.default_rng(0).normal(size=plain.size).astype(np.float32)
    corrected = trained(job, data, RoundOfTraining(1, 4, FIRST.seed, correction))
    np.testing.assert_allclose(corrected, plain - 0.25 * correction, rtol=1e-4, atol=1e-6)


def test_what_is_frozen_gets_no_correction(make_job: Any) -> None:
    job = make_job(frozen=("features.0",))
    module = initial_module(job, 3)
    size = flat_from_module(module).size
    round_ = RoundOfTraining(1, 4, 11, np.ones(size, dtype=np.float32))
    before = module.get_parameter("features.0.weight").clone()
    train_locally(module, job, separable(), round_, CPU)
    assert torch.equal(module.get_parameter("features.0.weight"), before)


def test_terms_that_are_switched_off_change_no_bit(make_job: Any) -> None:
    data = separable()
    nothing = np.zeros(flat_from_module(initial_module(make_job(), 3)).size, dtype=np.float32)
    plain = trained(make_job(), data)
    np.testing.assert_array_equal(trained(make_job(proximal_mu=0.0), data), plain)
    np.testing.assert_array_equal(
        trained(make_job(), data, RoundOfTraining(1, 4, FIRST.seed, nothing)), plain
    )


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    module = TwoWeights(1.0, 2.0)
    section = TrainingSection(local_steps=1, batch_patients=1, proximal_mu=1.0)
    terms = GradientTerms(module, [module.weight], section, np.ones(3, dtype=np.float32))
    terms.add()
    assert module.weight.grad is None
