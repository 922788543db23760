"""Places in the queue outlive the process, and Flower's database with it."""

import os
from pathlib import Path

import pytest

from fedward_common.errors import DiskFullError
from fedward_server.coordinator.run_queue import in_order, queue_place_of, take_place


def laid_down(runs: Path, name: str) -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "manifest.cbor").write_bytes(b"")
    take_place(runs, folder)
    return folder


def test_runs_come_in_the_order_in_which_they_took_their_places(tmp_path: Path) -> None:
    c, a, b = (laid_down(tmp_path, name) for name in "cab")
    assert [queue_place_of(folder) for folder in (c, a, b)] == [1, 2, 3]
    assert in_order(tmp_path.iterdir()) == [c, a, b]


def test_who_takes_a_place_again_comes_behind_all_others(tmp_path: Path) -> None:
    c, a, b = (laid_down(tmp_path, name) for name in "cab")
    take_place(tmp_path, a)
    assert in_order(tmp_path.iterdir()) == [c, b, a]


def test_a_run_that_is_still_being_laid_down_takes_its_place_elsewhere(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first = laid_down(runs, "first")
    new = tmp_path / ".new-run"
    new.mkdir()
    take_place(runs, new)
    assert (queue_place_of(first), queue_place_of(new)) == (1, 2)


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"place": "x"}', b"\xff"])
def test_a_run_without_a_place_that_can_be_read_comes_first(
    tmp_path: Path, content: bytes | None
) -> None:
    queued, old = laid_down(tmp_path, "a"), laid_down(tmp_path, "b")
    (old / "place.json").unlink()
    if content is not None:
        (old / "place.json").write_bytes(content)
    assert in_order(tmp_path.iterdir()) == [old, queued]


def test_two_runs_of_one_place_come_as_they_were_laid_down(tmp_path: Path) -> None:
    second, first = laid_down(tmp_path, "a"), laid_down(tmp_path, "b")
    for folder, content in ((second, b'{"place": 4}'), (first, b'{"place": 4}')):
        (folder / "place.json").write_bytes(content)
    os.utime(second / "manifest.cbor", (20, 20))
    os.utime(first / "manifest.cbor", (10, 10))
    assert in_order([second, first]) == [first, second]


def test_a_full_disk_leaves_the_place_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = laid_down(tmp_path, "a"), laid_down(tmp_path, "b")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFullError):
        take_place(tmp_path, first)
    assert in_order([second, first]) == [first, second]
