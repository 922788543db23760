"""Which rounds a simulation may lose with a process: those that are done again to the same sum."""

import pytest
from tests.masked_federation import MASKED
from tests.simulation.test_strategies import PRIVATE, SCAFFOLD
from tests.tiny_federation import changed, tiny_job

from fedward_common.secagg.rounds_in_memory import may_be_in_memory

BOUND = 1 << 20  # parameters: 4 MiB of words


def test_a_masked_round_without_noise_may_be_in_memory() -> None:
    assert may_be_in_memory(changed(tiny_job(), MASKED), BOUND)


@pytest.mark.parametrize(
    "settings",
    [
        ("secure_aggregation.enabled=false",),
        PRIVATE,
        SCAFFOLD,
        ("secure_aggregation.stochastic_rounding=true",),
        ("quorum.attempts=1",),
    ],
    ids=["no masks", "noise", "control variates", "stochastic rounding", "one attempt"],
)
def test_a_round_that_would_not_be_done_again_alike_may_not(settings: tuple[str, ...]) -> None:
    assert not may_be_in_memory(changed(tiny_job(), MASKED, *settings), 1000)


def test_a_large_contribution_may_not() -> None:
    assert not may_be_in_memory(changed(tiny_job(), MASKED), BOUND + 1)
