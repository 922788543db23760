from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Parameter

from fedward_client.training.optimizers import (
    add_penalty_gradients,
    build_optimizer,
    set_learning_rate,
)
from fedward_common.job.job_file import OptimizerSection, ScheduleSection
from fedward_common.job.learning_rate import learning_rate_at


def rates(rounds: int, steps: int, base: float = 1.0, **section: Any) -> list[float]:
    schedule = ScheduleSection(**section)
    return [
        learning_rate_at(step, rounds * steps, steps, schedule, base)
        for step in range(rounds * steps)
    ]


def test_warm_up_climbs_in_equal_steps_and_then_the_rate_stays() -> None:
    assert rates(3, 2, base=2.0, warmup_rounds=2) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_cosine_is_halfway_in_the_middle_and_ends_at_its_fraction() -> None:
    values = rates(5, 1, name="cosine", final_fraction=0.1)
    assert values[0] == 1.0
    assert values[2] == pytest.approx(0.55)  # (1 + 0.1) / 2, by hand
    assert values[-1] == pytest.approx(0.1)


def test_exponential_falls_by_one_factor_a_step() -> None:
    assert rates(3, 1, name="exponential", final_fraction=0.01) == pytest.approx([1, 0.1, 0.01])


@given(
    rounds=st.integers(1, 8),
    steps=st.integers(1, 8),
    name=st.sampled_from(["constant", "exponential", "cosine"]),
    warmup=st.integers(0, 7),
    final=st.floats(0.001, 1),
)
def test_rates_stay_between_0_and_the_base_and_fall_after_the_warm_up(
    rounds: int, steps: int, name: str, warmup: int, final: float
) -> None:
    warmup = min(warmup, rounds - 1)
    values = rates(rounds, steps, name=name, warmup_rounds=warmup, final_fraction=final)
    after = values[warmup * steps :]
    assert all(0 < value <= 1 + 1e-12 for value in values)
    assert after[0] == pytest.approx(1)
    assert after == sorted(after, reverse=True)


def test_the_rate_depends_on_the_global_step_not_on_how_rounds_are_cut() -> None:
    whole = rates(1, 12, name="cosine")
    assert rates(4, 3, name="cosine") == whole


@pytest.mark.parametrize(
    ("section", "reference"),
    [
        (OptimizerSection("sgd", momentum=0.9), lambda p: torch.optim.SGD(p, 0.05, 0.9)),
        (OptimizerSection("adam"), lambda p: torch.optim.Adam(p, 0.05)),
        (
            OptimizerSection("adamw", weight_decay=0.3),
            lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.3),
        ),
    ],
)
def test_each_optimizer_steps_as_torchs_own(section: OptimizerSection, reference: Any) -> None:
    ours, theirs = Parameter(torch.ones(3, 2)), Parameter(torch.ones(3, 2))
    pairs = [(ours, build_optimizer(section, [ours], 0.05)), (theirs, reference([theirs]))]
    for parameter, optimizer in pairs:
        for step in range(4):
            parameter.grad = torch.arange(6.0).view(3, 2) - step
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_new_learning_rate_holds_from_the_next_step() -> None:
    weight = Parameter(torch.zeros(1, 1))
    optimizer = build_optimizer(OptimizerSection("sgd"), [weight], 1.0)
    set_learning_rate(optimizer, 0.25)
    weight.grad = torch.ones(1, 1)
    optimizer.step()
    assert weight.item() == -0.25


def test_penalties_touch_weights_and_leave_biases_and_missing_gradients() -> None:
    weight, bias, unused = (Parameter(torch.full(s, -2.0)) for s in ((1, 2), (2,), (1, 1)))
    weight.grad, bias.grad = torch.ones(1, 2), torch.ones(2)
    add_penalty_gradients([weight, bias, unused], l1=0.5, l2=0.25)
    assert weight.grad.tolist() == [[0.0, 0.0]]  # 1 + 0.5 sign(-2) + 0.25 (-2), by hand
    assert bias.grad.tolist() == [1.0, 1.0]
    assert unused.grad is None


def test_l2_is_torchs_weight_decay_under_sgd() -> None:
    ours, theirs = Parameter(torch.ones(2, 2)), Parameter(torch.ones(2, 2))
    mine = build_optimizer(OptimizerSection("sgd"), [ours], 0.1)
    decayed = torch.optim.SGD([theirs], 0.1, weight_decay=0.3)
    for _ in range(3):
        ours.grad, theirs.grad = torch.ones(2, 2), torch.ones(2, 2)
        add_penalty_gradients([ours], 0, 0.3)
        mine.step()
        decayed.step()
    torch.testing.assert_close(ours, theirs)
