"""`fedward-site cohort ...` on small DICOM hospitals made on the fly."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.cohorts.dicom_hospital import (
    ID,
    TASK_FINDINGS,
    TASK_MASKS,
    Hospital,
    make_hospital,
    read_json,
    uid,
)
from tests.client.conftest import Site

from fedward_client.cohorts.registered.registration import read_registration
from fedward_client.cohorts.registered.snapshot_store import read_snapshot, snapshot_numbers
from fedward_client.site_home import SiteHome


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return make_hospital(tmp_path)


def snapshot(hospital: Hospital, name: str = "chest") -> Any:
    return read_snapshot(SiteHome(hospital.home), name)


def told(site: Site, hospital: Hospital, command: str, *more: str, code: int = 0) -> Any:
    ended = site(["cohort", command, *more, "--home", str(hospital.home), "--json"])
    assert ended.code == code, ended.err
    return read_json(ended.out)


# -- add and update --------------------------------------------------------------------------------


def test_add_makes_the_first_snapshot_from_headers_alone(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    hospital.label(sop_instance_uid="9.9", label="0")
    ended = site([*hospital.add_arguments(), "--json"])
    assert ended.code == 0, ended.err
    summary = read_json(ended.out)
    assert (summary["snapshot"], summary["cases"], summary["units"]) == ("chest@1", 12, 12)
    assert summary["lines"] == {"E_INSTANCE_NOT_FOUND": 1}
    assert summary["first_lines"] == {"E_INSTANCE_NOT_FOUND": [14]}
    assert not any((hospital.home / "cache").iterdir())
    assert {one.label for one in snapshot(hospital).cases} == {0, 1}


def test_everything_a_site_keeps_is_for_its_owner_alone(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    assert site(hospital.add_arguments()).code == 0
    assert site(["cohort", "check", "chest", "--home", str(hospital.home)]).code == 0
    folders = [path for path in hospital.home.rglob("*") if path.is_dir()]
    ours = (hospital.home / "cohorts").rglob("*")
    for path in [hospital.home, *folders, *hospital.home.glob("*"), *ours]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_name_of_a_file_names_a_patient(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments())
    site(["cohort", "check", "chest", "--home", str(hospital.home)])
    site(["cohort", "report", "chest", "--home", str(hospital.home)])
    for path in hospital.home.rglob("*"):
        assert "NEEDLE" not in path.name
        is_report = "reports" in path.parts or path.name == "excluded_patients.json"
        if path.is_file() and is_report:
            assert b"NEEDLE" not in path.read_bytes()


def test_update_makes_a_snapshot_only_if_something_changed(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments())
    assert told(site, hospital, "update", "chest")["is_new"] is False
    hospital.patients([12])
    hospital.write_labels()
    summary = told(site, hospital, "update", "chest")
    assert (summary["snapshot"], summary["is_new"], summary["cases"]) == ("chest@2", True, 13)
    assert len(snapshot(hospital, "chest@1").cases) == 12


def test_a_new_label_and_a_new_mapping_are_changes(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments("chest", "--map", "0=normal", "--map", "1=finding"))
    hospital.rows[0]["label"] = "1"
    hospital.write_labels()
    assert told(site, hospital, "update", "chest")["snapshot"] == "chest@2"
    settings = hospital.home / "cohorts" / "chest" / "cohort.toml"
    settings.write_text(settings.read_text().replace('1 = "finding"', '1 = "not annotated"'))
    assert told(site, hospital, "update", "chest")["snapshot"] == "chest@3"
    assert {one.label for one in snapshot(hospital).cases} == {0, -1}


def test_a_folder_that_is_gone_or_empty_leaves_the_snapshot_as_it_was(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments())
    hospital.dicom.rename(hospital.folder / "elsewhere")
    ended = site(["cohort", "update", "chest", "--home", str(hospital.home)])
    assert ended.code == 1
    assert "is no folder" in ended.error
    hospital.dicom.mkdir()
    ended = site(["cohort", "update", "chest", "--home", str(hospital.home)])
    assert ended.code == 1
    assert "is empty, and the index knows files there" in ended.error
    hospital.dicom.rmdir()
    (hospital.folder / "elsewhere").rename(hospital.dicom)
    assert told(site, hospital, "update", "chest")["is_new"] is False


def test_an_add_that_was_killed_goes_on(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    arguments = hospital.add_arguments()
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_BEFORE_THE_SNAPSHOT, *arguments],
        capture_output=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == 9
    assert snapshot_numbers(SiteHome(hospital.home), "chest") == ()
    assert told(site, hospital, "update", "chest")["snapshot"] == "chest@1"


_KILLED_BEFORE_THE_SNAPSHOT = """
import os
from fedward_client import cli
from fedward_client.cohorts.registered import cohort_work
cohort_work.write_snapshot = lambda *arguments: os._exit(9)
cli.main()
"""


def test_series_become_volumes_where_ct_is_keyed_by_series(site: Site, hospital: Hospital) -> None:
    for patient in range(3):
        hospital.label(series_instance_uid=hospital.add_series(patient), label="1")
    gap = hospital.add_series(3, places=(0, 1, 2, 4, 5))
    hospital.label(series_instance_uid=gap, label="0")
    summary = read_json(site([*hospital.add_arguments(), "--json"]).out)
    assert (summary["cases_are"], summary["cases"]) == ("series", 3)
    assert summary["lines"] == {"E_MISSING_SLICE": 1}
    registration = read_registration(SiteHome(hospital.home), "chest")
    assert registration.cases == "series"


def test_a_study_of_several_series_is_ambiguous_and_an_accession_number_resolves(
    site: Site, hospital: Hospital
) -> None:
    for patient in range(2):
        hospital.add_series(patient)
        hospital.label(accession_number=f"NEEDLEACC{patient}x0", label="1")
    hospital.add_series(1, SeriesInstanceUID=f"{uid(1, 0)}.77")
    summary = read_json(site([*hospital.add_arguments(), "--json"]).out)
    assert (summary["cases"], summary["lines"]) == (1, {"E_LABEL_AMBIGUOUS": 1})


def test_a_multi_label_cohort_keeps_a_value_for_each_class(site: Site, hospital: Hospital) -> None:
    key = hospital.add_image(1)
    hospital.label(file=f"p{1}v0.dcm", effusion="1", MASS="")
    maps = ("--map", "1=present", "--map", "0=absent", "--map", "=not annotated")
    ended = site(hospital.add_arguments("chest", *maps, task=TASK_FINDINGS))
    assert ended.code == 0, ended.err
    assert key
    assert [one.label for one in snapshot(hospital).cases] == [(1, -1)]


def test_masks_beside_the_label_file_are_registered(site: Site, hospital: Hospital) -> None:
    series = hospital.add_series(1)
    (hospital.folder / "m.nii.gz").write_bytes(b"not looked at yet")
    hospital.label(series_instance_uid=series, mask_path="m.nii.gz")
    ended = site(hospital.add_arguments("chest", "--map", "3=organ", task=TASK_MASKS))
    assert ended.code == 0, ended.err
    made = snapshot(hospital)
    assert made.mask_values == ((0, 0), (3, 1))
    assert made.cases[0].mask.kind == "volume"
    (hospital.folder / "m.nii.gz").write_bytes(b"another mask")
    assert told(site, hospital, "update", "chest")["is_new"] is True


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--map", "0=nromal"], "no class"),
        (["--map", "0"], "'='"),
        (["--map", "0=normal", "--map", "0=finding"], "two things"),
        (["--column", "lable=x"], "no column"),
        (["--column", "label=wrong"], "no column"),
        (["--column", "label"], "'='"),
        (["--split-map", "a=holdout"], "holdout"),
        (["--spacing-mm", "1,2"], "1,2"),
        (["--spacing-mm", "0,0,0"], "spacing_mm"),
        (["--labels", "nowhere.csv"], "nowhere.csv"),
        (["--task", "nowhere.toml"], "nowhere.toml"),
        (["--dicom", "nowhere"], "no folder"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(
    site: Site, hospital: Hospital, more: list[str], word: str
) -> None:
    hospital.patients(range(2))
    ended = site(hospital.add_arguments("chest", *more))
    assert ended.code == 2
    assert word in ended.error + ended.err
    assert not hospital.home.exists()


def test_a_name_is_registered_once_in_whatever_case(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(2))
    assert site(hospital.add_arguments("chest")).code == 0
    ended = site(hospital.add_arguments("Chest"))
    assert ended.code == 2
    assert "registered already" in ended.error


def test_a_home_that_lost_its_key_gets_no_new_one(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(2))
    site(hospital.add_arguments("chest"))
    (hospital.home / "split.key").unlink()
    ended = site(hospital.add_arguments("other"))
    assert ended.code == 2
    assert "split.key is missing" in ended.error


# -- splits ----------------------------------------------------------------------------------------


def test_splits_stay_for_ever_in_every_cohort(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments("one"))
    first = {one.patient: one.split for one in snapshot(hospital, "one").cases}
    task = (hospital.folder / "job.toml").read_text()
    fractions = "[task.split]\ntrain = 0.0\nvalidation = 0.0\ntest = 1.0\n"
    site(hospital.add_arguments("two", task=task + fractions))
    assert {one.patient: one.split for one in snapshot(hospital, "two").cases} == first


def test_a_patient_of_training_is_not_moved_to_test_by_a_label_file(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(11), split="train")
    site(hospital.add_arguments())
    hospital.rows[4]["split"] = "test"
    hospital.write_labels()
    summary = told(site, hospital, "update", "chest")
    assert summary["lines"] == {"E_SPLIT_MOVED": 1}
    assert summary["splits"] == {"train": 10, "validation": 0, "test": 0}


# -- check -----------------------------------------------------------------------------------------


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


# -- exclude ---------------------------------------------------------------------------------------


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


# -- list and report -------------------------------------------------------------------------------


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
    assert refused.err.startswith("error: chest@1 has no usable case\nhint:")
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


# -- the command line ------------------------------------------------------------------------------


def test_without_a_home_there_is_nothing_to_list(site: Site, tmp_path: Path) -> None:
    ended = site(["cohort", "list", "--home", str(tmp_path / "none")])
    assert ended.code == 2
    assert "no home of a site" in ended.error


def test_the_home_may_come_from_the_environment(
    site: Site, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.patients(range(2))
    site(hospital.add_arguments())
    monkeypatch.setenv("FEDWARD_SITE_HOME", str(hospital.home))
    assert json.loads(site(["cohort", "list", "--json"]).out)["cohorts"]


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from fedward_client.cli import main\n"
        "sys.argv = ['fedward-site', 'cohort', 'add', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        "heavy = {'torch', 'flwr', 'monai', 'pydicom', 'highdicom', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "Example" in ended.stdout
