import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedward_client.cohorts.index import folder_walk
from fedward_client.cohorts.index.folder_walk import FoundFile, FoundProblem, walk_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "top"
    made.mkdir()
    return made.resolve()


def fill(folder: Path, *locators: str) -> None:
    for locator in locators:
        path = folder / locator
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(folder: Path) -> dict[str, str]:
    """Code by locator, empty for files."""
    return {one.locator: getattr(one, "code", "") for one in walk_files(folder)}


def test_files_come_by_name_then_folders_by_name(folder: Path) -> None:
    fill(folder, "b", "a", "d/x", "c/z", "c/y", "c/a/1")
    assert list(found(folder)) == ["a", "b", "c/y", "c/z", "c/a/1", "d/x"]


def test_large_folders_come_in_sorted_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_walk, "_BLOCK", 4)
    names = [f"{n:02}" for n in range(10)]
    fill(folder, *names)
    walked = list(found(folder))
    assert sorted(walked) == names == sorted(found(folder))
    assert all(walked[n : n + 4] == sorted(walked[n : n + 4]) for n in (0, 4, 8))


def test_size_time_and_path_are_those_of_the_file(folder: Path) -> None:
    fill(folder, "a")
    os.utime(folder / "a", ns=(1, 123456789))
    changed_ns = (folder / "a").stat().st_ctime_ns
    assert list(walk_files(folder)) == [FoundFile("a", str(folder / "a"), 1, 123456789, changed_ns)]


def test_links_to_folders_are_not_followed_so_no_loop_is_walked(folder: Path) -> None:
    fill(folder, "a/1")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "again").symlink_to(folder / "a")
    assert found(folder) == {
        "a/1": "", "a/up": "W_LINK_NOT_FOLLOWED", "again": "W_LINK_NOT_FOLLOWED",
    }  # fmt: skip


def test_links_to_files_inside_are_followed_and_those_that_leave_are_refused(folder: Path) -> None:
    fill(folder, "a", "sub/b", "../outside", "../top-secret/c")
    (folder / "sub" / "in").symlink_to("../a")
    (folder / "out").symlink_to("../outside")
    (folder / "beside").symlink_to("../top-secret/c")
    (folder / "device").symlink_to(os.devnull)
    assert found(folder) == {
        "a": "", "beside": "E_PATH_ESCAPES", "device": "E_PATH_ESCAPES", "out": "E_PATH_ESCAPES",
        "sub/b": "", "sub/in": "",
    }  # fmt: skip
    (linked,) = (one for one in walk_files(folder) if one.locator == "sub/in")
    assert isinstance(linked, FoundFile) and linked.path == str(folder / "a")


def test_links_that_lead_nowhere_or_in_a_circle_are_named(folder: Path) -> None:
    (folder / "dangling").symlink_to("nothing")
    (folder / "x").symlink_to("y")
    (folder / "y").symlink_to("x")
    assert found(folder) == dict.fromkeys(("dangling", "x", "y"), "E_FILE_UNREADABLE")


def test_pipes_and_sockets_are_no_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("pipe")
    monkeypatch.chdir(folder)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        assert found(folder) == dict.fromkeys(("link", "pipe", "sock"), "E_NOT_A_FILE")


def test_a_folder_that_may_not_be_listed_is_named_and_the_walk_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, "a/1", "locked/2", "z/3", "gone/4")
    really = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if path.endswith("locked"):
            raise PermissionError
        if path.endswith("gone"):
            raise FileNotFoundError
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(folder) == {"a/1": "", "locked": "E_FILE_UNREADABLE", "z/3": ""}


def test_the_top_folder_must_be_readable(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk_files(folder / "none"))


def test_names_that_are_no_text_odd_or_long_are_walked(folder: Path) -> None:
    names = [os.fsdecode(b"\xff\xfe.dcm"), "line\nbreak", "n" * 255, "-rf", "a\\..\\b", "C:x", " "]
    fill(folder, *names, "sub\ndir/x")
    assert sorted(found(folder)) == sorted([*names, "sub\ndir/x"])
    for one in walk_files(folder):
        assert isinstance(one, FoundFile) and Path(one.path).read_bytes() == b"x"


def test_deep_folders_are_walked_without_recursion(folder: Path) -> None:
    fill(folder, "/".join("d" * 900) + "/x", "z/y")
    assert list(found(folder)) == ["/".join("d" * 900) + "/x", "z/y"]


def test_a_path_longer_than_the_system_takes_is_named(folder: Path) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _ in range(20):  # each step from the last: the whole path would be refused
        os.mkdir("d" * 250, dir_fd=here)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    fill(folder, "a")
    codes = found(folder)
    assert list(codes.values()) == ["", "E_FILE_UNREADABLE"]


def test_a_file_that_vanishes_while_its_folder_is_read_is_left_out(folder: Path) -> None:
    fill(folder, "a", "b")
    walk = walk_files(folder)
    first = next(walk)
    (folder / "b").unlink()
    assert isinstance(first, FoundFile) and list(walk) == []


def test_what_was_found_shows_no_path() -> None:
    found = [FoundFile("SECRET", "SECRET", 1, 2, 3), FoundProblem("SECRET", "E")]
    assert "SECRET" not in repr(found)
