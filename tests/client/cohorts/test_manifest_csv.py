import os
from pathlib import Path

import pytest
from tests.client.cohorts.small_cohorts import CLASSIFY, SEGMENT

from fedward_client.cohorts import manifest_csv
from fedward_client.cohorts.cohort_file import ColumnsSection, SourceSettings
from fedward_client.cohorts.labels import LabelMap
from fedward_client.cohorts.manifest_cases import CaseColumns, read_case_table
from fedward_client.cohorts.manifest_csv import Manifest, read_manifest
from fedward_client.cohorts.source import Unit, UnusableCaseError
from fedward_common.errors import ConfigurationError


def manifest_of(folder: Path, content: str | bytes) -> Manifest:
    path = folder / "m.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_manifest(path)


def test_lines_are_counted_over_quoted_breaks_and_empty_lines(tmp_path: Path) -> None:
    found = manifest_of(tmp_path, '\ufefffile,note\r\na,"x\r\ny"\r\n\r\n b ,z\r\n')
    assert found.columns == ("file", "note")
    assert [(row.line, row.cells["file"]) for row in found.rows] == [(2, "a"), (5, "b")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no header"),
        ("file,label,file\na,0,b\n", "two columns of one name"),
        ("file,label\na,0\nb,0,1\n", "line 3: 3 cells"),
        ("file,label\na\n", "line 2: 1 cells"),
        ('file,label\na,"0\nb,1\n', "not readable as CSV"),
        ('file,label\na,"0"x\n', "not readable as CSV"),
        (b"file,label\n\xff,0\n", "not UTF-8"),
    ],
)
def test_a_broken_manifest_is_refused_whole(
    content: str | bytes, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        manifest_of(tmp_path, content)


def test_a_missing_and_a_huge_manifest_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_manifest(tmp_path / "nowhere.csv")
    monkeypatch.setattr(manifest_csv, "_MAX_BYTES", 10)
    with pytest.raises(ConfigurationError, match="bytes"):
        manifest_of(tmp_path, "file,label\na,0\n")


def test_a_missing_column_is_named_and_no_cell_of_line_1_is(tmp_path: Path) -> None:
    headless = "Schmidt^Anna,1957\nMaier^Otto,1960\n"  # line 1 is a patient
    with pytest.raises(ConfigurationError) as raised:
        manifest_of(tmp_path, headless).require_column("label", "labels")
    assert "'label'" in str(raised.value)
    assert "line 1 has 2 columns" in raised.value.hint
    assert "Schmidt" not in str(raised.value) + raised.value.hint
    with pytest.raises(ConfigurationError) as raised:
        manifest_of(tmp_path, "Schmidt^Anna,Schmidt^Anna\n")
    assert "Schmidt" not in str(raised.value) + raised.value.hint


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("file;label\r\na;0\r\n", ("file", "label")),
        ("file\tlabel\na\t0\n", ("file", "label")),
        ('file;"a, b, c";label\na;1,5;0\n', ("file", "a, b, c", "label")),
        ('"a;""b;c",file,label\n1,2,3\n', ('a;"b;c', "file", "label")),
        ('"two\nlines";file\na;b\n', ("two\nlines", "file")),
        ("file,label\na;b;c,0\n", ("file", "label")),
        ("file,a;b\nx,0\n", ("file", "a;b")),
        ("file\na\n", ("file",)),
    ],
)
def test_the_header_line_alone_decides_what_separates_the_columns(
    content: str, columns: tuple[str, ...], tmp_path: Path
) -> None:
    found = manifest_of(tmp_path, content)
    assert found.columns == columns
    assert len(found.rows) == 1


def test_a_line_with_another_separator_than_the_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="line 3: 1 cells"):
        manifest_of(tmp_path, "file;label\na;0\nb,1\n")


def test_a_pipe_is_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "m.csv")
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"file\na\n")  # the real one would hang
    with pytest.raises(ConfigurationError, match="no regular file"):
        read_manifest(tmp_path / "m.csv")


def test_a_filter_keeps_rows_where_all_columns_match(tmp_path: Path) -> None:
    found = manifest_of(tmp_path, "file,site,fold\na,A,1\nb,A,2\nc,B,1\n")
    assert [r.line for r in found.where({"site": "A", "fold": 1}).rows] == [2]
    with pytest.raises(ConfigurationError, match="'sites'"):
        found.where({"sites": "A"})


def table_of(
    folder: Path, content: str, columns: ColumnsSection, unit: Unit = "patient"
) -> CaseColumns:
    manifest_of(folder, content)
    settings = SourceSettings(
        source="volumes", path="/x", manifest=str(folder / "m.csv"), columns=columns, unit=unit
    )  # fmt: skip
    return read_case_table(settings, CLASSIFY).columns


def test_a_column_that_is_named_must_exist_and_a_usual_one_may_be_missing(tmp_path: Path) -> None:
    content = "file,label,patient\na,0,p\n"
    assert table_of(tmp_path, content, ColumnsSection()).split is None
    with pytest.raises(ConfigurationError, match="'fold'"):
        table_of(tmp_path, content, ColumnsSection(split="fold"))
    with_split = "file,label,patient,split\na,0,p,train\n"
    assert table_of(tmp_path, with_split, ColumnsSection(split="")).split is None


def test_without_patients_the_hint_names_the_image_as_unit(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        table_of(tmp_path, "file,label\na,0\n", ColumnsSection())
    assert 'unit = "image"' in raised.value.hint
    table_of(tmp_path, "file,label\na,0\n", ColumnsSection(), unit="image")


def test_labels_are_mapped_by_the_table_alone_where_there_is_one() -> None:
    labels = LabelMap({"0": "normal", "bad": 1, "?": "exclude"}, CLASSIFY)
    assert (labels.class_of("0"), labels.class_of("bad")) == (0, 1)
    for value, code in (
        ("1", "E_LABEL_UNMAPPED"),
        ("normal", "E_LABEL_UNMAPPED"),
        ("?", "EXCLUDED_BY_LABEL"),
    ):
        with pytest.raises(UnusableCaseError) as raised:
            labels.class_of(value)
        assert raised.value.code == code


def test_without_a_table_names_and_ids_of_the_task_are_understood() -> None:
    labels = LabelMap({}, CLASSIFY)
    assert [labels.class_of(v) for v in ("normal", "pneumonia", "0", "1")] == [0, 1, 0, 1]
    with pytest.raises(UnusableCaseError, match="E_LABEL_VALUE"):
        labels.class_of("2")


def test_a_table_cannot_name_a_class_that_the_task_does_not_have() -> None:
    with pytest.raises(ConfigurationError) as raised:
        LabelMap({"1": "pneumonai"}, CLASSIFY)
    assert "did you mean 'pneumonia'?" in raised.value.hint


def test_mask_values_are_mapped_and_others_refused() -> None:
    import numpy as np

    raw = np.array([[0, 255], [128, 0]], dtype=np.int16)
    labels = LabelMap({"255": "organ", "128": "background"}, SEGMENT)
    np.testing.assert_array_equal(labels.mask_of(raw), [[0, 1], [0, 0]])
    for other in (LabelMap({}, SEGMENT), LabelMap({"255": 1}, SEGMENT)):
        with pytest.raises(UnusableCaseError, match="E_MASK_VALUE"):
            other.mask_of(raw)
    with pytest.raises(UnusableCaseError, match="EXCLUDED_BY_LABEL"):
        LabelMap({"255": "organ", "128": "exclude"}, SEGMENT).mask_of(raw)
