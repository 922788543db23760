import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.fake_index import FakeIndex, facts, slices
from tests.client.cohorts.small_cohorts import CLASSIFY, SEGMENT

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.label_file import KeyKind, LabelRow, LabelTable
from fedward_client.cohorts.registered.label_matching import MatchedCase, match_rows
from fedward_client.cohorts.registered.registration import CohortRegistration
from fedward_common.job.sections import TaskClass, TaskSection

LABELS = "/nowhere/labels.csv"
Told = list[tuple[str, int | None]]


def registered(**others: Any) -> CohortRegistration:
    values: dict[str, Any] = {
        "name": "c",
        "labels_file": LABELS,
        "task": CLASSIFY,
        "cases": "images",
        "dicom_folder": "/nowhere/dicom",
    }
    return CohortRegistration(**(values | others))


def match(
    rows: list[LabelRow], key_kind: KeyKind, index: FakeIndex, **others: Any
) -> tuple[list[MatchedCase], Told]:
    matched, findings = match_rows(LabelTable(key_kind, tuple(rows)), registered(**others), index)
    return matched, [(one.code, one.line) for one in findings]


def codes_of(key: str, key_kind: KeyKind, index: FakeIndex, **others: Any) -> list[str]:
    _, told = match([LabelRow(2, key, ("0",))], key_kind, index, **others)
    return [code for code, _ in told]


def test_an_image_is_found_by_its_uid_with_its_label_and_its_patient() -> None:
    index = FakeIndex([facts("1.1"), facts("1.2", patient_id="p2")])
    matched, told = match([LabelRow(2, "1.2", ("pneumonia",), split="Test")], "instance", index,
                          split_values={"Test": "test"})  # fmt: skip
    assert told == []
    [one] = matched
    assert (one.patient, one.label, one.stated_split, one.kind) == ("p2", 1, "test", "image")
    assert [file.locator for file in one.files] == ["1.2.dcm"]


@pytest.mark.parametrize(
    ("key_kind", "code"),
    [
        ("instance", "E_INSTANCE_NOT_FOUND"),
        ("series", "E_SERIES_NOT_FOUND"),
        ("study", "E_STUDY_NOT_FOUND"),
        ("accession", "E_ACCESSION_NOT_FOUND"),
        ("file", "E_FILE_NOT_FOUND"),
    ],
)
@pytest.mark.parametrize("key", ["", "9.9"])
def test_what_was_not_indexed_is_named_by_the_kind_of_key(
    key: str, key_kind: KeyKind, code: str
) -> None:
    assert codes_of(key, key_kind, FakeIndex([facts("1.1", accession_number="")])) == [code]


@pytest.mark.parametrize("key", ["/etc/passwd", "../x.dcm", "a/../../b.dcm", "C:\\x", "a\\..\\b"])
def test_a_path_that_leaves_the_folder_is_refused(key: str) -> None:
    assert codes_of(key, "file", FakeIndex([])) == ["E_PATH_ESCAPES"]


def test_a_file_that_the_scan_could_not_read_has_the_code_of_the_scan() -> None:
    index = FakeIndex([], trouble=[Finding("E_HEADER_TOO_DEEP", place="a/b.dcm")])
    assert codes_of("./a//b.dcm", "file", index) == ["E_HEADER_TOO_DEEP"]


def test_a_path_with_backslashes_is_found_too() -> None:
    index = FakeIndex([facts("1.1", locator="a/b/c.dcm")])
    assert codes_of("a\\b\\c.dcm", "file", index) == []


def test_two_files_of_one_uid_are_refused_by_every_key() -> None:
    index = FakeIndex([facts("1.1"), facts("1.1", locator="other.dcm")])
    keys: dict[KeyKind, str] = {"instance": "1.1", "file": "other.dcm", "series": "1.5"}
    for key_kind, key in keys.items():
        cases = "series" if key_kind == "series" else "images"
        assert codes_of(key, key_kind, index, cases=cases) == ["E_DUPLICATE_INSTANCE"]


def test_a_study_resolves_to_its_only_series_of_images() -> None:
    others = [
        facts("2.1", "1.6", modality="SEG"),
        facts("2.2", "1.7", modality="SR", has_pixels=False),
        facts("2.3", "1.8", modality="CT", image_type="ORIGINAL\\PRIMARY\\LOCALIZER"),
        facts("2.4", "1.3", modality="RTSTRUCT", has_pixels=False),
    ]
    index = FakeIndex([*slices("1.5"), *others])
    matched, told = match([LabelRow(2, "1.4", ("0",))], "study", index, cases="series")
    assert told == []
    assert [file.locator for file in matched[0].files] == ["1.5.1.dcm", "1.5.2.dcm", "1.5.3.dcm"]


def test_a_study_with_two_series_of_images_is_ambiguous() -> None:
    index = FakeIndex([*slices("1.5"), *slices("1.6")])
    assert codes_of("1.4", "study", index, cases="series") == ["E_LABEL_AMBIGUOUS"]


def test_an_accession_number_of_two_studies_with_one_series_of_images_resolves() -> None:
    index = FakeIndex(
        [
            *slices("1.5", accession_number="A1"),
            facts("3.1", "1.7", "1.8", modality="SR", has_pixels=False, accession_number="A1"),
        ]
    )
    assert codes_of("A1", "accession", index, cases="series") == []


def test_slices_are_sorted_by_position_and_bad_series_keep_their_code() -> None:
    index = FakeIndex([*slices("1.5", (2, 0, 1)), *slices("1.6", (0, 1, 3, 4))])
    rows = [LabelRow(2, "1.5", ("0",)), LabelRow(3, "1.6", ("0",))]
    matched, told = match(rows, "series", index, cases="series")
    assert [one.locator for one in matched[0].files] == ["1.5.2.dcm", "1.5.3.dcm", "1.5.1.dcm"]
    assert told == [("E_MISSING_SLICE", 3)]


def test_a_series_of_several_images_is_no_image() -> None:
    assert codes_of("1.5", "series", FakeIndex(slices("1.5"))) == ["E_LABEL_AMBIGUOUS"]


def test_an_empty_series_is_said_to_be_empty() -> None:
    index = FakeIndex([facts("1.1", has_pixels=False)])
    assert codes_of("1.5", "series", index, cases="series") == ["E_SERIES_EMPTY"]


def test_every_frame_is_an_image_of_the_same_patient_or_the_wanted_one_alone() -> None:
    index = FakeIndex([facts("1.1", number_of_frames=3)])
    matched, _ = match([LabelRow(2, "1.1", ("0",))], "instance", index)
    assert [one.frame for one in matched] == [0, 1, 2]
    assert len({one.identity for one in matched}) == 3
    matched, _ = match([LabelRow(2, "1.1", ("0",), frame="2")], "instance", index)
    assert [one.frame for one in matched] == [1]


@pytest.mark.parametrize("frame", ["0", "4", "-1", "x", "1.0", "²", "9" * 30])
def test_a_frame_that_is_not_there_is_refused(frame: str) -> None:
    index = FakeIndex([facts("1.1", number_of_frames=3)])
    _, told = match([LabelRow(2, "1.1", ("0",), frame=frame)], "instance", index)
    assert told == [("E_INSTANCE_NOT_FOUND", 2)]


@pytest.mark.parametrize(("count", "code"), [(0, "E_PIXEL_FORMAT"), (10**6, "E_IMAGE_TOO_LARGE")])
def test_an_absurd_number_of_frames_is_refused(count: int, code: str) -> None:
    assert codes_of("1.1", "instance", FakeIndex([facts("1.1", number_of_frames=count)])) == [code]


def test_a_multi_frame_file_is_a_volume_of_its_own() -> None:
    index = FakeIndex([facts("1.1", number_of_frames=30, modality="CT")])
    keys: dict[KeyKind, str] = {"instance": "1.1", "series": "1.5"}
    for key_kind, key in keys.items():
        matched, told = match([LabelRow(2, key, ("0",))], key_kind, index, cases="series")
        assert (told, matched[0].kind, matched[0].frame) == ([], "series", None)


@pytest.mark.parametrize(
    ("what", "refused"),
    [
        ({"burned_in_annotation": "YES"}, True),
        ({"modality": "US"}, True),
        ({"modality": "US", "burned_in_annotation": "NO"}, False),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, True),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7.2"}, True),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1"}, False),
        ({"image_type": "DERIVED\\SECONDARY"}, True),
        ({}, False),
    ],
)
def test_text_may_be_burned_in(what: dict[str, str], refused: bool) -> None:
    index = FakeIndex([facts("1.1", **what)])
    assert codes_of("1.1", "instance", index) == (["E_BURNED_IN_TEXT"] if refused else [])
    assert codes_of("1.1", "instance", index, burned_in="allow") == []


def test_labels_are_mapped_and_each_failure_has_its_code() -> None:
    index = FakeIndex([facts("1.1")])
    table = {"neg": "normal", "pos": "pneumonia", "bad": "exclude", "?": "not annotated"}

    def outcome(value: str, **others: Any) -> Any:
        matched, told = match([LabelRow(2, "1.1", (value,))], "instance", index, **others)
        return matched[0].label if matched else told[0][0]

    assert outcome("pos", label_values=table) == 1
    assert outcome("?", label_values=table) == -1
    assert outcome("bad", label_values=table) == "EXCLUDED_BY_LABEL"
    assert outcome("1", label_values=table) == "E_LABEL_UNMAPPED"
    assert outcome("1") == 1
    assert outcome("7") == "E_LABEL_VALUE"


def test_a_multi_label_line_has_a_value_for_each_class() -> None:
    task = TaskSection("classification", (TaskClass(0, "a"), TaskClass(1, "b")), multi_label=True)
    table: dict[str, str | int] = {"1": 1, "0": 0, "": "not annotated"}
    rows = [LabelRow(2, "1.1", ("1", "")), LabelRow(3, "1.1", ("1", "maybe"))]
    matched, told = match(rows, "instance", FakeIndex([facts("1.1")]), task=task,
                          label_values=table)  # fmt: skip
    assert matched[0].label == (1, -1)
    assert told == [("E_LABEL_UNMAPPED", 3)]


def test_an_unknown_word_for_a_split_costs_its_line() -> None:
    _, told = match([LabelRow(2, "1.1", ("0",), split="fold3")], "instance",
                    FakeIndex([facts("1.1")]))  # fmt: skip
    assert told == [("E_SPLIT_VALUE", 2)]


def test_without_a_patient_id_anywhere_the_line_is_refused() -> None:
    index = FakeIndex([facts("1.1", patient_id=" ")])
    assert codes_of("1.1", "instance", index) == ["E_PATIENT_MISSING"]
    matched, told = match([LabelRow(2, "1.1", ("0",), patient="x")], "instance", index)
    assert (matched[0].patient, told) == ("x", [])


def test_where_the_unit_is_the_image_its_id_or_its_uid_stands_for_the_patient() -> None:
    index = FakeIndex([facts("1.1", patient_id="")])
    named, _ = match([LabelRow(2, "1.1", ("0",), image_id="17")], "instance", index, unit="image")
    assert (named[0].patient, named[0].patient_is_uid) == ("17", False)
    plain, _ = match([LabelRow(2, "1.1", ("0",))], "instance", index, unit="image")
    assert (plain[0].patient, plain[0].patient_is_uid) == ("1.1", True)


def test_a_study_of_two_patients_costs_its_images() -> None:
    index = FakeIndex([facts("1.1")], between=[Finding("E_STUDY_OF_TWO_PATIENTS", place="1.4")])
    assert codes_of("1.1", "instance", index) == ["E_STUDY_OF_TWO_PATIENTS"]
    first, *others = slices("1.5")
    mixed = FakeIndex([dataclasses.replace(first, patient_id="p2"), *others])
    assert codes_of("1.5", "series", mixed, cases="series") == ["E_STUDY_OF_TWO_PATIENTS"]


def masks_told(row: LabelRow, index: FakeIndex, folder: Path) -> tuple[list[MatchedCase], Told]:
    return match([row], "series", index, task=SEGMENT, cases="series",
                 labels_file=str(folder / "labels.csv"))  # fmt: skip


@pytest.mark.parametrize(
    ("modality", "referenced", "outcome"),
    [
        ("SEG", "1.5", "dicom-seg"),
        ("SEG", "1.6\\1.5", "dicom-seg"),
        ("SEG", "", "dicom-seg"),
        ("RTSTRUCT", "1.5", "rtstruct"),
        ("SEG", "1.6", "E_MASK_REFERENCE"),
        ("CT", "1.5", "E_MASK_UNREADABLE"),
    ],
)
def test_a_mask_of_the_index_fits_its_series(
    modality: str, referenced: str, outcome: str, tmp_path: Path
) -> None:
    seg = facts("7.1", "7", modality=modality, referenced_series=referenced)
    index = FakeIndex([*slices("1.5"), seg])
    row = LabelRow(2, "1.5", seg_sop_instance_uid="7.1")
    matched, told = masks_told(row, index, tmp_path)
    mask = matched[0].mask if matched else None
    assert (mask.kind if mask else told[0][0]) == outcome
    by_path, _ = masks_told(LabelRow(2, "1.5", mask_path="7.1.dcm"), index, tmp_path)
    assert [one.mask for one in by_path] == [one.mask for one in matched]


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("m.nii.gz", "volume"),
        ("sub/m.PNG", "picture"),
        ("gone.nii.gz", "E_MASK_NOT_FOUND"),
        ("gone.dcm", "E_MASK_NOT_FOUND"),
        ("sub/m.bmp", "E_MASK_UNREADABLE"),
        ("sub/m.tiff", "E_MASK_UNREADABLE"),
        ("sub/m.JPG", "E_MASK_UNREADABLE"),
        ("", "E_MASK_NOT_FOUND"),
        ("../m.nii.gz", "E_PATH_ESCAPES"),
        ("/m.nii.gz", "E_PATH_ESCAPES"),
    ],
)
def test_a_mask_beside_the_label_file_stays_below_its_folder(
    path: str, outcome: str, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("m.nii.gz", "sub/m.PNG", "sub/m.bmp", "sub/m.tiff", "sub/m.JPG"):
        (tmp_path / name).write_bytes(b"mask")
    row = LabelRow(2, "1.5", mask_path=path)
    matched, told = masks_told(row, FakeIndex(slices("1.5")), tmp_path)
    mask = matched[0].mask if matched else None
    assert (mask.kind if mask else told[0][0]) == outcome


def test_two_masks_of_one_line_are_ambiguous(tmp_path: Path) -> None:
    row = LabelRow(2, "1.5", mask_path="a.nii", seg_sop_instance_uid="7.1")
    assert masks_told(row, FakeIndex(slices("1.5")), tmp_path)[1] == [("E_LABEL_AMBIGUOUS", 2)]


def test_no_finding_of_a_line_quotes_what_stands_there() -> None:
    rows = [LabelRow(2, "NEEDLE", ("NEEDLE",)), LabelRow(3, "NEEDLE", ("0",), split="NEEDLE")]
    table = LabelTable("accession", tuple(rows))
    _, findings = match_rows(table, registered(), FakeIndex([]))
    assert "NEEDLE" not in repr(findings) + repr(rows) + "".join(one.place for one in findings)
