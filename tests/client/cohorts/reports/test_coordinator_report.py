"""One person with many images moves no number of a coordinator's report."""

from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.dicom_hospital import Hospital, make_hospital, read_json
from tests.client.conftest import Site

SOLO = 99
MAPS = ("--map", "0=normal", "--map", "1=finding", "--map", "out=exclude")


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return make_hospital(tmp_path)


def with_solo(hospital: Hospital, labels: list[str]) -> Hospital:
    """30 patients with one image each, and one with an image for each of `labels`."""
    for patient in range(30):
        key = hospital.add_image(patient, PixelSpacing=[0.25, 0.25])
        hospital.label(sop_instance_uid=key, label=str(patient % 2), split="train")
    for visit, label in enumerate(labels):
        key = hospital.add_image(SOLO, visit, PixelSpacing=[0.777, 0.777], SliceThickness=7.77)
        hospital.label(sop_instance_uid=key, label=label, split="train")
    return hospital


def report_of(site: Site, hospital: Hospital) -> Any:
    assert site(hospital.add_arguments("chest", *MAPS)).code == 0
    ended = site(["cohort", "report", "chest", "--home", str(hospital.home), "--json"])
    assert ended.code == 0, ended.err
    return read_json(ended.out)


def without_fingerprint(report: Any) -> Any:
    return {key: value for key, value in report.items() if key != "fingerprint"}


def test_sixty_images_of_one_patient_set_no_quantile(site: Site, hospital: Hospital) -> None:
    report = report_of(site, with_solo(hospital, ["0"] * 60))
    assert report["units"] == 30
    assert report["spacing_mm"]["rows"]["50 %"] == 0.25
    assert set(report["spacing_mm"]["slice_thickness"].values()) == {None}
    assert "0.78" not in str(report)


@pytest.mark.parametrize("lost", ["out", "unheard-of"])
def test_fifteen_lost_images_of_one_patient_show_nowhere(
    site: Site, tmp_path: Path, lost: str
) -> None:
    kept = report_of(site, with_solo(make_hospital(tmp_path / "kept"), ["0"]))
    some = report_of(site, with_solo(make_hospital(tmp_path / "some"), ["0"] + [lost] * 15))
    assert without_fingerprint(some) == without_fingerprint(kept)
    assert set(some["flow"].values()) == {None, 30}


def test_the_hospital_still_sees_the_exact_numbers(site: Site, hospital: Hospital) -> None:
    report_of(site, with_solo(hospital, ["0"] + ["out"] * 15 + ["unheard-of"] * 15))
    arguments = ["cohort", "report", "chest", "--local", "--home", str(hospital.home), "--json"]
    flow = read_json(site(arguments).out)["flow"]
    assert (flow["found"], flow["used"]) == (61, 31)
    assert (flow["excluded_by_label"], flow["quarantined"]) == (15, 15)
