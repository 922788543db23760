"""How a data manager goes on after something was lost or refused."""

from pathlib import Path

import pytest
from tests.client.cohort_answers import snapshot, told
from tests.client.cohorts.dicom_hospital import Hospital, make_hospital
from tests.client.conftest import Site

from fedward_client.cohorts.registered.snapshot_store import snapshot_numbers
from fedward_client.site_home import SiteHome


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    made = make_hospital(tmp_path)
    made.patients(range(12), split="train")
    made.patients(range(12, 16), split="test")
    return made


def test_a_lost_split_record_is_made_again_by_the_command_that_the_error_names(
    site: Site, hospital: Hospital
) -> None:
    site(hospital.add_arguments())
    record = hospital.home / "split_record.sqlite"
    record.unlink()
    home = ["--home", str(hospital.home)]
    lost = site(["cohort", "update", "chest", *home])
    assert lost.code == 1
    assert "split_record.sqlite is missing" in lost.error
    assert "fedward-site cohort rebuild-record" in lost.err.splitlines()[-1]
    refused = site(["cohort", "rebuild-record", *home])
    assert refused.code == 1
    assert "is forgotten" in refused.error
    assert "--yes" in refused.err.splitlines()[-1]
    assert not record.exists()
    made = told(site, hospital, "rebuild-record", "--yes")
    assert made["identities"] >= 16
    assert told(site, hospital, "update", "chest")["is_new"] is False
    for row in hospital.rows[:12]:
        row["split"] = "test"
    hospital.write_labels()
    moved = told(site, hospital, "update", "chest", "--yes")["lines"]
    assert moved == {"E_SPLIT_MOVED": 12}


def test_a_record_that_is_whole_comes_out_as_it_was(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments())
    first = told(site, hospital, "rebuild-record", "--yes")
    assert told(site, hospital, "rebuild-record", "--yes") == first
    text = site(["cohort", "rebuild-record", "--yes", "--home", str(hospital.home)]).out
    assert f"{first['identities']} identities" in text


def test_an_add_that_was_refused_after_its_scan_leaves_the_name_free(
    site: Site, hospital: Hospital
) -> None:
    again = hospital.add_image(0, 1)
    hospital.label(sop_instance_uid=again, label="0", split="train")
    refused = site(hospital.add_arguments("chest", "--unit", "image"))
    assert refused.code == 2
    assert "several images share a PatientID" in refused.error
    assert not (hospital.home / "cohorts" / "chest" / "cohort.toml").exists()
    assert told(site, hospital, "list")["cohorts"] == []
    assert site(hospital.add_arguments("chest")).code == 0
    assert len(snapshot(hospital).cases) == 17
    assert snapshot_numbers(SiteHome(hospital.home), "chest") == (1,)
