"""A run's state is what its journal says, and going back a round forgets what came after."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from fedward_common.errors import LockedError
from fedward_server.coordinator.run_journal import (
    HOLD_OUT_REJECTED,
    FileRunJournal,
    RunHistory,
    apply_entry,
    packed,
    replay,
    unpacked,
)

Entry = dict[str, Any]


def committed(number: int, *, evaluated: bool = True, best: bool = False) -> Entry:
    """A round's entry; it carries the evaluation of the weights it began with."""
    entry: Entry = {
        "kind": "round.committed",
        "round": number,
        "participants": ["alder", "birch"],
        "failures": [{"round": number, "attempt": 1, "site": "cedar", "code": "LATE"}],
        "file": f"checkpoint-{number}",
        "sha256": f"hash-{number}",
        "seconds": float(number),
    }
    if evaluated and number > 1:
        entry["evaluation"] = {"round": number - 1, "figures": {}, "sites": ["alder"]}
    if best:
        entry["best"] = {"round": number - 1, "file": f"best-{number - 1}"}
    return entry


ACCEPTED: Entry = {"kind": "run.accepted", "accepted": {"alder": {"trains": True}}, "failures": []}


def rounds(count: int) -> list[Entry]:
    return [ACCEPTED, *(committed(n, best=n % 2 == 0) for n in range(1, count + 1))]


def test_replay_tells_rounds_failures_evaluations_and_bests() -> None:
    history = replay(rounds(4))
    assert history.accepted == ACCEPTED["accepted"]
    assert history.round == 4
    assert [name for _, name, _ in history.checkpoints] == [f"checkpoint-{n}" for n in range(1, 5)]
    assert [e["round"] for e in history.evaluations] == [1, 2, 3]
    assert [b["round"] for b in history.bests] == [1, 3]
    assert history.seconds == 4.0
    assert not history.finished


def test_an_abandoned_attempt_is_a_failure_and_no_round() -> None:
    failure = {"round": 1, "attempt": 1, "site": "birch", "code": "LATE"}
    entry = {"kind": "round.abandoned", "round": 1, "attempt": 1, "failures": [failure]}
    history = replay([ACCEPTED, entry])
    assert history.round == 0
    assert history.failures == [failure]


@given(count=st.integers(1, 8), back_to=st.integers(0, 8))
def test_after_going_back_the_same_rounds_give_the_same_history(count: int, back_to: int) -> None:
    back_to = min(back_to, count)
    straight = rounds(count)
    detour = [*straight, {"kind": "run.rewound", "round": back_to}, *straight[back_to + 1 :]]
    assert replay(detour) == replay(straight)


def test_going_back_forgets_the_end_of_the_run() -> None:
    end: list[Entry] = [
        {"kind": "run.stopped-early", "round": 3},
        {"kind": "evaluation.final", "final": {"sites": []}, "failures": []},
        {"kind": "run.finished", "seconds": 9.0},
    ]
    finished = replay([*rounds(3), *end])
    assert finished.finished
    assert finished.stopped_early
    assert finished.final == {"sites": []}
    back = replay([*rounds(3), *end, {"kind": "run.rewound", "round": 2}])
    assert (back.finished, back.stopped_early, back.final) == (False, False, None)
    assert back.round == 2


def test_entry_by_entry_is_the_same_as_all_at_once() -> None:
    history = RunHistory()
    for entry in rounds(5):
        apply_entry(history, entry)
    assert history == replay(rounds(5))


@given(arrays.arrays(np.int64, st.integers(0, 200), elements=st.integers(-(2**63), 2**63 - 1)))
def test_sums_survive_being_written_as_text(sums: NDArray[np.int64]) -> None:
    np.testing.assert_array_equal(unpacked(packed(sums)), sums)


def _append_all(folder: Path, entries: Iterable[Entry]) -> None:
    journal = FileRunJournal(folder)
    try:
        for entry in entries:
            fields = {name: value for name, value in entry.items() if name != "kind"}
            journal.append(entry["kind"], **fields)
    finally:
        journal.close()


def test_a_journal_on_disk_gives_back_what_was_appended_over_several_openings(
    tmp_path: Path,
) -> None:
    entries = rounds(3)
    _append_all(tmp_path, entries[:2])
    _append_all(tmp_path, entries[2:])
    journal = FileRunJournal(tmp_path)
    try:
        assert replay(journal.entries()) == replay(entries)
    finally:
        journal.close()


def test_a_second_process_is_told_that_the_folder_is_in_use(tmp_path: Path) -> None:
    journal = FileRunJournal(tmp_path)
    try:
        with pytest.raises(LockedError, match="in use by another process"):
            FileRunJournal(tmp_path)
    finally:
        journal.close()
    FileRunJournal(tmp_path).close()


# -- rounds whose contributions came masked --------------------------------------------------------


def masked(number: int, clipped: int) -> Entry:
    aggregation = {"sites_ready": 5, "threshold": 4, "values_clipped": clipped, "wrong_shares": 0}
    return committed(number) | {"aggregation": aggregation}


def test_a_round_that_was_left_out_has_no_participants_and_no_checkpoint() -> None:
    dropped = {"kind": "round.dropped", "round": 2, "attempt": 1, "failures": []}
    history = replay([ACCEPTED, masked(1, 3), dropped, masked(3, 4)])
    assert history.participants == [["alder", "birch"], [], ["alder", "birch"]]
    assert [number for number, _, _ in history.checkpoints] == [1, 3]
    assert history.round == 3
    assert history.values_clipped == 7
    assert history.aggregation == masked(3, 4)["aggregation"]


def test_an_evaluation_that_was_lost_begins_again_under_another_number() -> None:
    abandoned = {"kind": "evaluation.abandoned", "split": "test", "number": 0, "failures": []}
    lost = {"kind": "evaluation.lost", "split": "test"}
    history = replay([ACCEPTED, abandoned, abandoned | {"number": 1}])
    assert history.evaluation_attempts == {"test": 1}
    apply_entry(history, lost)
    assert (history.evaluation_attempts, history.evaluations_lost) == ({}, {"test": 1})


def test_a_round_that_the_hold_out_set_rejected_is_a_round_without_sites_or_checkpoint() -> None:
    first, second, third = rounds(3)[1:]
    rejected: Entry = {
        "kind": "round.dropped", "round": 2, "attempt": 1, "code": HOLD_OUT_REJECTED,
        "evaluation": second.get("evaluation"), "failures": [],
    }  # fmt: skip
    history = replay([ACCEPTED, first, rejected, third])
    assert history.round == 3
    assert history.rejected == [2]
    assert history.participants[1] == []
    assert [number for number, _, _ in history.checkpoints] == [1, 3]
    lost = {"kind": "round.dropped", "round": 2, "attempt": 1, "failures": []}
    assert replay([ACCEPTED, first, lost, third]).rejected == []


@pytest.mark.parametrize(("back_to", "rejected"), [(1, []), (3, [2])])
def test_going_back_forgets_rejected_rounds_and_checkpoints_after_it_alone(
    back_to: int, rejected: list[int]
) -> None:
    first, _, third, fourth = rounds(4)[1:]
    two = {"kind": "round.dropped", "round": 2, "attempt": 1, "code": HOLD_OUT_REJECTED}
    back = {"kind": "run.rewound", "round": back_to}
    history = replay([ACCEPTED, first, two, third, fourth, back])
    assert (history.round, history.rejected) == (back_to, rejected)
    assert [number for number, _, _ in history.checkpoints] == ([1] if back_to == 1 else [1, 3])
