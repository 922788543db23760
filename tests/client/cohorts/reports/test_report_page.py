"""Reports as a page, and of a snapshot whose files are others today."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.dicom_hospital import Hospital, make_hospital, read_json
from tests.client.conftest import Site

from fedward_client.cohorts.reports.report_page import page_of


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return make_hospital(tmp_path)


def report_of(site: Site, hospital: Hospital, name: str, *more: str) -> Any:
    ended = site(["cohort", "report", name, *more, "--home", str(hospital.home), "--json"])
    assert ended.code == 0, ended.err
    return read_json(ended.out)


def test_codes_of_a_local_report_are_one_table(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    hospital.label(sop_instance_uid="9.9", label="0")
    (hospital.dicom / "notes.txt").write_text("no image")
    site(hospital.add_arguments())
    page = page_of(report_of(site, hospital, "chest", "--local"))
    heads = ("code", "count", "lines", "meaning", "advice")
    assert "".join(f"<th>{one}</th>" for one in heads) in page
    assert page.count("<th>code</th>") == 1
    assert "<td>E_INSTANCE_NOT_FOUND</td><td>1</td><td>14</td>" in page
    assert "<td>E_NOT_DICOM</td><td>1</td><td>in the archive</td>" in page


def test_a_report_of_an_old_snapshot_takes_nothing_from_files_that_changed_since(
    site: Site, hospital: Hospital, tmp_path: Path
) -> None:
    for patient in range(30):
        key = hospital.add_image(patient, PixelSpacing=[0.5, 0.5])
        hospital.label(sop_instance_uid=key, label="0")
    site(hospital.add_arguments())
    for patient in range(30):
        hospital.add_image(patient, PixelSpacing=[0.25, 0.25], ImageComments="another size")
    site(["cohort", "update", "chest", "--home", str(hospital.home)])
    shutil.copytree(hospital.home, tmp_path / "other/home")  # in one home only one is ever shown
    old = report_of(site, hospital, "chest@1")
    new = report_of(site, replace(hospital, folder=tmp_path / "other"), "chest@2")
    assert new["spacing_mm"]["rows"]["50 %"] == 0.25
    assert old["spacing_mm"]["rows"]["50 %"] is None
    assert old["tables"]["transfer_syntax"] != new["tables"]["transfer_syntax"]
    local = report_of(site, hospital, "chest@1", "--local")
    assert local["tables"]["transfer_syntax"]["unknown"] == 30


def test_a_page_of_a_coordinator_lists_no_code(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(24))
    hospital.label(sop_instance_uid="9.9", label="0")
    for patient in range(12):
        content = (hospital.dicom / f"p{patient}v0.dcm").read_bytes()
        (hospital.dicom / f"copy{patient}.dcm").write_bytes(content)
    site(hospital.add_arguments())
    page = page_of(report_of(site, hospital, "chest"))
    assert "E_INSTANCE_NOT_FOUND" not in page
    assert "W_DUPLICATE_FILE" not in page
    assert "W_DUPLICATE_FILE" in page_of(report_of(site, hospital, "chest", "--local"))
