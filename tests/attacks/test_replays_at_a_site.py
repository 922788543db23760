"""What was said to a site is said to it again (F28): it answers alike or refuses, stays as it is,
and writes it down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.refused_requests import (
    entries_of,
    require_written_down,
    state_of,
    trained,
    weights_of,
)
from tests.client.daemon.asked_site import Answered
from tests.client.jobs.asking_coordinator import PRIVATE, Asking, asking
from tests.told_results import a_result

from fedward_client.daemon.audit import audit_lines
from fedward_client.daemon.site_state import forget_open_sites, open_site
from fedward_client.jobs.decisions import approve, pause
from fedward_common.wire import messages


def told(one: Asking) -> Answered:
    return one.coordinator.ask("query.result", a_result(), subject=one.coordinator.subject(4))


def evaluated(one: Asking, split: Any) -> Answered:
    flower_type = "evaluate.final" if split == "test" else "evaluate.validation"
    message, number = messages.EvaluateWeights(split), 4 if split == "test" else 1
    subject = one.coordinator.subject(number)
    return one.coordinator.ask(flower_type, message, weights_of(one), subject=subject)


Asks = Callable[[Asking], Answered]
KINDS: dict[str, tuple[Asks, tuple[str, int, str, str]]] = {
    "manifest": (lambda it: it.coordinator.propose(), ("manifest.query", 0, "", "accept")),
    "round": (trained(number=1), ("train.round", 1, "train", "ready")),
    "validation": (
        lambda it: evaluated(it, "validation"),
        ("evaluate.weights", 1, "validation", "ready"),
    ),
    "test": (lambda it: evaluated(it, "test"), ("evaluate.weights", 4, "test", "ready")),
    "result": (told, ("run.result", 4, "", "")),
}


@pytest.fixture
def willing(tmp_path: Path) -> Asking:
    """A real site that takes what its policy allows, and was asked nothing yet."""
    return asking(tmp_path, *PRIVATE, jobs='approval = "within-policy"')


def codes_of(one: Asking) -> list[str]:
    return [entry["code"] for entry in entries_of(one.home.folder) if "code" in entry]


def require_same(again: Answered, first: Answered, kind: str) -> None:
    assert not isinstance(again.message, messages.Refusal | None), kind
    assert again.message == first.message, kind
    assert again.arrays.keys() == first.arrays.keys(), kind
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array, err_msg=kind)


def kept(one: Asking) -> dict[str, str]:
    """Every file of the home but the site's own diary of its work."""
    state = state_of(one.home.folder)
    return {name: sha for name, sha in state.items() if not name.endswith("activity.jsonl")}


def test_a_message_that_is_sent_again_gets_the_same_answer_and_changes_nothing(
    willing: Asking,
) -> None:
    """A coordinator that was killed asks again in the same words, so that is no refusal."""
    for kind, (ask, place) in KINDS.items():
        first = ask(willing)
        before, entries = kept(willing), entries_of(willing.home.folder)
        require_same(ask(willing), first, kind)
        (entry,) = entries_of(willing.home.folder)[len(entries) :]
        assert entry["code"] == "REPLAY", kind
        assert entry["run"] == willing.run, kind
        assert tuple(entry[name] for name in ("kind", "round", "purpose", "step")) == place
        assert kept(willing) == before, kind


def test_what_comes_ten_times_is_one_line_and_a_count(willing: Asking) -> None:
    for ask, _ in KINDS.values():
        for _ in range(11):
            ask(willing)
    assert codes_of(willing) == ["REPLAY"] * len(KINDS)
    _, counted = audit_lines(willing.home)
    assert [line["times"] for line in counted] == [9] * len(KINDS)


def test_a_site_that_was_started_anew_knows_what_it_answered_before(willing: Asking) -> None:
    for kind, (ask, _) in KINDS.items():
        first = ask(willing)
        forget_open_sites()
        require_same(ask(willing), first, kind)
    assert codes_of(willing) == ["REPLAY"] * len(KINDS)


def test_another_question_is_no_repetition_and_is_refused_as_ever(willing: Asking) -> None:
    assert willing.propose() == willing.train(1) == ""
    other = trained(number=1, weights=lambda w: w + 1)
    for _ in range(2):
        assert willing.code(other(willing)) == "ROUND_ALREADY_BEGUN"
    assert codes_of(willing) == ["ROUND_ALREADY_BEGUN"]


def test_a_job_that_waits_for_a_person_is_asked_for_again_until_it_was_answered(
    tmp_path: Path,
) -> None:
    one = asking(tmp_path)
    for _ in range(5):
        assert one.propose() == "WAITING_FOR_APPROVAL"
    approve(one.home, one.run, None, by="ann", now=1.0)
    assert one.propose() == ""
    assert set(codes_of(one)) == {"WAITING_FOR_APPROVAL"}
    assert one.propose() == ""
    assert codes_of(one)[-1] == "REPLAY"


def test_what_was_answered_and_is_refused_now_has_a_line_of_both(willing: Asking) -> None:
    assert willing.propose() == willing.train(1) == willing.train(2) == ""
    before = kept(willing)
    assert willing.code(trained(number=1)(willing)) == "ROUND_ALREADY_BEGUN"
    assert codes_of(willing) == ["REPLAY", "ROUND_ALREADY_BEGUN"]
    assert kept(willing) == before
    pause(willing.home, by="ann", now=1.0)
    for _ in range(3):
        assert willing.propose() == "SITE_PAUSED"
    assert codes_of(willing)[2:] == ["REPLAY", "SITE_PAUSED"]


def test_a_round_of_before_is_not_trained_a_second_time_and_that_is_written_down(
    willing: Asking,
) -> None:
    assert willing.propose() == willing.train(1) == willing.train(2) == ""
    require_written_down(willing, trained(number=1), "ROUND_ALREADY_BEGUN", again=True)


def test_a_simulated_site_keeps_no_such_record(tmp_path: Path) -> None:
    one = asking(tmp_path, jobs='approval = "within-policy"', simulated=True)
    assert open_site(one.home.folder).is_simulated
    for _ in range(2):
        assert one.propose() == one.train(1) == ""
    assert not (one.home.folder / "audit.jsonl").exists()
    assert not (one.home.run_folder(one.run) / "answered").exists()
