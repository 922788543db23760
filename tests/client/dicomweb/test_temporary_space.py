"""Private folders with a quota, gone after use and after a crash."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicomweb.temporary_space import TemporarySpace
from fedward_common.errors import CohortError


def test_a_lease_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    space = TemporarySpace(tmp_path / "space", 100)
    with space.lease() as lease:
        with lease.new_file("a") as file:
            file.write(b"x" * 60)
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(lease.folder.stat().st_mode) == 0o700
        assert file.path.read_bytes() == b"x" * 60
    assert list((tmp_path / "space").iterdir()) == []


def test_the_quota_holds_over_files_and_comes_back(tmp_path: Path) -> None:
    space = TemporarySpace(tmp_path, 100)
    with space.lease() as first, first.new_file("a") as file:
        file.write(b"x" * 60)
        file.restart()
        file.write(b"x" * 60)
        with first.new_file("b") as second:
            second.write(b"x" * 40)
            with pytest.raises(UnusableCaseError) as caught:
                second.write(b"x")
        assert caught.value.code == "E_SERVER_TOO_LARGE"
        assert sum(path.stat().st_size for path in first.folder.iterdir()) <= 100
    with space.lease() as third, third.new_file("c") as again:
        again.write(b"x" * 100)


def test_what_other_leases_hold_counts_and_is_no_fault_of_the_case(tmp_path: Path) -> None:
    space = TemporarySpace(tmp_path, 100)
    with space.lease() as first, first.new_file("a") as file:
        file.write(b"x" * 60)
        with space.lease() as second, second.new_file("b") as other:
            other.write(b"y" * 40)
            with pytest.raises(CohortError) as caught:
                other.write(b"y")
    assert caught.value.code == "E_CACHE_FULL"
    assert not isinstance(caught.value, UnusableCaseError)


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from fedward_client.dicomweb.temporary_space import TemporarySpace\n"
        "lease = TemporarySpace(Path(sys.argv[1]), 100).lease()\n"
        "with lease.new_file('a') as file: file.write(b'patient')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert [p.name for p in tmp_path.glob("*/a")] == ["a"]
    TemporarySpace(tmp_path, 100)
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_holds_stays(tmp_path: Path) -> None:
    with TemporarySpace(tmp_path, 100).lease() as lease:
        TemporarySpace(tmp_path, 100)
        assert lease.folder.is_dir()
