"""`fedward-site cohort add` and `update` on small DICOM hospitals made on the fly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.client.cohort_answers import snapshot, told
from tests.client.cohorts.dicom_hospital import (
    TASK_FINDINGS,
    TASK_MASKS,
    Hospital,
    make_hospital,
    read_json,
    uid,
)
from tests.client.conftest import Site

from fedward_client.cohorts.registered.registration import read_registration
from fedward_client.cohorts.registered.snapshot_store import snapshot_numbers
from fedward_client.site_home import SiteHome


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return make_hospital(tmp_path)


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
