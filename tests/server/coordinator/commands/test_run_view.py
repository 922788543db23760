"""A run as others see it while its journal is locked and grows."""

import json
import shutil
from pathlib import Path

import pytest
from tests.server.coordinator.commands.conftest import FINISHED, HALF

from fedward_common.errors import ConfigurationError, CorruptFileError, FedwardError
from fedward_server.coordinator.commands.run_view import (
    lines_in,
    name_of_run,
    names_of_runs,
    state_of,
    view_of,
    views_in,
)
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.flower_control import OrderedRun
from fedward_server.coordinator.run_journal import FileRunJournal
from fedward_server.coordinator.run_queue import take_place
from fedward_server.coordinator.run_stop import is_stopped, let_go_on, stop_run

QUEUED = OrderedRun(is_open=True, is_running=False, code="")
RUNNING = OrderedRun(is_open=True, is_running=True, code="")
FAILED = OrderedRun(is_open=False, is_running=False, code="QUORUM_NOT_REACHED")


def test_a_run_is_read_while_another_process_holds_its_journal(home: CoordinatorHome) -> None:
    journal = FileRunJournal(home.runs / HALF)
    try:
        view = view_of(home, HALF)
        assert view.entries == tuple(journal.entries())
        assert (view.history.round, view.job.job.rounds) == (2, 4)
        journal.append("run.stopped-early", round=2)
        assert view_of(home, HALF).history.stopped_early
    finally:
        journal.close()


def test_a_line_that_is_being_written_does_not_count_yet(home: CoordinatorHome) -> None:
    before = lines_in(home.runs / HALF)
    with (home.runs / HALF / "entries.jsonl").open("ab") as file:
        file.write(b'{"index": 9, "kind": "round.comm')
    assert lines_in(home.runs / HALF) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[0].replace(b"alder", b"older"), *lines[1:]],
        lambda lines: [b"[]", *lines],
        lambda lines: [b"\xff", *lines],
        lambda lines: [b"[" * 100_000, *lines],
    ],
)
def test_a_journal_that_was_changed_is_refused(home: CoordinatorHome, harm) -> None:  # type: ignore[no-untyped-def]
    file = home.runs / HALF / "entries.jsonl"
    file.write_bytes(b"\n".join([*harm(file.read_bytes().splitlines()), b""]))
    with pytest.raises(CorruptFileError, match="was changed"):
        view_of(home, HALF)
    damaged = views_in(home)
    assert isinstance(damaged[HALF], FedwardError)
    assert not isinstance(damaged[FINISHED], FedwardError)


def test_a_run_that_is_not_there_is_named_with_a_way_on(home: CoordinatorHome) -> None:
    for name in ("none", "../runs/half", ""):
        with pytest.raises(ConfigurationError) as refused:
            view_of(home, name)
        assert refused.value.hint


def test_what_is_no_run_is_not_listed(home: CoordinatorHome, tmp_path: Path) -> None:
    (home.runs / "empty").mkdir()
    (home.runs / ".hidden").mkdir()
    assert sorted(names_of_runs(home)) == [FINISHED, HALF]
    assert names_of_runs(CoordinatorHome(tmp_path / "nowhere")) == []


def test_where_a_run_stands_follows_from_journal_mark_and_order(home: CoordinatorHome) -> None:
    half = view_of(home, HALF)
    assert state_of(half, None).text == "waiting"
    assert state_of(half, {}).text == "waiting"
    assert state_of(half, {HALF: QUEUED}).text == "queued"
    assert state_of(half, {HALF: RUNNING}).text == "running"
    assert state_of(half, {HALF: FAILED}).text == "failed (QUORUM_NOT_REACHED)"
    assert state_of(view_of(home, FINISHED), {FINISHED: FAILED}).text == "finished"
    stop_run(half.folder, now_seconds=7.9)
    assert state_of(view_of(home, HALF), {HALF: RUNNING}).text == "stopped"


def test_a_run_that_is_queued_says_its_place_and_who_is_before_it(home: CoordinatorHome) -> None:
    for name in ("e", "d", "c", "b"):
        shutil.copytree(home.runs / HALF, home.runs / name)
    for name in ("e", "d", "c", "b"):
        take_place(home.runs, home.runs / name)
    ordered = dict.fromkeys("bcde", QUEUED) | {FINISHED: FAILED, HALF: RUNNING}

    def text_of(name: str) -> str:
        return state_of(view_of(home, name), ordered).text

    assert text_of(HALF) == "running"
    assert text_of("e") == "queued at place 1 after half"
    assert text_of("d") == "queued at place 2 after half, e"
    assert text_of("b") == "queued at place 4 after half, e, d and 1 more"
    stop_run(home.runs / "e", now_seconds=0)
    assert text_of("d") == "queued at place 1 after half"
    ordered[HALF] = FAILED
    assert text_of("d") == "queued"  # nobody is before it, so it is about to begin
    assert state_of(view_of(home, "d"), ordered).place == 1


def test_the_mark_of_a_stopped_run_goes_when_it_goes_on(tmp_path: Path) -> None:
    assert not is_stopped(tmp_path)
    let_go_on(tmp_path)
    stop_run(tmp_path, now_seconds=7.9)
    assert json.loads((tmp_path / "stopped.json").read_text()) == {"stopped_at_seconds": 7}
    assert is_stopped(tmp_path)
    let_go_on(tmp_path)
    assert not is_stopped(tmp_path)


def test_a_run_is_called_by_its_name_or_by_the_beginning_of_its_id(home: CoordinatorHome) -> None:
    run_id = view_of(home, FINISHED).manifest.run
    with pytest.raises(ConfigurationError, match=f"{FINISHED}.*{HALF}|{HALF}.*{FINISHED}"):
        name_of_run(home, run_id)
    shutil.rmtree(home.runs / HALF)
    assert {name_of_run(home, called) for called in (FINISHED, run_id, run_id[:4])} == {FINISHED}
    for called in (run_id[:3], run_id + "0", "../" + run_id, "none", ""):
        assert name_of_run(home, called) == called
    (home.runs / FINISHED).rename(home.runs / run_id[:4])
    assert name_of_run(home, run_id[:4]) == run_id[:4]


def test_a_run_that_cannot_be_read_is_called_by_its_name(home: CoordinatorHome) -> None:
    (home.runs / HALF / "entries.jsonl").write_text("{}\n")
    assert name_of_run(home, view_of(home, FINISHED).manifest.run) == FINISHED
    assert name_of_run(home, HALF) == HALF
