"""A run that was killed anywhere and goes on gives what the undisturbed run gives (F1, F2, F40)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from tests.masked_federation import FIVE_SITES, MASKED, Passing, WatchedGrid, five_sites
from tests.tiny_federation import (
    NotesObserver,
    TinyFederation,
    entries_of,
    essence,
    history_of,
)

from fedward_common.errors import CorruptFileError
from fedward_server.coordinator.run_journal import FileRunJournal, JournalHead


class Killed(BaseException):
    """Stands for kill -9: no handler of the code under test catches it."""


class KillingJournal:
    """A journal of real files whose process dies just before or just after an entry.

    Args:
        folder: Of the run.
        entry: Number of the entry, counted from the run's first.
        before: Die before it is written, after whatever precedes it.
    """

    def __init__(self, folder: Path, entry: int, *, before: bool) -> None:
        self._journal = FileRunJournal(folder)
        self._left = entry - len(list(self._journal.entries()))
        self._before = before

    def append(self, kind: str, **fields: Any) -> None:
        self._left -= 1
        if self._left == 0 and self._before:
            raise Killed
        self._journal.append(kind, **fields)
        if self._left == 0:
            raise Killed

    def entries(self) -> Iterator[dict[str, Any]]:
        return self._journal.entries()

    def head(self) -> JournalHead:
        return self._journal.head()

    def close(self) -> None:
        self._journal.close()


JOBS = {
    "to the last round": ("job.rounds=3",),
    "stopped early": (
        "job.rounds=8", "evaluation.every=1", "evaluation.early_stopping_evaluations=2",
        "strategy.learning_rate=100",
    ),
}  # fmt: skip


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("settings", JOBS.values(), ids=JOBS)
def test_a_run_killed_at_any_journal_entry_ends_as_the_undisturbed_run(
    tiny: TinyFederation, tmp_path: Path, settings: tuple[str, ...], before: bool
) -> None:
    federation = tiny.with_job(*settings)
    federation.run(tmp_path / "undisturbed")
    wanted = essence(tmp_path / "undisturbed")
    num_entries = len(entries_of(tmp_path / "undisturbed"))
    assert num_entries > 5
    for entry in range(1, num_entries + 1):
        folder = tmp_path / f"killed-{entry}"
        federation.set_up(folder)
        with pytest.raises(Killed):
            federation.run(folder, journal=KillingJournal(folder, entry, before=before))
        federation.run(folder)
        assert essence(folder) == wanted, f"killed at entry {entry}"


def test_a_run_killed_again_and_again_ends_as_the_undisturbed_run(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    tiny.run(tmp_path / "undisturbed")
    num_entries = len(entries_of(tmp_path / "undisturbed"))
    folder = tmp_path / "killed"
    tiny.set_up(folder)
    for entry in range(1, num_entries + 1):
        with pytest.raises(Killed):
            tiny.run(folder, journal=KillingJournal(folder, entry, before=False))
    tiny.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")


def test_the_run_that_is_to_stop_early_does(tiny: TinyFederation, run_folder: Path) -> None:
    history = tiny.with_job(*JOBS["stopped early"]).run(run_folder)
    assert history.stopped_early
    assert history.round < 8


def test_going_on_with_a_finished_run_changes_nothing(
    tiny: TinyFederation, run_folder: Path
) -> None:
    tiny.run(run_folder)
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}
    tiny.run(run_folder)
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before


def test_a_line_that_a_crash_cut_short_is_written_again(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    tiny.run(tmp_path / "undisturbed")
    folder = tmp_path / "cut"
    tiny.set_up(folder)
    with pytest.raises(Killed):
        tiny.run(folder, journal=KillingJournal(folder, 3, before=False))
    journal = folder / "entries.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    tiny.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")


def test_a_journal_line_that_was_edited_is_refused(tiny: TinyFederation, run_folder: Path) -> None:
    tiny.run(run_folder)
    journal = run_folder / "entries.jsonl"
    text = journal.read_text()
    journal.write_text(text.replace('"participants":["alder",', '"participants":["elder",', 1))
    assert journal.read_text() != text
    with pytest.raises(CorruptFileError, match="line 2 was changed"):
        tiny.run(run_folder)


# -- a bit flip in a checkpoint (F34) --------------------------------------------------------------


def _killed_after_round_3(tiny: TinyFederation, folder: Path) -> list[Path]:
    """Give the two checkpoints, oldest first, of a run that stopped after round 3."""
    tiny.set_up(folder)
    with pytest.raises(Killed):
        tiny.run(folder, journal=KillingJournal(folder, 4, before=False))
    assert history_of(folder).round == 3
    return sorted(folder.glob("checkpoint-*.safetensors"))[-2:]


def _flip_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << (at % 8)
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0, 9, 300, 20_000, -1])
def test_a_bit_flip_in_the_newest_checkpoint_costs_a_round_and_no_accuracy(
    tiny: TinyFederation, tmp_path: Path, at: int
) -> None:
    tiny.run(tmp_path / "undisturbed")
    folder = tmp_path / "flipped"
    _, newest = _killed_after_round_3(tiny, folder)
    written = history_of(folder).checkpoints[-1][2]
    _flip_bit(newest, at)
    observer = NotesObserver()
    tiny.run(folder, observer=observer)
    (note,) = observer.notes
    assert newest.name in note
    assert written[:16] in note
    assert note.count("...") == 2  # both hashes
    assert [e["round"] for e in entries_of(folder) if e["kind"] == "run.rewound"] == [2]
    assert essence(folder) == essence(tmp_path / "undisturbed")


def test_a_bit_flip_in_both_checkpoints_ends_the_run_with_both_named(
    tiny: TinyFederation, run_folder: Path
) -> None:
    checkpoints = _killed_after_round_3(tiny, run_folder)
    for checkpoint in checkpoints:
        _flip_bit(checkpoint, 4321)
    with pytest.raises(CorruptFileError) as caught:
        tiny.run(run_folder)
    assert all(path.name in str(caught.value) for path in checkpoints)
    assert caught.value.hint


def test_a_run_that_went_back_a_round_and_is_killed_there_still_ends_the_same(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    tiny.run(tmp_path / "undisturbed")
    folder = tmp_path / "flipped"
    _, newest = _killed_after_round_3(tiny, folder)
    _flip_bit(newest, 777)
    with pytest.raises(Killed):
        tiny.run(folder, journal=KillingJournal(folder, 5, before=False))
    assert entries_of(folder)[-1]["kind"] == "run.rewound"
    tiny.run(folder)
    assert essence(folder) == essence(tmp_path / "undisturbed")


def test_a_bit_flip_in_the_best_weights_falls_back_to_others_and_says_so(
    tiny: TinyFederation, tmp_path: Path
) -> None:
    folder = tmp_path / "flipped"
    tiny.set_up(folder)
    num_entries = 6  # the last is that of the last round's validation: nothing was tested yet
    with pytest.raises(Killed):
        tiny.run(folder, journal=KillingJournal(folder, num_entries, before=False))
    best = history_of(folder).bests[-1]
    _flip_bit(folder / best["file"], 5000)
    observer = NotesObserver()
    history = tiny.run(folder, observer=observer)
    assert any(best["file"] in note for note in observer.notes)
    assert history.final is not None
    assert history.final["selected"]["round"] != best["round"] or best["round"] == 4


def test_initial_weights_that_changed_on_disk_are_refused(
    tiny: TinyFederation, run_folder: Path
) -> None:
    tiny.set_up(run_folder)
    _flip_bit(run_folder / "initial.safetensors", 1234)
    with pytest.raises(CorruptFileError, match="initial"):
        tiny.run(run_folder)


class AwayGrid(WatchedGrid):
    """The first site's node is away until a round has begun without it."""

    poll_seconds = 0.5

    def __init__(self, federation: TinyFederation, back_in_round: int) -> None:
        super().__init__(federation, before=self._see)
        self._back_in_round = back_in_round
        self._is_away = True

    def _see(self, passing: Passing, message: Message) -> None:
        if (passing.kind, passing.round) == ("train.round", self._back_in_round):
            self._is_away = False

    def get_node_ids(self) -> list[int]:
        _, *others = nodes = super().get_node_ids()
        return others if self._is_away else nodes


@pytest.mark.parametrize("settings", [(), (MASKED,)], ids=["open", "masked"])
def test_a_site_that_was_away_when_a_run_went_on_is_in_the_rounds_after_it_came_back(
    tmp_path: Path, settings: tuple[str, ...]
) -> None:
    federation = five_sites(tmp_path / "five").with_job(
        "job.rounds=5", "quorum.acceptance_seconds=0", *settings
    )
    folder = tmp_path / "run"
    federation.set_up(folder)
    with pytest.raises(Killed):
        federation.run(folder, journal=KillingJournal(folder, 3, before=True))
    accepted = history_of(folder).accepted
    history = federation.run(folder, grid=AwayGrid(federation, back_in_round=3))
    all_five, four = list(FIVE_SITES), list(FIVE_SITES[1:])
    second = all_five if settings else four  # masked, its sum was there before the kill
    assert history.participants == [all_five, second, four, all_five, all_five]
    assert history.accepted == accepted
    assert history.finished
