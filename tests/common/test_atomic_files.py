import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.atomic_files import (
    full_disk_named,
    sha256_of_file,
    verify_file,
    write_all,
    write_atomically,
)
from fedward_common.errors import CorruptFileError, DiskFullError

OLD = b"old content"
NEW = (b"first block ", b"second block ", b"third block")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(OLD)
    return path


@pytest.mark.parametrize("content", [b"", b"x", b"a" * 3_000_000, memoryview(b"view")])
def test_what_was_written_is_there_with_its_hash(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    sha256 = write_atomically(path, content)
    assert path.read_bytes() == content
    assert sha256 == hashlib.sha256(content).hexdigest() == sha256_of_file(path)
    verify_file(path, sha256)


def test_blocks_are_joined_and_replace_the_old_file(kept: Path) -> None:
    sha256 = write_atomically(kept, iter(NEW))
    assert kept.read_bytes() == b"".join(NEW)
    assert sha256 == hashlib.sha256(b"".join(NEW)).hexdigest()
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_a_view_of_an_array_is_written_as_its_bytes(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_atomically(tmp_path / "file", array.data)
    assert (tmp_path / "file").read_bytes() == array.tobytes()


def test_two_threads_that_write_one_path_both_succeed_and_leave_one_whole_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    contents = [bytes([number]) * 10_000 for number in range(50)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        written = list(pool.map(lambda content: write_atomically(path, content), contents))
    assert written == [hashlib.sha256(content).hexdigest() for content in contents]
    assert path.read_bytes() in contents
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_a_private_file_is_private_while_it_is_written_whatever_was_there(kept: Path) -> None:
    kept.chmod(0o644)
    seen: list[int] = []

    def blocks() -> Iterator[bytes]:
        yield b"secret"
        (half,) = kept.parent.glob(".*.tmp")
        seen.append(stat.S_IMODE(half.stat().st_mode))

    previous = os.umask(0)
    try:
        write_atomically(kept, blocks(), mode=0o600)
    finally:
        os.umask(previous)
    assert [*seen, stat.S_IMODE(kept.stat().st_mode)] == [0o600, 0o600]


class FullDisk:
    """Fails at the n-th of the steps write, fsync and replace; counts from 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int, number: int) -> None:
        self.steps: list[str] = []
        self._fails_at = fails_at
        self._number = number
        for owner, name in ((os, "write"), (os, "fsync"), (Path, "replace")):
            real = getattr(owner, name)
            monkeypatch.setattr(owner, name, self._counted(name, real))

    def _counted(self, name: str, real):  # type: ignore[no-untyped-def]
        def step(*args):  # type: ignore[no-untyped-def]
            self.steps.append(name)
            if len(self.steps) - 1 == self._fails_at:
                raise OSError(self._number, os.strerror(self._number))
            return real(*args)

        return step


STEPS = ["write", "write", "write", "fsync", "replace", "fsync"]


def test_the_file_is_synced_before_it_is_renamed_and_the_folder_after(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, fails_at=-1, number=errno.ENOSPC)
    write_atomically(kept, NEW)
    assert disk.steps == STEPS


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("fails_at", range(5))
def test_a_full_disk_at_any_step_leaves_the_old_file_and_nothing_else(
    kept: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, number: int
) -> None:
    disk = FullDisk(monkeypatch, fails_at, number)
    with pytest.raises(DiskFullError, match=r"model\.bin") as caught:
        write_atomically(kept, NEW)
    assert disk.steps == STEPS[: fails_at + 1]
    assert caught.value.code == "DISK_FULL"
    assert caught.value.hint
    assert kept.read_bytes() == OLD
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_a_failure_to_sync_the_folder_leaves_one_whole_file(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, fails_at=5, number=errno.ENOSPC)
    with pytest.raises(DiskFullError):
        write_atomically(kept, NEW)
    assert kept.read_bytes() == b"".join(NEW)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_another_failure_keeps_its_own_name_and_leaves_the_old_file(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, fails_at=1, number=errno.EIO)
    with pytest.raises(OSError, match="Input/output") as caught:
        write_atomically(kept, NEW)
    assert not isinstance(caught.value, DiskFullError)
    assert kept.read_bytes() == OLD
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_blocks_that_stop_half_way_leave_the_old_file(
    kept: Path, interruption: type[BaseException]
) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"first"
        raise interruption

    with pytest.raises(interruption):
        write_atomically(kept, blocks())
    assert kept.read_bytes() == OLD
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@given(content=st.binary(max_size=40), taken=st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_every_byte_is_written_however_few_the_system_takes_at_once(
    content: bytes, taken: int
) -> None:
    received = bytearray()

    def short_write(_: int, block: memoryview) -> int:
        received.extend(block[:taken])
        return min(taken, len(block))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", short_write)
        write_all(0, content)
    assert received == content


def test_a_missing_file_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="is missing"):
        verify_file(tmp_path / "none", "0" * 64)


@pytest.mark.parametrize("content", [b"", b"old contenu", b"old content ", b"old conten"])
def test_a_file_of_another_content_is_corrupt_and_both_hashes_are_named(
    kept: Path, content: bytes
) -> None:
    expected = sha256_of_file(kept)
    kept.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        verify_file(kept, expected)
    assert expected[:16] in str(caught.value)
    assert hashlib.sha256(content).hexdigest()[:16] in str(caught.value)


def test_only_a_full_disk_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), full_disk_named(tmp_path):
        raise PermissionError(errno.EACCES, "denied")
    with pytest.raises(KeyError), full_disk_named(tmp_path):
        raise KeyError


def test_a_file_nobody_needs_gives_its_place_and_none_of_its_bytes(tmp_path: Path) -> None:
    spare = tmp_path / "spare"
    spare.write_bytes(b"a long old content")
    digest = write_atomically(tmp_path / "new", b"short", over=spare)
    assert not spare.exists()
    assert (tmp_path / "new").read_bytes() == b"short"
    assert digest == hashlib.sha256(b"short").hexdigest()


def test_without_a_file_to_write_over_a_new_one_is_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new", b"short", over=tmp_path / "absent")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
