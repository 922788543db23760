"""`fedward-site cohort check` and `exclude` on small DICOM hospitals made on the fly."""

import os
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohort_answers import snapshot, told
from tests.client.cohorts.dicom_hospital import ID, Hospital, make_hospital, uid
from tests.client.conftest import Site


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return make_hospital(tmp_path)


def test_check_quarantines_what_cannot_be_decoded_and_makes_the_next_snapshot(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(12))
    broken = hospital.dicom / "p3v0.dcm"
    hospital.add_image(3, name=broken.name, RescaleSlope="0", RescaleIntercept="0")
    site(hospital.add_arguments())
    assert len(snapshot(hospital, "chest@1").cases) == 12
    summary = told(site, hospital, "check", "chest")
    assert summary["lines"] == {"E_RESCALE_INVALID": 1}
    assert (summary["snapshot"], summary["cases"]) == ("chest@2", 11)
    listed = (hospital.home / "cohorts/chest/reports/quarantine.csv").read_text()
    assert "E_RESCALE_INVALID,5,p3v0.dcm" in listed
    assert told(site, hospital, "update", "chest")["is_new"] is False
    hospital.add_image(3, name=broken.name)
    summary = told(site, hospital, "check", "chest")
    assert (summary["snapshot"], summary["lines"]) == ("chest@3", {})


def test_equal_pixels_cost_both_where_they_stand_in_two_splits(
    site: Site, hospital: Hospital
) -> None:
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    hospital.patients(range(10), split="train")
    for patient, split in ((20, "train"), (21, "test"), (22, "train"), (23, "train")):
        same = pixels if patient < 22 else pixels + 1
        key = hospital.add_image(patient, pixels=same)
        hospital.label(sop_instance_uid=key, label="0", split=split)
    site(hospital.add_arguments())
    summary = told(site, hospital, "check", "chest")
    assert summary["lines"] == {"E_PIXELS_IN_TWO_SPLITS": 2, "W_PIXELS_TWICE": 1}
    assert summary["first_lines"]["W_PIXELS_TWICE"] == [15]
    assert summary["cases"] == 12


def test_check_ends_with_1_beyond_a_limit_and_says_everything_before(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(3))
    hospital.label(sop_instance_uid="9.9", label="0")
    assert site(hospital.add_arguments()).code == 0
    ended = site(["cohort", "check", "chest", "--home", str(hospital.home)])
    assert ended.code == 1
    assert "E_TOO_MANY_EXCLUDED, E_TOO_FEW_PATIENTS" in ended.error
    assert "E_INSTANCE_NOT_FOUND" in ended.out
    summary = told(site, hospital, "check", "chest", code=1)
    assert summary["limits_passed"] == ["E_TOO_MANY_EXCLUDED", "E_TOO_FEW_PATIENTS"]


def test_one_bad_file_of_every_kind_stops_nothing(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    content = (hospital.dicom / "p0v0.dcm").read_bytes()
    (hospital.dicom / "cut.dcm").write_bytes(content[:200])
    (hospital.dicom / "notes.txt").write_text("NEEDLE was here")
    (hospital.dicom / "copy.dcm").write_bytes(content)
    os.mkfifo(hospital.dicom / "pipe")
    (hospital.dicom / "loop").symlink_to("loop")
    site(hospital.add_arguments())
    summary = told(site, hospital, "check", "chest")
    assert summary["cases"] == 12
    assert summary["archive"]["W_DUPLICATE_FILE"] == 1
    assert summary["archive"]["E_NOT_A_FILE"] == 1
    assert summary["archive"]["E_NOT_DICOM"] == 1


def test_people_and_numbers_that_are_confused_are_told_without_their_names(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(12))
    hospital.add_image(30, PatientName="NEEDLENAME3^ANNA", PatientSex="F")
    hospital.add_image(31, AccessionNumber="NEEDLEACC5x0")
    hospital.add_image(32, StudyInstanceUID=uid(7, 0))
    site(hospital.add_arguments())
    summary = told(site, hospital, "check", "chest")
    assert summary["archive"] == {
        "E_STUDY_OF_TWO_PATIENTS": 1,
        "W_PATIENT_TWICE": 1,
        "W_SEVERAL_STUDIES": 1,
    }
    assert summary["lines"] == {"E_STUDY_OF_TWO_PATIENTS": 1}
    listed = (hospital.home / "cohorts/chest/reports/quarantine.csv").read_text()
    assert "p3v0.dcm | p30v0.dcm" in listed
    assert "NEEDLE" not in listed


def test_exclude_acts_on_all_cohorts_and_forgets_what_was_decoded(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments("one"))
    site(hospital.add_arguments("two", "--unit", "image"))
    told(site, hospital, "check", "one")
    ids = hospital.folder / "ids.csv"
    ids.write_text(f"PatientID\n{ID}3\n{ID}4\nNEEDLE-unknown\n")
    outcome = told(site, hospital, "exclude", "--patients", str(ids))
    assert (outcome["named"], outcome["unknown"]) == (3, 1)
    assert outcome["cases"] == {"one": 2, "two": 2}
    assert outcome["arrays_deleted"] == 2
    for name in ("one", "two"):
        summary = told(site, hospital, "update", name)
        assert (summary["snapshot"], summary["cases"]) == (f"{name}@2", 10)
        assert summary["lines"] == {"EXCLUDED_BY_REQUEST": 2}
    assert told(site, hospital, "exclude", "--patients", str(ids))["newly_excluded"] == 0
    kept = (hospital.home / "excluded_patients.json").read_text()
    assert "NEEDLE" not in kept
