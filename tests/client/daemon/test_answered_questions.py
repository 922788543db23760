"""What a site remembers of the messages that it answered: their hashes, and not for ever."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.simulation.test_full_disk import full_from

from fedward_client.daemon import answered_questions
from fedward_client.daemon.answered_questions import note_answered, was_answered
from fedward_client.site_home import SiteHome
from fedward_common.errors import DiskFullError

RUN = "0123456789abcdef"


def hash_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    made = SiteHome(tmp_path)
    made.run_folder(RUN).mkdir(parents=True)
    return made


def known(home: SiteHome, num_asked: int) -> list[int]:
    return [number for number in range(num_asked) if was_answered(home, RUN, hash_of(number))]


def test_what_was_answered_is_known_and_nothing_else(home: SiteHome) -> None:
    assert known(home, 4) == []
    for number in (0, 2):
        note_answered(home, RUN, hash_of(number))
    assert known(home, 4) == [0, 2]
    assert not was_answered(home, "another", hash_of(0))
    file = home.run_folder(RUN) / "answered"
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("run", ["", "../runs", "a/b", "\0", "a" * 5000, "ß", "\ud800"])
def test_of_a_run_that_is_none_nothing_is_known(home: SiteHome, run: str) -> None:
    assert not was_answered(home, run, hash_of(0))


def test_a_run_takes_so_much_room_and_the_oldest_are_forgotten(
    home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answered_questions, "MAX_IN_A_FILE", 8)
    for number in range(100):
        note_answered(home, RUN, hash_of(number))
        first = max(0, number + 1 - 8)
        assert set(range(first, number + 1)) <= set(known(home, number + 1))
    files = list(home.run_folder(RUN).glob("answered*"))
    assert len(files) <= 2
    assert sum(file.stat().st_size for file in files) <= 2 * 8 * 32


def test_several_at_once_that_begin_a_file_anew_forget_nothing_new(
    home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answered_questions, "MAX_IN_A_FILE", 16)
    with ThreadPoolExecutor(4) as several:
        list(several.map(lambda number: note_answered(home, RUN, hash_of(number)), range(100)))
    assert set(range(88, 100)) <= set(known(home, 100))  # four are written at once


def test_a_hash_that_a_full_disk_cut_short_spoils_no_other(
    home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_answered(home, RUN, hash_of(0))
    with full_from(monkeypatch, 1), pytest.raises(DiskFullError):
        note_answered(home, RUN, hash_of(1))
    note_answered(home, RUN, hash_of(2))
    assert known(home, 4) == [0, 2]
