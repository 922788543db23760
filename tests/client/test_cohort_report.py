"""`fedward-site cohort list` and `report` on small DICOM hospitals made on the fly."""

from pathlib import Path

import pytest
from tests.client.cohort_answers import told
from tests.client.cohorts.dicom_hospital import Hospital, make_hospital
from tests.client.conftest import Site


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return make_hospital(tmp_path)


def test_list_shows_every_cohort_with_its_newest_snapshot(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments("one"))
    site(hospital.add_arguments("two"))
    rows = told(site, hospital, "list")["cohorts"]
    assert [(one["name"], one["snapshot"], one["units"]) for one in rows] == [
        ("one", "one@1", 12),
        ("two", "two@1", 12),
    ]
    assert "two@1" in site(["cohort", "list", "--home", str(hospital.home)]).out


def test_a_report_is_frozen_until_ten_patients_came_or_went(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(52))
    site(hospital.add_arguments())
    first = told(site, hospital, "report", "chest")
    assert first["units"] == 50
    assert first["tables"]["sex"]["F"] == first["tables"]["sex"]["M"] == "20 to 49"
    assert first["tables"]["manufacturer"] == {"Siemens": "50 to 99"}
    path = hospital.home / "shown_reports/1.json"
    before = path.read_bytes()
    for patient in range(52, 61):
        hospital.patients([patient])
        hospital.write_labels()
        told(site, hospital, "update", "chest")
        assert told(site, hospital, "report", "chest") == first
    ended = site(["cohort", "report", "chest", "--home", str(hospital.home), "--json"])
    assert "this is the report of chest@1: a new one is made once 10 patients have" in ended.err
    assert path.read_bytes() == before
    hospital.patients([61])
    hospital.write_labels()
    told(site, hospital, "update", "chest")
    second = told(site, hospital, "report", "chest")
    assert second["units"] == 60
    assert told(site, hospital, "report", "chest@1") == first
    assert told(site, hospital, "report", "chest@10") == second  # 9 from the first, 1 from it


def test_a_cohort_of_nobody_has_a_local_report_alone(site: Site, hospital: Hospital) -> None:
    hospital.add_image(0)
    hospital.label(sop_instance_uid="9.9", label="0")
    assert site(hospital.add_arguments()).code == 0
    refused = site(["cohort", "report", "chest", "--home", str(hospital.home)])
    assert refused.code == 1
    assert refused.err.startswith("error: chest@1 has no usable case (E_COHORT_EMPTY)\nhint:")
    local = told(site, hospital, "report", "chest", "--local")
    assert local["flow"]["used"] == 0


def test_a_local_report_has_exact_counts_lines_and_advice(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    hospital.label(sop_instance_uid="9.9", label="0")
    site(hospital.add_arguments())
    report = told(site, hospital, "report", "chest", "--local")
    assert report["tables"]["sex"]["F"] == 6
    assert report["flow"]["quarantined"] == 1
    assert report["codes"][0]["lines"] == [14]
    assert report["codes"][0]["advice"]
    page = hospital.folder / "page.html"
    arguments = ["cohort", "report", "chest", "--home", str(hospital.home), "--html", str(page)]
    assert "hidden" in site(arguments).out
    assert "hidden" in page.read_text()
    assert "E_INSTANCE_NOT_FOUND" in site([*arguments, "--local"]).out
    assert "NEEDLE" not in page.read_text()
    assert "http" not in page.read_text().replace("http-equiv", "")


def test_free_text_of_a_header_is_in_no_report(site: Site, hospital: Hospital) -> None:
    for patient in range(20):
        key = hospital.add_image(
            patient, Manufacturer="NEEDLE Inc.", ManufacturerModelName="NEEDLE", Modality="NE"
        )
        hospital.label(sop_instance_uid=key, label="0")
    site(hospital.add_arguments())
    report = told(site, hospital, "report", "chest")
    assert report["tables"]["manufacturer"] == {"other": "20 to 49"}
    assert report["tables"]["modality"] == {"other": "20 to 49"}
