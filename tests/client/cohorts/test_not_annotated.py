"""Labels of several findings, and labels that nobody gave, from the manifest to the view."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.cohorts.small_cohorts import (
    CLASSIFY,
    DATA,
    KEY,
    KINDS,
    SEGMENT,
    Format,
    mask,
    npy_bytes,
    pixels,
    write_cohort,
    write_manifest,
)

from fedward_client.cohorts.cohort_file import (
    ColumnsSection,
    SourceKind,
    SourceSettings,
    read_cohort_file,
    write_cohort_file,
)
from fedward_client.cohorts.cohort_report import cohort_report
from fedward_client.cohorts.labels import LabelMap
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.errors import CohortError, ConfigurationError
from fedward_common.job.job_file import TaskClass, TaskSection

FINDINGS = TaskSection(
    "classification", (TaskClass(0, "effusion"), TaskClass(1, "nodule")), multi_label=True
)
CHEXPERT: dict[str, str | int] = {
    "1.0": 1,
    "0.0": "absent",
    "-1.0": "not annotated",
    "": "not annotated",
    "x": "exclude",
}


def view_of(folder: Path, task: TaskSection, *sources: SourceSettings) -> JobView:
    return prepare_job_view(folder / "cache", sources, task, DATA, KEY)


def findings_cohort(
    folder: Path,
    cells: Sequence[tuple[str, str]],
    columns: Sequence[str] = ("effusion", "nodule"),
    **settings: Any,
) -> SourceSettings:
    """One image a patient, all but the last two for training."""
    files = {f"i{number}": npy_bytes(pixels(number)) for number in range(len(cells))}
    path = Format("arrays", folder).store(files)
    splits = ["train"] * (len(cells) - 2) + ["validation", "test"]
    rows: list[Mapping[str, str]] = [
        {"file": f"i{n}", "patient": f"SECRET-{n}", "split": splits[n]}
        | dict(zip(columns, pair, strict=True))
        for n, pair in enumerate(cells)
    ]
    manifest = write_manifest(folder / "manifest.csv", rows)
    return SourceSettings(source="arrays", path=str(path), manifest=str(manifest), **settings)


def refusal_of(labels: LabelMap, value: str) -> str:
    with pytest.raises(UnusableCaseError) as caught:
        labels.class_of(value)
    return caught.value.code


def test_a_table_says_once_what_a_value_means_of_any_finding() -> None:
    labels = LabelMap(CHEXPERT, FINDINGS)
    assert labels.labels_of_cells(["1.0", "0.0", "-1.0", ""]) == (
        1,
        0,
        NOT_ANNOTATED,
        NOT_ANNOTATED,
    )
    assert refusal_of(labels, "x") == "EXCLUDED_BY_LABEL"
    for value in ("1", "present", "2.0"):
        assert refusal_of(labels, value) == "E_LABEL_UNMAPPED"
    with pytest.raises(UnusableCaseError, match="E_LABEL_UNMAPPED"):
        labels.labels_of_cells(["1.0", "?"])


def test_without_a_table_a_finding_is_1_0_present_or_absent_and_nothing_is_guessed() -> None:
    labels = LabelMap({}, FINDINGS)
    assert labels.labels_of_cells(["1", "0", "present", "absent"]) == (1, 0, 1, 0)
    for value in ("", "yes", "true", "1.0", "-1", "not annotated", "effusion"):
        assert refusal_of(labels, value) == "E_LABEL_VALUE"


@pytest.mark.parametrize("target", ["effusion", "presnt", 2, -1, "not anotated", ""])
def test_a_finding_is_mapped_to_nothing_but_presence(target: str | int) -> None:
    with pytest.raises(ConfigurationError, match=r"labels\.v") as caught:
        LabelMap({"v": target}, FINDINGS)
    assert "present" in caught.value.hint


def test_a_class_that_is_not_annotated_is_none_of_the_classes() -> None:
    labels = LabelMap({"a": "normal", "u": "not annotated"}, CLASSIFY)
    assert (labels.class_of("a"), labels.class_of("u")) == (0, NOT_ANNOTATED)
    assert refusal_of(labels, "") == "E_LABEL_UNMAPPED"


def test_voxels_of_a_value_that_is_not_annotated_are_neither_class_nor_background() -> None:
    labels = LabelMap({"1": "organ", "9": "not annotated"}, SEGMENT)
    found = labels.mask_of(np.array([[0, 1], [9, 9]], dtype=np.int16))
    np.testing.assert_array_equal(found, [[0, 1], [NOT_ANNOTATED_VOXEL] * 2])
    with pytest.raises(UnusableCaseError, match="E_MASK_VALUE"):
        LabelMap({}, SEGMENT).mask_of(np.array([[0, NOT_ANNOTATED_VOXEL]]))


def test_findings_stand_in_the_view_a_column_a_class(tmp_path: Path) -> None:
    cells = [("1.0", "0.0"), ("", "1.0"), ("-1.0", ""), ("0.0", "0.0"), ("1.0", "1.0")]
    view = view_of(tmp_path, FINDINGS, findings_cohort(tmp_path, cells, labels=CHEXPERT))
    assert view.labels.dtype == np.int8
    assert view.labels.tolist() == [[1, 0], [-1, 1], [-1, -1], [0, 0], [1, 1]]
    assert (view.masks, view.num_partly_annotated) == (None, 2)


def test_a_patient_without_any_label_neither_trains_nor_is_counted_as_one_who_does(
    tmp_path: Path,
) -> None:
    cells = [("1", "0"), ("u", "1"), ("u", "u"), ("0", "u"), ("u", "u")]
    table = {"1": 1, "0": 0, "u": "not annotated"}
    view = view_of(tmp_path, FINDINGS, findings_cohort(tmp_path, cells, labels=table))
    assert sorted(int(group[0]) for group in view.cases_by_patient("train")) == [0, 1]
    assert (view.num_cases("train"), view.num_patients("train")) == (3, 2)
    assert (view.num_cases("test"), view.num_patients("test")) == (1, 0)


def test_the_report_counts_each_finding_and_who_has_no_label(tmp_path: Path) -> None:
    cells = [("1", "0"), ("u", "1"), ("u", "u"), ("0", "u"), ("u", "u")]
    table = {"1": 1, "0": 0, "u": "not annotated"}
    view = view_of(tmp_path, FINDINGS, findings_cohort(tmp_path, cells, labels=table))
    report = cohort_report(view, FINDINGS)
    assert report["classes"]["train"] == {"effusion": 1, "nodule": 1}
    assert report["findings"]["train"] == {
        "effusion": {"present": 1, "absent": 0, "not_annotated": 2},
        "nodule": {"present": 1, "absent": 1, "not_annotated": 1},
    }
    assert report["not_annotated"] == {"train": 1, "validation": 0, "test": 1}
    assert report["partly_annotated"] == 4


def test_unmapped_and_excluded_findings_are_counted_by_code_and_line(tmp_path: Path) -> None:
    cells = [("1.0", "0.0"), ("2.0", "0.0"), ("1.0", "x"), ("0.0", "0.0"), ("0.0", "1.0")]
    settings = findings_cohort(tmp_path, cells, labels=CHEXPERT, max_excluded_share=0.5)
    view = view_of(tmp_path, FINDINGS, settings)
    assert view.exclusions == {"EXCLUDED_BY_LABEL": 1, "E_LABEL_UNMAPPED": 1}
    assert view.excluded_lines["E_LABEL_UNMAPPED"] == ((0, 3),)
    assert view.labels.tolist() == [[1, 0], [0, 0], [0, 1]]


def test_an_empty_cell_that_no_table_maps_is_refused(tmp_path: Path) -> None:
    settings = findings_cohort(tmp_path, [("1", ""), ("0", "1"), ("", ""), ("1", "1")])
    with pytest.raises(CohortError, match="E_LABEL_VALUE 2") as caught:
        view_of(tmp_path, FINDINGS, settings)
    assert caught.value.code == "E_TOO_MANY_EXCLUDED"


def test_a_cohort_that_nobody_annotated_is_a_view_without_patients(tmp_path: Path) -> None:
    settings = findings_cohort(tmp_path, [("", "")] * 3, labels=CHEXPERT)
    view = view_of(tmp_path, FINDINGS, settings)
    splits = ("train", "validation", "test")
    assert [view.num_patients(split) for split in splits] == [0, 0, 0]  # type: ignore[arg-type]  # Literals
    assert [view.num_cases(split) for split in splits] == [1, 1, 1]  # type: ignore[arg-type]  # Literals


def test_columns_may_have_other_names_than_the_classes(tmp_path: Path) -> None:
    settings = _with_columns(tmp_path, ColumnsSection(labels={"nodule": "Knoten, links"}))
    assert view_of(tmp_path, FINDINGS, settings).labels.tolist() == [[1, 0]] * 3
    file = tmp_path / "main.toml"
    write_cohort_file(file, [settings])
    assert read_cohort_file(file) == (settings,)


def _with_columns(folder: Path, columns: ColumnsSection) -> SourceSettings:
    made = findings_cohort(folder, [("1", "0")] * 3, columns=("effusion", "Knoten, links"))
    return SourceSettings(
        source=made.source, path=made.path, manifest=made.manifest, columns=columns
    )


@pytest.mark.parametrize(
    ("labels", "named"),
    [({"nodul": "effusion"}, "nodul"), ({"nodule": "gone"}, "gone"), ({}, "nodule")],
)
def test_a_class_without_its_column_and_a_column_without_its_class_are_named(
    tmp_path: Path, labels: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        view_of(tmp_path, FINDINGS, _with_columns(tmp_path, ColumnsSection(labels=labels)))
    assert caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_of_no_known_class_stays_and_is_left_out_of_training(
    kind: SourceKind, tmp_path: Path
) -> None:
    table = {"0": "normal", "1": "pneumonia", "unsure": "not annotated"}
    settings = write_cohort(kind, tmp_path, changes={1: {"label": "unsure"}}, labels=table)
    view = view_of(tmp_path, CLASSIFY, settings)
    assert view.labels.tolist() == [0, -1, 0, 1, 0, 1]
    assert (view.num_cases("train"), view.num_patients("train")) == (4, 3)
    report = cohort_report(view, CLASSIFY)
    assert report["classes"]["train"] == {"normal": 2, "pneumonia": 1}
    assert (report["not_annotated"]["train"], report["findings"]) == (1, None)


def test_masks_keep_what_is_not_annotated_and_a_mask_of_nothing_else_counts_nowhere(
    tmp_path: Path,
) -> None:
    partly, nothing = mask(1) * 9, np.full_like(mask(2), 9)
    made = Format("arrays", tmp_path)
    extra = {"m1": made.encode(partly, is_mask=True), "m4": made.encode(nothing, is_mask=True)}
    table = {"1": "organ", "9": "not annotated"}
    view = view_of(
        tmp_path, SEGMENT, write_cohort("arrays", tmp_path, extra_files=extra, labels=table)
    )
    assert view.masks is not None
    np.testing.assert_array_equal(view.masks[1], mask(1) * NOT_ANNOTATED_VOXEL)
    assert view.labels.tolist() == [0, 0, 0, 0, -1, 0]
    assert view.num_partly_annotated == 2
    assert (view.num_cases("train"), view.num_patients("train")) == (4, 3)
    assert cohort_report(view, SEGMENT)["classes"]["train"] == {"background": 3, "organ": 2}
