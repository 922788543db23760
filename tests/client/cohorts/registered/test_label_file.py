from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.small_cohorts import CLASSIFY, SEGMENT

from fedward_client.cohorts.registered.label_file import LabelTable, read_label_file
from fedward_client.cohorts.registered.registration import CohortRegistration, LabelColumns
from fedward_common.errors import ConfigurationError
from fedward_common.job.sections import TaskClass, TaskSection


def read(folder: Path, content: str | bytes, **others: Any) -> LabelTable:
    path = folder / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    values: dict[str, Any] = {
        "name": "c",
        "labels_file": str(path),
        "task": CLASSIFY,
        "cases": "images",
        "dicom_folder": str(folder),
    }
    return read_label_file(CohortRegistration(**(values | others)))


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("SOPInstanceUID", "instance"),
        ("sop_instance_uid", "instance"),
        ("SOP Instance UID", "instance"),
        ("SeriesInstanceUID", "series"),
        ("study_uid", "study"),
        ("Accession Number", "accession"),
        ("File", "file"),
    ],
)
def test_the_key_is_known_in_its_usual_spellings(header: str, kind: str, tmp_path: Path) -> None:
    table = read(tmp_path, f"{header},Label\nabc,1\n")
    assert table.key_kind == kind
    assert (table.rows[0].key, table.rows[0].labels) == ("abc", ("1",))


def test_of_several_keys_the_most_exact_counts_unless_one_is_named(tmp_path: Path) -> None:
    content = "study_uid,series_uid,label\n1,2,0\n"
    assert read(tmp_path, content).rows[0].key == "2"
    named = read(tmp_path, content, columns=LabelColumns(study_instance_uid="study_uid"))
    assert (named.key_kind, named.rows[0].key) == ("study", "1")


def test_a_byte_order_mark_and_blanks_do_not_matter(tmp_path: Path) -> None:
    table = read(tmp_path, b"\xef\xbb\xbf SOPInstanceUID , label \n 1.2 , 0 \n")
    assert (table.rows[0].key, table.rows[0].labels, table.rows[0].line) == ("1.2", ("0",), 2)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_may_be_separated_by_commas_semicolons_or_tabs(
    separator: str, tmp_path: Path
) -> None:
    table = read(tmp_path, "file,label,split\nx,0,test\n".replace(",", separator))
    assert (table.rows[0].key, table.rows[0].labels, table.rows[0].split) == ("x", ("0",), "test")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "no header"),
        ("NEEDLE\n1.2\n", "no column for images"),
        ("NEEDLE,label\n1.2,0\n", "no column for images"),
        ("file,NEEDLE\nx,0\n", "no column for labels"),
        ("file|label\nx|0\n", "no column for images"),
        ("file;label\nNEEDLE,0\n", "1 cells"),
        ("file,label,Label\nx,0,NEEDLE\n", "2 columns"),
        ("file,label\nNEEDLE,0,1\n", "3 cells"),
        ('file,label\n"NEEDLE,0\n', "CSV"),
        (b"file,label\n\xff\xfeNEEDLE,0\n", "UTF-8"),
        ("file,label\n1,0\n".encode("utf-16"), "UTF-8"),
    ],
)
def test_a_file_that_is_no_label_file_is_one_error_that_quotes_nothing(
    content: str | bytes, word: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=word) as raised:
        read(tmp_path, content)
    assert "NEEDLE" not in str(raised.value) + raised.value.hint
    assert raised.value.hint


def test_a_multi_label_task_has_a_column_for_each_class(tmp_path: Path) -> None:
    classes = (TaskClass(0, "Pleural effusion"), TaskClass(1, "Mass"))
    task = TaskSection("classification", classes, multi_label=True)
    content = "file,MASS,pleural_effusion,Tumour\nx,1,0,9\n"
    assert read(tmp_path, content, task=task).rows[0].labels == ("0", "1")
    named = read(tmp_path, content, task=task, class_columns={"Mass": "Tumour"})
    assert named.rows[0].labels == ("0", "9")
    with pytest.raises(ConfigurationError, match="no column for class 'Mass'"):
        read(tmp_path, "file,pleural effusion\nx,1\n", task=task)


def test_masks_need_a_column_of_paths_or_of_uids(tmp_path: Path) -> None:
    row = read(tmp_path, "file,mask_path\nx,m.nii\n", task=SEGMENT).rows[0]
    assert (row.mask_path, row.seg_sop_instance_uid, row.labels) == ("m.nii", "", ())
    row = read(tmp_path, "file,SegSOPInstanceUID\nx,1.2\n", task=SEGMENT).rows[0]
    assert (row.mask_path, row.seg_sop_instance_uid) == ("", "1.2")
    with pytest.raises(ConfigurationError, match="no column for masks"):
        read(tmp_path, "file,label\nx,0\n", task=SEGMENT)


def test_a_column_that_was_named_must_exist_and_an_empty_name_ignores_the_split(
    tmp_path: Path,
) -> None:
    content = "file,label,split\nx,0,fold7\n"
    assert read(tmp_path, content).rows[0].split == "fold7"
    assert read(tmp_path, content, columns=LabelColumns(split="")).rows[0].split == ""
    with pytest.raises(ConfigurationError, match="no column 'fold'"):
        read(tmp_path, content, columns=LabelColumns(split="fold"))


def test_each_unit_has_its_own_column(tmp_path: Path) -> None:
    content = "file,label,patient_id,lesion_id,image_id\nx,0,P,L,I\n"
    assert read(tmp_path, content).rows[0].patient == "P"
    assert read(tmp_path, content, unit="lesion").rows[0].patient == "L"
    image = read(tmp_path, content, unit="image").rows[0]
    assert (image.patient, image.image_id) == (None, "I")
    with pytest.raises(ConfigurationError, match="no column for lesions"):
        read(tmp_path, "file,label\nx,0\n", unit="lesion")


def test_a_hundred_thousand_lines_are_read_whole(tmp_path: Path) -> None:
    lines = "".join(f"1.2.{number},{number % 2},train\n" for number in range(100_000))
    table = read(tmp_path, f"sop_instance_uid,label,split\n{lines}")
    assert len(table.rows) == 100_000
    assert table.rows[-1].line == 100_001
