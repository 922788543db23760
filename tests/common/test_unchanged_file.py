"""A file is read once as long as it is the same."""

import os
from pathlib import Path

import pytest

from fedward_common.unchanged_file import read_once

SECOND_NS = 1_000_000_000


class Reader:
    """Reads text and remembers how often."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, path: Path) -> str:
        self.read.append(path.read_text())
        return self.read[-1]


def of_long_ago(path: Path) -> int:
    """A moment at which `path` has not changed for an hour."""
    return path.stat().st_ctime_ns + 3600 * SECOND_NS


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    path, reading = tmp_path / "file", Reader()
    current = read_once(reading, now_ns=lambda: of_long_ago(path))
    path.write_text("one")
    assert [current(path), current(path)] == ["one", "one"]
    path.write_text("other")
    assert current(path) == "other"
    os.utime(path, ns=(1, 1))
    assert current(path) == "other"
    assert reading.read == ["one", "other", "other"]


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    # A second change within one tick of the file system's clock leaves all its times as they are.
    path, reading = tmp_path / "file", Reader()
    path.write_text("one")
    changed_ns = path.stat().st_ctime_ns
    current = read_once(reading, now_ns=lambda: changed_ns + SECOND_NS)
    assert [current(path), current(path)] == ["one", "one"]
    assert len(reading.read) == 2


def test_a_change_within_a_tick_is_seen_though_size_and_times_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    state = path.stat()
    current = read_once(Path.read_text, now_ns=lambda: state.st_ctime_ns)
    monkeypatch.setattr(Path, "stat", lambda _: state)  # what a coarse clock shows
    assert current(path) == "one"
    path.write_text("two")
    assert current(path) == "two"


def test_a_folder_is_looked_through_again_when_a_name_in_it_is_new(tmp_path: Path) -> None:
    def names(folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    current = read_once(names, now_ns=lambda: of_long_ago(tmp_path))
    assert current(tmp_path) == []
    (tmp_path / "new").touch()
    assert current(tmp_path) == ["new"]


def test_a_file_that_is_gone_is_not_remembered(tmp_path: Path) -> None:
    path, current = tmp_path / "file", read_once(Path.read_text)
    path.write_text("one")
    current(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        current(path)
