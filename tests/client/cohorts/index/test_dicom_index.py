import dataclasses
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.cohorts.dicom_tree import INDEX_KEY, open_index

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.index import index_errors
from fedward_client.cohorts.index.dicom_index import DicomIndex, IndexCounts
from fedward_client.cohorts.index.index_rows import (
    FILE_FIELDS,
    HEADER_FIELDS,
    locator_bytes,
    locator_text,
    printable_place,
)
from fedward_client.cohorts.index.index_scan import NEVER_KNOWN
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_common.errors import (
    ConfigurationError,
    CorruptFileError,
    DiskFullError,
    LockedError,
)

ONE = InstanceFacts(
    locator="a/1", size_bytes=10, modified_ns=20, sop_instance_uid="1.1", sop_class_uid="1.0",
    series_instance_uid="1.2", study_instance_uid="1.3", accession_number="A1", patient_id="P1",
    person_key="k1", patient_sex="F", patient_age_years=34, modality="CT", manufacturer="M",
    manufacturer_model_name="N", image_type="ORIGINAL", burned_in_annotation="NO",
    transfer_syntax_uid="1.9", photometric_interpretation="MONOCHROME2", rows=2, columns=3,
    number_of_frames=1, samples_per_pixel=1, has_pixels=True, instance_number=4,
    frame_of_reference_uid="1.8", image_position_mm=(0.1, -2.0, 1e-7),
    image_orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), pixel_spacing_mm=(0.3, 1 / 3),
    slice_thickness_mm=2.5, spacing_between_slices_mm=None, phase="echo=1", referenced_series="",
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def index(path: Path) -> Iterator[DicomIndex]:
    with open_index(path) as opened:
        yield opened


def added(index: DicomIndex, *facts: InstanceFacts, content: bytes | None = None) -> None:
    with index.scanning() as scan:
        for one in facts:
            scan.add(one)
            if content is not None:
                scan.set_content(one.locator, content)
        scan.finish()


def other(**changes: object) -> InstanceFacts:
    return dataclasses.replace(ONE, **changes)  # type: ignore[arg-type]


def test_every_fact_has_its_column_once() -> None:
    names = {one.name for one in dataclasses.fields(InstanceFacts)}
    assert {"locator", "size_bytes", "modified_ns", *FILE_FIELDS, *HEADER_FIELDS} == names
    assert len(FILE_FIELDS) + len(HEADER_FIELDS) + 3 == len(names)


def test_facts_come_back_as_they_went_in(index: DicomIndex) -> None:
    nothing = other(
        locator="b", sop_instance_uid="1.4", patient_age_years=None, image_position_mm=None,
        image_orientation=None, pixel_spacing_mm=None, instance_number=None, has_pixels=False,
    )  # fmt: skip
    added(index, ONE, nothing)
    assert index.at("a/1") == ONE
    assert index.instance("1.4") == (nothing,)
    assert index.series("1.2") == (ONE, nothing)
    assert index.at("c") is None and index.instance("9") == () == index.series("9")


def test_patients_studies_and_series_are_found(index: DicomIndex) -> None:
    added(
        index,
        ONE,
        other(locator="b", sop_instance_uid="1.4", series_instance_uid="1.21"),
        other(locator="c", sop_instance_uid="1.5", study_instance_uid="1.31"),
        other(locator="d", sop_instance_uid="1.6", accession_number="A2", patient_id=""),
    )
    assert index.studies_of_accession("A1") == ("1.3", "1.31")
    assert index.studies_of_patient("P1") == ("1.3", "1.31")
    assert index.series_of_study("1.3") == ("1.2", "1.21")
    assert index.studies_of_accession("A3") == () == index.series_of_study("A3")
    assert index.count() == 4
    assert index.counts() == IndexCounts(1, 2, 2, 4, 0, 0)


def test_a_file_added_again_is_replaced(index: DicomIndex) -> None:
    added(index, ONE)
    changed = other(modified_ns=21, sop_instance_uid="1.7", patient_id="P2")
    with index.scanning() as scan:
        assert not scan.is_known("a/1", 10, 21)
        scan.add(changed)
        assert scan.is_known("a/1", 10, 21)
        scan.finish()
    assert index.at("a/1") == changed and index.count() == 1
    assert index.studies_of_patient("P1") == ()


def test_a_file_that_became_unusable_is_a_problem_and_back(index: DicomIndex) -> None:
    added(index, ONE)
    with index.scanning() as scan:
        scan.add_problem("a/1", 11, 21, "E_HEADER_UNREADABLE")
        scan.add_problem("b", NEVER_KNOWN, 0, "E_NOT_A_FILE")
        scan.add_problem("c", 1, 1, "E_NOT_DICOM")
        scan.finish()
    assert list(index.problems()) == [
        Finding("E_HEADER_UNREADABLE", place="a/1"),
        Finding("E_NOT_A_FILE", place="b"),
    ]
    assert index.counts() == IndexCounts(0, 0, 0, 0, 2, 1)
    with index.scanning() as scan:
        assert scan.is_known("a/1", 11, 21)
        assert not scan.is_known("b", 0, 0)
        scan.add(ONE)
        assert scan.finish() == 2
    assert list(index.problems()) == [] and index.at("a/1") == ONE


def test_a_scan_left_early_keeps_what_it_added_and_removes_nothing(
    index: DicomIndex, path: Path
) -> None:
    added(index, ONE)
    assert index.is_whole
    with pytest.raises(KeyboardInterrupt), index.scanning() as scan:
        scan.add(other(locator="b", sop_instance_uid="1.4"))
        raise KeyboardInterrupt
    with open_index(path) as again:
        assert again.count() == 2 and not again.is_whole
        added(again, ONE)
        assert again.count() == 1 and again.is_whole


def test_an_empty_index_is_not_whole(index: DicomIndex) -> None:
    assert not index.is_whole and index.count() == 0
    assert index.scan_findings() == [] == list(index.problems())


def test_twins_are_one_and_contradictions_stay(index: DicomIndex) -> None:
    twin, third = other(locator="b"), other(locator="c", size_bytes=11)
    added(index, twin, ONE, content=b"x")
    assert index.series("1.2") == (ONE,) and index.count() == 2
    assert index.scan_findings() == [Finding("W_DUPLICATE_FILE", place="b")]
    added(index, twin, ONE, third, content=b"x")
    assert index.instance("1.1") == (ONE, third)
    assert index.scan_findings() == [Finding("E_DUPLICATE_INSTANCE", place="a/1 | b | c")]


def test_instances_that_nobody_compared_are_no_twins(index: DicomIndex) -> None:
    """A server tells neither size nor content: two patients may be under one UID."""
    first = other(locator="a", size_bytes=0, modified_ns=0)
    second = dataclasses.replace(
        first, locator="b", series_instance_uid="1.21", study_instance_uid="1.31", patient_id="P2"
    )
    same_series = dataclasses.replace(first, locator="c")
    added(index, first, second, same_series)
    assert index.series("1.2") == (first, same_series)
    assert index.series("1.21") == (second,)
    assert index.instance("1.1") == (first, second, same_series)
    assert [f for f in index.scan_findings() if "DUPLICATE" in f.code] == [
        Finding("E_DUPLICATE_INSTANCE", place="a | b | c")
    ]


def test_hashes_tell_files_of_one_size_apart(index: DicomIndex) -> None:
    with index.scanning() as scan:
        for locator in ("a", "b", "c"):
            scan.add(other(locator=locator))
        scan.add(other(locator="d", sop_instance_uid="1.5"))
        scan.add(other(locator="e", size_bytes=11))
        twins = list(scan.possible_twins())
        assert twins == [("a", 10, 20), ("b", 10, 20), ("c", 10, 20)]
        for locator, content in zip("abc", (b"x", b"y", b"x"), strict=True):
            scan.set_content(locator, content)
        assert list(scan.possible_twins()) == []
        scan.finish()
    assert [one.locator for one in index.instance("1.1")] == ["a", "b", "e"]
    assert index.scan_findings() == [Finding("E_DUPLICATE_INSTANCE", place="a | b | c | e")]


def test_what_shows_between_files_is_found(index: DicomIndex) -> None:
    added(
        index,
        ONE,
        other(locator="b", sop_instance_uid="1.4", study_instance_uid="1.31"),
        other(locator="c", sop_instance_uid="1.5", study_instance_uid="1.32", patient_id="P2",
              accession_number=""),
        other(locator="d", sop_instance_uid="1.6", study_instance_uid="1.33", patient_id="P3",
              person_key="", accession_number=""),
        other(locator="e", sop_instance_uid="1.7", study_instance_uid="1.33", patient_id="P4",
              person_key="", accession_number=""),
        other(locator="f", sop_instance_uid="1.8", study_instance_uid="1.3", patient_id="",
              person_key=""),
    )  # fmt: skip
    assert [(one.code, one.place) for one in index.scan_findings()] == [
        ("E_STUDY_OF_TWO_PATIENTS", "1.33"),
        ("W_PATIENT_TWICE", "P1, P2"),
        ("W_SEVERAL_STUDIES", "A1"),
    ]


def test_what_is_no_longer_there_is_not_found_either(index: DicomIndex) -> None:
    added(index, ONE, other(locator="b", sop_instance_uid="1.4", patient_id="P2"))
    with pytest.raises(KeyboardInterrupt), index.scanning() as scan:
        scan.add_problem("b", 1, 1, "E_HEADER_UNREADABLE")
        raise KeyboardInterrupt
    assert index.scan_findings() == [] and index.counts().patients == 1


def test_only_twenty_ids_of_a_person_are_listed(index: DicomIndex) -> None:
    added(
        index,
        *(
            other(locator=f"{n}", sop_instance_uid=f"1.{n}", study_instance_uid=f"2.{n}",
                  patient_id=f"P{n:02}", accession_number="")
            for n in range(25)
        ),
    )  # fmt: skip
    (found,) = index.scan_findings()
    assert found.place.startswith("P00, P01, ") and found.place.endswith("P19, ...")


@given(st.text(alphabet=st.characters(), max_size=30))
def test_any_file_name_comes_back(name: str) -> None:
    assert locator_text(locator_bytes(name)) == name
    assert printable_place(name).isprintable()


def test_files_of_the_index_are_for_the_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with open_index(path) as index, index.scanning() as scan:
            scan.add(ONE)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600} and len(modes) == 4


def test_one_scan_at_a_time(index: DicomIndex, path: Path) -> None:
    with index.scanning(), open_index(path) as second, pytest.raises(LockedError):
        second.scanning().__enter__()
    with open_index(path) as second, second.scanning() as scan:
        scan.add(ONE)
    assert index.count() == 1


def test_a_lock_that_cannot_be_made_is_named(index: DicomIndex, path: Path) -> None:
    path.with_name("index.sqlite.scan-lock").mkdir()
    with pytest.raises(ConfigurationError), index.scanning():
        pass


def test_a_reader_sees_what_was_committed_while_a_scan_goes_on(
    index: DicomIndex, path: Path
) -> None:
    added(index, ONE)
    with index.scanning() as scan, open_index(path) as reader:
        scan.add(other(locator="b", sop_instance_uid="1.4"))
        assert reader.count() == 1


def test_a_damaged_index_says_that_it_must_be_made_anew(path: Path) -> None:
    with open_index(path) as index:
        added(index, *(other(locator=str(n), sop_instance_uid=f"1.{n}") for n in range(500)))
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content)):
        content[place] ^= 0x5A
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught, open_index(path) as index:
        index.series("1.2")
    assert "scan anew" in caught.value.hint


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(84)])
def test_another_file_is_no_index(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        open_index(path)


def test_another_database_another_version_and_another_key_are_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptFileError, match="another kind"):
        open_index(path)
    path.unlink()
    open_index(path).close()
    with pytest.raises(CorruptFileError, match="another site's key"):
        DicomIndex.open(path, pseudonym_key=bytes(32))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CorruptFileError, match="another version"):
        DicomIndex.open(path, pseudonym_key=INDEX_KEY)


def test_a_row_that_is_not_what_was_written_is_damage(index: DicomIndex, path: Path) -> None:
    added(index, ONE)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE files SET image_position_mm = '[1, SECRET'")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptFileError) as caught:
        index.at("a/1")
    assert "SECRET" not in str(caught.value) and caught.value.__suppress_context__


def test_an_index_in_no_folder_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        open_index(tmp_path / "none" / "index.sqlite")


def test_a_full_disk_is_named(index: DicomIndex) -> None:
    added(index, ONE)
    [(pages,)] = index._rows("PRAGMA page_count")
    index._rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFullError), index.scanning() as scan:
        for number in range(2000):
            scan.add(other(locator=f"{number}", sop_instance_uid=f"1.{number}"))
    index._rows("PRAGMA max_page_count = 1000000")
    assert index.at("a/1") == ONE
    added(index, ONE)
    assert index.is_whole


def test_errors_of_sqlite_are_named_without_their_text(path: Path) -> None:
    with pytest.raises(CorruptFileError) as caught, index_errors.named_errors(path):
        raise sqlite3.DatabaseError("SECRET")
    assert "SECRET" not in str(caught.value) and caught.value.__suppress_context__
