"""Masks whose segments have other numbers in each patient, told by name through a whole cohort."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.cohorts.registered_cohorts import (
    PoolInProcess,
    home_in,
    register,
    settings_of,
    uid_of,
    write_image,
)
from tests.client.cohorts.small_cohorts import DATA, KEY
from tests.client.dicom.made_masks import made_seg

from fedward_client.cohorts.cache.native_cache import open_native_cache
from fedward_client.cohorts.cache.native_decoding import decode_cases
from fedward_client.cohorts.index.folder_scan import FolderStore
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_client.site_home import SiteHome
from fedward_common.job.job_file import TaskClass, TaskSection

ORGANS = TaskSection(
    "segmentation", (TaskClass(0, "background"), TaskClass(1, "liver"), TaskClass(2, "spleen"))
)
TOLD = {
    "LIVER": "liver",
    "spleen": "spleen",
    "body": "exclude",
    "unclear": "not annotated",
}
NAMES = ("Liver", "Spleen", "BODY", "unclear")


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)


def write_case(folder: Path, number: int) -> dict[str, str]:
    """Write an image and a SEG in which the four have other numbers than in the case before."""
    from pydicom import dcmread

    pixels = np.arange(80, dtype=np.uint16).reshape(8, 10)
    locator = write_image(
        folder, number, pixels, Modality="CT", FrameOfReferenceUID=uid_of(number, 4),
        ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[1.0, 1.0], SliceThickness=1.0, StudyDate="", StudyTime="", StudyID="",
        AccessionNumber="", ReferringPhysicianName="", PatientBirthDate="", PatientSex="",
    )  # fmt: skip
    order = [(one + number) % 4 for one in range(4)]
    planes = np.zeros((1, 8, 10, 4), dtype=np.uint8)
    for place, one in enumerate(order):
        planes[0, ..., place] = parts()[one]
    seg = made_seg(
        [dcmread(folder / locator)], planes,
        labels={place + 1: NAMES[one] for place, one in enumerate(order)},
    )  # fmt: skip
    seg.save_as(folder / f"seg{number}.dcm")
    return {"file": locator, "seg_sop_instance_uid": str(seg.SOPInstanceUID), "split": "train"}


def parts() -> list[Any]:
    """Liver, spleen, a body around both, and a corner that nobody is sure of."""
    found = [np.zeros((8, 10), dtype=np.uint8) for _ in range(4)]
    found[0][1:3] = found[1][4:6] = found[2][1:7] = found[3][7:] = 1
    return found


def cohort_in(folder: Path, **told: str) -> tuple[SiteHome, Any]:
    rows = [write_case(folder / "dicom", number) for number in range(3)]
    home = home_in(folder / "home")
    return home, register(home, folder / "dicom", rows, task=ORGANS, label_values=told)


def view_of(folder: Path, home: SiteHome, task: TaskSection = ORGANS) -> JobView:
    settings = settings_of(home, max_excluded_share=0.9)
    return prepare_job_view(folder / "cache", [settings], task, DATA, KEY)


def test_segments_mean_the_same_whatever_their_numbers(tmp_path: Path) -> None:
    home, _ = cohort_in(tmp_path, **TOLD)
    view = view_of(tmp_path, home)
    expected = np.zeros((8, 10), dtype=np.uint8)
    expected[1:3], expected[4:6], expected[7:] = 1, 2, 255
    assert view.masks is not None and view.exclusions == {}
    np.testing.assert_array_equal(view.masks, [expected] * 3)


def test_the_classes_of_a_job_may_stand_in_another_order(tmp_path: Path) -> None:
    home, _ = cohort_in(tmp_path, **TOLD)
    classes = (TaskClass(0, "background"), TaskClass(1, "spleen"), TaskClass(2, "liver"))
    view = view_of(tmp_path, home, TaskSection("segmentation", classes))
    assert view.masks is not None
    assert (view.masks[:, 1:3] == 2).all() and (view.masks[:, 4:6] == 1).all()


def test_a_segment_that_nobody_told_costs_its_case_by_code(tmp_path: Path) -> None:
    told = {key: value for key, value in TOLD.items() if key != "body"}
    home, snapshot = cohort_in(tmp_path, **told)
    store = FolderStore(tmp_path / "dicom")
    outcomes = decode_cases(
        open_native_cache(home),
        snapshot.cases,
        store,
        PoolInProcess(),  # type: ignore[arg-type]
    )
    assert [one.code for one in outcomes] == ["E_LABEL_UNMAPPED"] * 3


def test_another_mapping_is_another_snapshot_and_decoded_anew(tmp_path: Path) -> None:
    home, first = cohort_in(tmp_path, **TOLD)
    view_of(tmp_path, home)
    rows = [
        {"file": f"i{n}.dcm", "seg_sop_instance_uid": _seg_of(tmp_path, n), "split": "train"}
        for n in range(3)
    ]
    told = {**TOLD, "unclear": "exclude"}
    second = register(home, tmp_path / "dicom", rows, task=ORGANS, label_values=told)
    assert (first.number, second.number) == (1, 2)
    masks = view_of(tmp_path, home).masks
    assert masks is not None and set(np.unique(masks)) == {0, 1, 2}


def _seg_of(folder: Path, number: int) -> str:
    from pydicom import dcmread

    return str(dcmread(folder / "dicom" / f"seg{number}.dcm").SOPInstanceUID)
