import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.cohorts.dicom_tree import (
    everything,
    facts_at,
    findings,
    instance_bytes,
    open_index,
    problems,
    scan,
    write,
)

from fedward_client.cohorts.index import folder_scan, index_scan
from fedward_client.cohorts.index.folder_scan import FolderStore
from fedward_client.cohorts.index.instance_store import ScanProgress, ScanSummary
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.bounded_reading import Header, scan_header
from fedward_common.errors import CohortError

CUT = instance_bytes("1.66")[:200]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dicom"
    made.mkdir()
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def fill(folder: Path, number: int = 6) -> None:
    for n in range(number):
        write(folder, f"p{n % 2}/s{n % 3}/{n}.dcm", instance_bytes(f"1.9.{n}", f"1.2.{n % 3}"))
    write(folder, "notes.txt", b"no DICOM")
    write(folder, "p0/cut", CUT)


def touch(path: Path, modified_ns: int) -> None:
    os.utime(path, ns=(modified_ns, modified_ns))


def stop_after(files: int) -> Callable[[ScanProgress], None]:
    def stop(progress: ScanProgress) -> None:
        if progress.files_seen >= files:
            raise KeyboardInterrupt

    return stop


def interrupted_scan(folder: Path, file: Path, after: int) -> None:
    with open_index(file) as index, pytest.raises(KeyboardInterrupt):
        FolderStore(folder, progress_every=1).scan(index, stop_after(after))


def test_a_tree_is_indexed(folder: Path, file: Path) -> None:
    fill(folder)
    assert scan(folder, file) == ScanSummary(8, 8, 0, 6, 1, 1)
    found = facts_at(file, "p1/s2/5.dcm")
    assert (found.sop_instance_uid, found.series_instance_uid) == ("1.9.5", "1.2.2")
    status = (folder / "p1/s2/5.dcm").stat()
    assert (found.size_bytes, found.modified_ns) == (status.st_size, status.st_mtime_ns)
    assert found.has_pixels and found.patient_id == "SECRET-ID-1"
    assert problems(file) == [("E_HEADER_UNREADABLE", "p0/cut")]


def test_what_did_not_change_is_not_read_again(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)
    first = scan(folder, file)
    before = everything(file)
    monkeypatch.setattr(folder_scan, "scan_header", None)
    assert scan(folder, file) == dataclasses.replace(first, files_read=0)
    assert everything(file) == before


def test_changed_new_and_vanished_files_are_seen(folder: Path, file: Path) -> None:
    fill(folder)
    scan(folder, file)
    write(folder, "p0/s0/0.dcm", instance_bytes("1.9.77"))
    write(folder, "p0/cut", instance_bytes("1.9.78"))
    touch(folder / "p1/s1/1.dcm", 10**18)
    write(folder, "new", instance_bytes("1.9.79"))
    (folder / "p0/s2/2.dcm").unlink()
    shutil.rmtree(folder / "p1/s0")
    assert scan(folder, file) == ScanSummary(7, 4, 2, 6, 0, 1)
    assert facts_at(file, "p0/s0/0.dcm").sop_instance_uid == "1.9.77"
    assert facts_at(file, "p1/s1/1.dcm").modified_ns == 10**18
    with open_index(file) as index:
        assert index.at("p0/s2/2.dcm") is None and index.instance("1.9.3") == ()


def test_duplicates_and_twins_are_told_apart_by_their_bytes(folder: Path, file: Path) -> None:
    write(folder, "b", instance_bytes("1.1"))
    write(folder, "a/twin", instance_bytes("1.1"))
    write(folder, "c", instance_bytes("1.4", Modality="CT"))
    write(folder, "d", instance_bytes("1.4", Modality="MR"))
    write(folder, "e", instance_bytes("1.5"))
    write(folder, "f", instance_bytes("1.5", PatientComments="longer"))
    scan(folder, file)
    contradictions = [("E_DUPLICATE_INSTANCE", "c | d"), ("E_DUPLICATE_INSTANCE", "e | f")]
    assert findings(file) == [*contradictions, ("W_DUPLICATE_FILE", "b")]
    with open_index(file) as index:
        assert [one.locator for one in index.instance("1.1")] == ["a/twin"]
        assert [one.locator for one in index.instance("1.4")] == ["c", "d"]
    (folder / "d").unlink()
    write(folder, "a/twin", instance_bytes("1.1", PatientComments="no twin any more"))
    scan(folder, file)
    contradictions = [("E_DUPLICATE_INSTANCE", "a/twin | b"), ("E_DUPLICATE_INSTANCE", "e | f")]
    assert findings(file) == contradictions


def test_a_twin_that_changed_since_it_was_read_waits_for_the_next_scan(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "a", instance_bytes("1.1"))
    other = write(folder, "b", instance_bytes("1.1"))
    really = folder_scan._compare_twins

    def changed_before(*arguments: Any) -> None:
        touch(other, 10**18)
        really(*arguments)

    monkeypatch.setattr(folder_scan, "_compare_twins", changed_before)
    scan(folder, file)
    assert problems(file) == [("E_FILE_CHANGED", "b")]
    scan(folder, file)
    assert problems(file) == [] and findings(file) == [("W_DUPLICATE_FILE", "b")]


def test_patients_studies_and_accession_numbers_are_compared(folder: Path, file: Path) -> None:
    person = {"PatientBirthDate": "19600102", "PatientSex": "F"}
    one = {**person, "PatientName": "Mueller^Hanna", "PatientID": "1", "AccessionNumber": "A7"}
    two = {**person, "PatientName": "MÜLLER^HANNA^", "PatientID": "2", "AccessionNumber": "A7"}
    latin = {"SpecificCharacterSet": "ISO_IR 100"}
    write(folder, "a", instance_bytes("1.1", "2.1", "3.1", **one))
    write(folder, "b", instance_bytes("1.2", "2.2", "3.2", **two, **latin))
    write(folder, "c", instance_bytes("1.3", "2.3", "3.3", PatientID="3"))
    write(folder, "d", instance_bytes("1.4", "2.4", "3.3", PatientID="4"))
    scan(folder, file)
    assert findings(file) == [
        ("E_STUDY_OF_TWO_PATIENTS", "3.3"),
        ("W_PATIENT_TWICE", "1, 2"),
        ("W_SEVERAL_STUDIES", "A7"),
    ]


def test_what_is_no_file_or_leaves_the_folder_has_its_code(folder: Path, file: Path) -> None:
    os.mkfifo(folder / "pipe")
    write(folder, "../outside", instance_bytes("1.1"))
    (folder / "link").symlink_to("../outside")
    (folder / "loop").symlink_to("loop")
    (folder / "top").symlink_to(".")
    write(folder, "good", instance_bytes("1.2"))
    write(folder, "empty", b"")
    write(folder, "no-series", instance_bytes("1.3", ""))
    assert scan(folder, file) == ScanSummary(7, 3, 0, 1, 5, 1)
    expected = [
        ("E_FILE_UNREADABLE", "loop"),
        ("E_HEADER_INCOMPLETE", "no-series"),
        ("E_NOT_A_FILE", "pipe"),
        ("E_PATH_ESCAPES", "link"),
        ("W_LINK_NOT_FOLLOWED", "top"),
    ]
    assert problems(file) == expected
    (folder / "link").unlink()
    scan(folder, file)
    assert problems(file) == [one for one in expected if one[1] != "link"]


def test_a_file_that_may_not_be_read_is_tried_again(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "locked", instance_bytes("1.1"))
    really = os.open

    def denied(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("locked"):
            raise PermissionError
        return really(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", denied)
        scan(folder, file)
    assert problems(file) == [("E_FILE_UNREADABLE", "locked")]
    assert scan(folder, file).files_read == 1
    assert problems(file) == []


def test_a_file_that_changes_while_it_is_read_is_taken_up_by_the_next_scan(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "a", instance_bytes("1.1"))

    def grows(path: Path) -> Header:
        with path.open("ab") as opened:
            opened.write(b"more")
        return scan_header(path)

    with monkeypatch.context() as patched:
        patched.setattr(folder_scan, "scan_header", grows)
        scan(folder, file)
    assert problems(file) == [("E_FILE_CHANGED", "a")]
    scan(folder, file)
    assert problems(file) == [] and facts_at(file, "a").sop_instance_uid == "1.1"


def test_a_file_that_vanishes_before_it_is_read_is_forgotten(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "a", instance_bytes("1.1"))
    scan(folder, file)
    touch(folder / "a", 10**18)

    def vanishes(path: Path) -> Header:
        path.unlink()
        return scan_header(path)

    monkeypatch.setattr(folder_scan, "scan_header", vanishes)
    assert scan(folder, file) == ScanSummary(1, 1, 1, 0, 0, 0)


def test_progress_tells_files_and_bytes(folder: Path, file: Path) -> None:
    fill(folder)
    told: list[ScanProgress] = []
    with open_index(file) as index:
        FolderStore(folder, progress_every=3).scan(index, told.append)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert [(one.files_seen, one.files_read) for one in told] == [(3, 3), (6, 6), (8, 8)]
    assert told[-1].bytes_seen == size


def test_a_folder_that_is_not_there_leaves_the_index_as_it_is(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)
    scan(folder, file)
    before = everything(file)
    moved = folder.rename(folder.with_name("away"))
    with pytest.raises(CohortError) as caught:
        scan(folder, file)
    assert caught.value.code == "E_SOURCE_UNREADABLE" and everything(file) == before

    def denied(_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", denied)
        with pytest.raises(CohortError) as caught:
            scan(moved, file)
    assert caught.value.code == "E_SOURCE_UNREADABLE" and everything(file) == before


def test_a_folder_that_is_not_mounted_leaves_the_index_as_it_is(folder: Path, file: Path) -> None:
    assert scan(folder, file).instances == 0  # empty from the first: nothing to lose
    fill(folder)
    scan(folder, file)
    before = everything(file)
    folder.rename(folder.with_name("away"))
    (folder / "archive").mkdir(parents=True)
    with pytest.raises(CohortError) as caught:
        scan(folder, file)
    assert caught.value.code == "E_SOURCE_UNREADABLE" and everything(file) == before


@pytest.mark.parametrize(
    ("exchange", "code"),
    [
        (os.mkfifo, "E_NOT_A_FILE"),
        (lambda path: path.symlink_to("/dev/zero"), "E_NOT_A_FILE"),
        (lambda path: None, "E_FILE_NOT_FOUND"),
    ],
)
def test_what_was_put_in_a_twins_place_is_not_waited_for(
    folder: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    exchange: Callable[[Path], None],
    code: str,
) -> None:
    write(folder, "a", instance_bytes("1.1"))
    other = write(folder, "b", instance_bytes("1.1"))
    really = folder_scan._compare_twins

    def exchanged_before(*arguments: Any) -> None:
        other.unlink()
        exchange(other)
        really(*arguments)

    monkeypatch.setattr(folder_scan, "_compare_twins", exchanged_before)
    scan(folder, file)
    assert problems(file) == [(code, "b")]


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


def test_names_that_are_no_text_odd_or_long_are_indexed(folder: Path, file: Path) -> None:
    names = [os.fsdecode(b"\xff\xfe"), "line\nbreak", "n" * 255, "a\\..\\b", "C:x", "-rf", "é"]
    for number, name in enumerate(names):
        write(folder, name, instance_bytes(f"1.{number}"))
    write(folder, os.fsdecode(b"cut\n\xff"), CUT)
    scan(folder, file)
    assert [facts_at(file, name).locator for name in names] == names
    assert problems(file) == [("E_HEADER_UNREADABLE", "cut\\n\\udcff")]
    with FolderStore(folder).local_files(names) as paths:
        assert [path.name for path in paths] == names
        assert all(path.is_file() for path in paths)


@pytest.mark.parametrize(
    ("locator", "code"),
    [
        ("none", "E_FILE_NOT_FOUND"),
        ("", "E_FILE_NOT_FOUND"),
        ("a\0b", "E_FILE_NOT_FOUND"),
        ("n" * 300, "E_FILE_NOT_FOUND"),
        ("loop", "E_FILE_NOT_FOUND"),
        ("../outside", "E_PATH_ESCAPES"),
        ("/etc/hostname", "E_PATH_ESCAPES"),
        ("link", "E_PATH_ESCAPES"),
    ],
)
def test_files_are_given_from_inside_the_folder_alone(
    folder: Path, locator: str, code: str
) -> None:
    write(folder, "../outside", b"x")
    (folder / "link").symlink_to("../outside")
    (folder / "loop").symlink_to("loop")
    with (
        pytest.raises(UnusableCaseError) as caught,
        FolderStore(folder).local_files(["link" if locator == "link" else locator]),
    ):
        pass
    assert caught.value.code == code
