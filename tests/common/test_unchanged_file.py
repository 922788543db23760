"""A file is read once as long as it is the same."""

import os
from pathlib import Path

import pytest

from fedward_common.unchanged_file import read_once


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    read: list[str] = []

    def reading(path: Path) -> str:
        read.append(path.read_text())
        return read[-1]

    path, current = tmp_path / "file", read_once(reading)
    path.write_text("one")
    assert [current(path), current(path)] == ["one", "one"]
    path.write_text("other")
    assert current(path) == "other"
    os.utime(path, ns=(1, 1))
    assert current(path) == "other"
    assert read == ["one", "other", "other"]


def test_a_file_that_is_gone_is_not_remembered(tmp_path: Path) -> None:
    path, current = tmp_path / "file", read_once(Path.read_text)
    path.write_text("one")
    current(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        current(path)
