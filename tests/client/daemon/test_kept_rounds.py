"""What a site's files of a round and a simulation's memory of it have in common."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.secagg_federation import make_federation

from fedward_client import secagg_member as machine
from fedward_client.daemon.kept_round import KeptRound
from fedward_client.daemon.round_memory import RoundMemory
from fedward_client.daemon.round_store import RoundStore
from fedward_client.secagg.member_state import MemberState, Stage
from fedward_common.crypto.mask_stream import Words
from fedward_common.errors import AggregationRefusedError
from fedward_common.secagg.codec import Section, VectorCodec
from fedward_common.secagg.lane import LaneLayout
from fedward_common.secagg.layout import ContributionLayout

LAYOUT = ContributionLayout(VectorCodec(32, 3, (Section("update", 5, 4.0),)), LaneLayout((), 3))
Rounds = Callable[[int], KeptRound]


@pytest.fixture(params=["files", "memory"])
def rounds(request: pytest.FixtureRequest, tmp_path: Path) -> Rounds:
    """Give each round of one run, as often as it is asked for."""
    if request.param == "memory":
        return RoundMemory(1, "a grid").of_round
    return lambda number: RoundStore.of(tmp_path, "train", number, durable=False)


@pytest.fixture
def ready() -> MemberState:
    federation = make_federation(3)
    federation.begin()
    return federation.states[federation.sites[0]]


def unmasked(state: MemberState) -> MemberState:
    return dataclasses.replace(state, stage=Stage.UNMASKED, secrets=None)


def a_contribution() -> tuple[Words, NDArray[np.uint64]]:
    return np.arange(5, dtype=np.uint32), np.arange(LAYOUT.lane.length, dtype=np.uint64)


def kept_in(round_: KeptRound, state: MemberState) -> tuple[list[int], list[int]] | None:
    kept = round_.contribution(LAYOUT, state.binding)
    return None if kept is None else (kept[0].tolist(), kept[1].tolist())


def test_a_round_that_nobody_asked_for_has_nothing(rounds: Rounds, ready: MemberState) -> None:
    assert rounds(1).state() is None
    assert not rounds(1).is_over
    assert kept_in(rounds(1), ready) is None
    assert rounds(1).abandonments(1) == []
    rounds(1).forget_lower_rounds()
    assert rounds(1).state() is None


def test_a_higher_round_forgets_lower_ones_and_forbids_them(
    rounds: Rounds, ready: MemberState
) -> None:
    rounds(1).forget_lower_rounds()
    rounds(1).keep_contribution(LAYOUT, ready.binding, *a_contribution())
    rounds(1).keep_state(ready)
    rounds(3).forget_lower_rounds()
    rounds(3).forget_lower_rounds()
    assert rounds(1).state() is None
    assert kept_in(rounds(1), ready) is None
    for lower in (1, 2):
        with pytest.raises(AggregationRefusedError) as refusal:
            rounds(lower).forget_lower_rounds()
        assert refusal.value.code == "SECAGG_ROUND_OLD"


def test_a_round_that_is_asked_for_again_has_what_was_kept(
    rounds: Rounds, ready: MemberState
) -> None:
    rounds(1).forget_lower_rounds()
    rounds(1).keep_contribution(LAYOUT, ready.binding, *a_contribution())
    rounds(1).keep_state(ready)
    rounds(1).keep_abandonments(1, [b"b", b"a"])
    rounds(1).forget_lower_rounds()
    assert rounds(1).state() == ready
    assert rounds(1).abandonments(1) == [b"a", b"b"]
    words, lane = a_contribution()
    assert kept_in(rounds(1), ready) == (words.tolist(), lane.tolist())


def test_a_contribution_that_was_masked_in_place_is_given_again_as_it_was(
    rounds: Rounds, ready: MemberState
) -> None:
    """For the same request that came again, and for another attempt."""
    rounds(1).forget_lower_rounds()
    rounds(1).keep_contribution(LAYOUT, ready.binding, *a_contribution())
    for _ in range(2):
        kept = rounds(1).contribution(LAYOUT, ready.binding)
        assert kept is not None
        assert kept_in(rounds(1), ready) == tuple(part.tolist() for part in a_contribution())
        kept[0][:], kept[1][:] = 7, 7


@pytest.mark.parametrize("other", ["weights_sha256", "codec_sha256"])
def test_a_contribution_to_other_weights_or_in_another_layout_is_not_given(
    rounds: Rounds, ready: MemberState, other: str
) -> None:
    rounds(1).forget_lower_rounds()
    rounds(1).keep_contribution(LAYOUT, ready.binding, *a_contribution())
    changes: dict[str, Any] = {other: "0" * 64}
    binding = dataclasses.replace(ready.binding, **changes)
    assert rounds(1).contribution(LAYOUT, binding) is None


def test_after_unmasking_only_the_answers_are_left(rounds: Rounds, ready: MemberState) -> None:
    rounds(1).forget_lower_rounds()
    rounds(1).keep_contribution(LAYOUT, ready.binding, *a_contribution())
    rounds(1).keep_state(unmasked(ready))
    assert rounds(1).state() == unmasked(ready)
    assert kept_in(rounds(1), ready) is None


def test_a_round_that_was_given_up_has_its_contribution_for_the_next_attempt(
    rounds: Rounds, ready: MemberState
) -> None:
    rules = make_federation(3).rules[ready.site]
    rounds(1).forget_lower_rounds()
    rounds(1).keep_contribution(LAYOUT, ready.binding, *a_contribution())
    rounds(1).keep_state(machine.abandon(ready, rules)[0])
    assert kept_in(rounds(1), ready) is not None


def test_memory_that_was_closed_has_nothing_left_and_says_so(ready: MemberState) -> None:
    memory = RoundMemory(1, "a grid")
    memory.forget_lower_rounds()
    memory.keep_contribution(LAYOUT, ready.binding, *a_contribution())
    memory.keep_state(ready)
    memory.close()
    assert memory.is_over
    assert memory.state() is None
    assert kept_in(memory, ready) is None
    assert not memory.of_round(2).is_over
