"""Scans that were broken off or killed, and what the next one makes of them."""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.cohorts.dicom_tree import (
    CUT,
    everything,
    fill,
    instance_bytes,
    open_index,
    scan,
    touch,
    write,
)

from fedward_client.cohorts.index import index_scan
from fedward_client.cohorts.index.folder_scan import FolderStore
from fedward_client.cohorts.index.instance_store import ScanProgress


def stop_after(files: int) -> Callable[[ScanProgress], None]:
    def stop(progress: ScanProgress) -> None:
        if progress.files_seen >= files:
            raise KeyboardInterrupt

    return stop


def interrupted_scan(folder: Path, file: Path, after: int) -> None:
    with open_index(file) as index, pytest.raises(KeyboardInterrupt):
        FolderStore(folder, progress_every=1).scan(index, stop_after(after))


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_interrupted_scans_end_in_the_same_index(
    folder: Path, file: Path, tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_scan, "_BATCH", batch)
    fill(folder, 12)
    write(folder, "twin", instance_bytes("1.9.3", "1.2.0"))
    whole = tmp_path / "whole.sqlite"
    scan(folder, whole)
    afters = random.Random(batch).sample(range(1, 15), 6)
    for after in afters:
        interrupted_scan(folder, file, after)
        with open_index(file) as index:
            assert not index.is_whole and index.count() <= 13
    done = scan(folder, file)
    assert everything(file) == everything(whole)
    assert done.files_read == 15 - max(afters)


files = st.dictionaries(
    st.sampled_from(["a", "b", "c/a", "c/b", "c/d/e", "z"]),
    st.sampled_from(
        [b"text", CUT, *(instance_bytes(f"1.{n}") for n in range(3)),
         *(instance_bytes(f"1.{n}", Modality="MR") for n in range(2))]
    ),
    min_size=1,
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.tuples(files, st.integers(1, 8)), min_size=1, max_size=4))
def test_a_scan_in_parts_of_a_changing_folder_equals_one_of_its_last_state(
    steps: list[tuple[dict[str, bytes], int]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, parts, whole = Path(name, "f"), Path(name, "1.sqlite"), Path(name, "2.sqlite")
        for step, (contents, after) in enumerate(steps, start=1):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for locator, content in contents.items():
                # the time tells the content, as a clock that never stands still would
                touch(write(folder, locator, content), step * 10**9)
            if after <= len(contents):
                interrupted_scan(folder, parts, after)
            else:
                scan(folder, parts)
        scan(folder, parts)
        scan(folder, whole)
        assert everything(parts) == everything(whole)


def test_a_killed_process_leaves_an_index_that_the_next_scan_completes(
    folder: Path, file: Path, tmp_path: Path
) -> None:
    fill(folder, 40)
    program = """
import sys
from pathlib import Path
from fedward_client.cohorts.index import index_scan
from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.index.folder_scan import FolderStore
index_scan._BATCH = 7
index = DicomIndex.open(Path(sys.argv[2]), pseudonym_key=bytes(range(32)))
def progress(told):
    print(told.files_seen, flush=True)
    sys.stdin.readline()
FolderStore(Path(sys.argv[1]), progress_every=1).scan(index, progress)
"""
    for lines in (9, 30):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(folder), str(file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        for _ in range(lines):
            assert child.stdout.readline()
            child.stdin.write("\n")
            child.stdin.flush()
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        child.stdin.close(), child.stdout.close()
    with open_index(file) as index:
        assert 20 < index.count() < 40 and not index.is_whole
    assert scan(folder, file).files_read < 20
    whole = tmp_path / "whole.sqlite"
    scan(folder, whole)
    assert everything(file) == everything(whole)
