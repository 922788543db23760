"""What the site's processes do now, as files of the home say it."""

import inspect
import stat
from pathlib import Path

import pytest
from flwr.supernode import start_client_internal
from tests.tiny_federation import FakeClock

from fedward_client.daemon.present_work import (
    AskedNote,
    Work,
    asked_at,
    at_work,
    forget_present_work,
    present_work,
)
from fedward_client.daemon.supernode import note_answers
from fedward_client.site_home import SiteHome


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    (tmp_path / "run").mkdir()
    return SiteHome(tmp_path)


def test_training_is_said_for_as_long_as_it_takes(home: SiteHome) -> None:
    with at_work(home.folder / "run", "train.round", 5.0):
        assert present_work(home) == Work("training", 5.0)
    assert present_work(home) is None


def test_an_evaluation_is_one_also_where_it_fails(home: SiteHome) -> None:
    with pytest.raises(ValueError, match="x"), at_work(home.folder / "run", "evaluate.final", 5.0):
        assert present_work(home) == Work("evaluating", 5.0)
        raise ValueError("x")
    assert present_work(home) is None


@pytest.mark.parametrize("kind", ["query.manifest", "query.mask", "train.other", "NEEDLE", ""])
def test_of_everything_else_nothing_is_said(home: SiteHome, kind: str) -> None:
    with at_work(home.folder / "run", kind, 5.0):
        assert present_work(home) is None


def test_where_the_folder_is_missing_the_work_is_done_all_the_same(tmp_path: Path) -> None:
    with at_work(tmp_path / "gone", "train.round", 5.0):
        assert present_work(SiteHome(tmp_path)) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"what": "training"}'])
def test_a_note_that_cannot_be_read_says_nothing(home: SiteHome, content: str) -> None:
    (home.folder / "run" / "at-work").write_text(content)
    assert present_work(home) is None


def test_what_an_earlier_daemon_left_is_forgotten(home: SiteHome) -> None:
    AskedNote(home.folder / "run")()
    (home.folder / "run" / "at-work").write_text('{"what": "training", "since_utc_seconds": 1}')
    assert present_work(home) is not None
    forget_present_work(home)
    forget_present_work(home)
    assert (asked_at(home), present_work(home)) == (None, None)


def test_an_answer_is_noted_at_most_once_a_second(home: SiteHome) -> None:
    clock = FakeClock()
    note = AskedNote(home.folder / "run", clock.now_seconds)
    note()
    file = home.folder / "run" / "node-asked"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    clock.sleep(0.9)
    note()
    assert not file.exists()
    clock.sleep(0.2)
    note()
    assert file.exists()


def test_a_note_that_cannot_be_written_keeps_the_node_from_nothing(tmp_path: Path) -> None:
    AskedNote(tmp_path / "gone")()


def test_flowers_loop_asks_by_the_function_that_is_watched() -> None:
    loop = inspect.getsource(start_client_internal.start_client_internal)
    assert loop.count("_pull_and_store_message(") == 1
    assert "receive=receive" in loop
    asking = inspect.signature(start_client_internal._pull_and_store_message)
    assert "receive" in asking.parameters
    assert inspect.getsource(start_client_internal).count("receive()") == 1


def test_the_node_notes_every_answer_and_no_question_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: list[str] = []
    came: list[object] = []

    def pull(*, receive: object, state: object) -> int | None:
        del state
        came.append(receive())  # type: ignore[operator]
        return 7

    inside = vars(start_client_internal)
    monkeypatch.setitem(inside, "_pull_and_store_message", pull)
    note_answers(lambda: noted.append("answered"))
    ask = inside["_pull_and_store_message"]
    assert ask(receive=lambda: None, state=1) == 7
    assert (noted, came) == (["answered"], [None])

    def unreachable() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        ask(receive=unreachable, state=1)
    assert noted == ["answered"]
