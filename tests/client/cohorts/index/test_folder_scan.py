"""A folder of DICOM files is scanned: what is found, what changed, what cannot be read."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.dicom_tree import (
    CUT,
    everything,
    facts_at,
    fill,
    findings,
    instance_bytes,
    open_index,
    problems,
    scan,
    touch,
    write,
)

from fedward_client.cohorts.index import folder_scan
from fedward_client.cohorts.index.folder_scan import FolderStore
from fedward_client.cohorts.index.instance_store import ScanProgress, ScanSummary
from fedward_client.dicom.bounded_reading import Header, scan_header
from fedward_common.errors import CohortError


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


def test_a_file_in_anothers_place_is_read_though_it_has_its_size_and_time(
    folder: Path, file: Path
) -> None:
    fill(folder)
    path = folder / "p0/s0/0.dcm"
    touch(path, 10**18)
    scan(folder, file)
    other = instance_bytes("1.9.8", "1.2.0", PatientID="SECRET-ID-8")
    assert len(other) == path.stat().st_size
    path.write_bytes(other)
    touch(path, 10**18)
    assert scan(folder, file).files_read == 1
    found = facts_at(file, "p0/s0/0.dcm")
    assert (found.sop_instance_uid, found.patient_id) == ("1.9.8", "SECRET-ID-8")
    assert scan(folder, file).files_read == 0


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
