"""What was said to a site is said to it again (F28): it answers alike, or refuses, and stays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tests.attacks.refused_requests import (
    entries_of,
    require_written_down,
    state_of,
    trained,
    weights_of,
)
from tests.client.daemon.asked_site import Answered
from tests.client.jobs.asking_coordinator import PRIVATE, asking

from fedward_common.wire import messages


def test_a_message_that_is_sent_again_gets_the_same_answer_and_changes_nothing(
    tmp_path: Path,
) -> None:
    """A coordinator that was killed asks again in the same words, so that is no refusal."""
    one = asking(tmp_path, *PRIVATE, jobs='approval = "within-policy"')
    final = messages.EvaluateWeights("test")
    kinds: dict[str, Callable[[], Answered]] = {
        "manifest.query": one.coordinator.propose,
        "train.round": lambda: one.coordinator.train(subject=one.coordinator.subject(1)),
        "evaluate.weights": lambda: one.coordinator.ask("evaluate.final", final, weights_of(one)),
    }
    for kind, ask in kinds.items():
        first = ask()
        before, entries = state_of(one.home.folder), entries_of(one.home.folder)
        again = ask()
        assert again.message == first.message, kind
        assert not isinstance(again.message, messages.Refusal), kind
        for name, array in first.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], array)
        assert entries_of(one.home.folder) == entries, kind
        after = state_of(one.home.folder)
        assert {k: v for k, v in after.items() if not k.endswith("activity.jsonl")} == {
            k: v for k, v in before.items() if not k.endswith("activity.jsonl")
        }, kind


def test_a_round_of_before_is_not_trained_a_second_time_and_that_is_written_down(
    tmp_path: Path,
) -> None:
    one = asking(tmp_path, *PRIVATE, jobs='approval = "within-policy"')
    assert one.propose() == one.train(1) == one.train(2) == ""
    require_written_down(one, trained(number=1), "ROUND_ALREADY_BEGUN")
