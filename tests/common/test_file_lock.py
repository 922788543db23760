"""One lock at a time, for whoever waits and for whoever does not."""

import threading
from pathlib import Path

import pytest

from fedward_common.errors import LockedError
from fedward_common.file_lock import held_lock

HELD = LockedError("somebody works here", hint="wait")


def test_a_lock_that_is_held_is_refused_at_once_where_nobody_wants_to_wait(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with (
        held_lock(path),
        pytest.raises(LockedError, match="somebody"),
        held_lock(path, if_held=HELD),
    ):
        pass
    with held_lock(path, if_held=HELD):
        pass


def test_the_lock_is_free_after_an_error_in_its_block(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(ValueError, match="broken"), held_lock(path):
        raise ValueError("broken")
    with held_lock(path, if_held=HELD):
        pass


def test_whoever_waits_gets_the_lock_afterwards(tmp_path: Path) -> None:
    path, order = tmp_path / ".lock", []
    begun = threading.Event()

    def second() -> None:
        begun.set()
        with held_lock(path):
            order.append("second")

    work = threading.Thread(target=second)
    with held_lock(path):
        work.start()
        assert begun.wait(30)
        order.append("first")
    work.join(30)
    assert order == ["first", "second"]


def test_the_lock_file_is_its_owners_alone_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with held_lock(path):
        assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("a note")
    with held_lock(path):
        assert path.read_text() == "a note"
