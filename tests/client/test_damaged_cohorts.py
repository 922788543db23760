"""`fedward-site cohort ...` where a file is damaged, and names that are taken."""

from pathlib import Path

import pytest
from tests.client.cohorts.dicom_hospital import ID, Hospital, make_hospital, read_json
from tests.client.conftest import Site

from fedward_client.cohorts.cohort_file import SourceSettings, write_cohort_file
from fedward_client.cohorts.registered.excluded_patients import excluded_patients
from fedward_client.cohorts.registered.snapshot_store import snapshot_numbers
from fedward_client.site_home import SiteHome, create_site_home

FILES = SourceSettings(source="arrays", path="/a.npz", manifest="/a.csv")


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return make_hospital(tmp_path)


def damage_snapshot(hospital: Hospital, name: str) -> None:
    path = hospital.home / "cohorts" / name / "snapshots" / "1.json"
    path.chmod(0o600)
    path.write_bytes(b"{}")


def home_arguments(hospital: Hospital) -> list[str]:
    return ["--home", str(hospital.home)]


def test_a_damaged_newest_snapshot_is_followed_by_the_next(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments())
    damage_snapshot(hospital, "chest")
    told = site(["cohort", "report", "chest", *home_arguments(hospital)])
    assert told.code == 1
    assert "cohort update" in told.err
    ended = site(["cohort", "update", "chest", *home_arguments(hospital), "--json"])
    assert ended.code == 0, ended.err
    assert read_json(ended.out)["snapshot"] == "chest@2"
    assert snapshot_numbers(SiteHome(hospital.home), "chest") == (1, 2)


def test_list_shows_damage_in_its_row_and_the_other_cohorts(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    for name in ("one", "two", "three"):
        site(hospital.add_arguments(name))
    damage_snapshot(hospital, "one")
    (hospital.home / "cohorts" / "three" / "cohort.toml").write_text("nonsense")
    ended = site(["cohort", "list", *home_arguments(hospital), "--json"])
    assert ended.code == 0, ended.err
    rows = {row["name"]: row for row in read_json(ended.out)["cohorts"]}
    assert {name: row["damaged"] for name, row in rows.items()} == {
        "one": True,
        "two": False,
        "three": True,
    }
    assert rows["two"]["cases"] == 12
    assert site(["cohort", "list", *home_arguments(hospital)]).out.count("damaged") == 2


def test_exclude_says_at_the_end_what_it_could_not_read(site: Site, hospital: Hospital) -> None:
    hospital.patients(range(12))
    site(hospital.add_arguments("one"))
    site(hospital.add_arguments("two"))
    damage_snapshot(hospital, "one")
    ids = hospital.folder / "ids.txt"
    ids.write_text(f"{ID}3\n")
    ended = site(["cohort", "exclude", "--patients", str(ids), *home_arguments(hospital)])
    assert ended.code == 1
    assert "1 patients named" in ended.out
    assert "one@1" in ended.error
    assert ID not in ended.out + ended.err
    assert len(excluded_patients(SiteHome(hospital.home))) == 1


def test_exclude_tells_how_many_other_ids_the_same_person_has(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(12))
    hospital.add_image(30, PatientName="NEEDLENAME3^ANNA", PatientSex="F")
    site(hospital.add_arguments())
    ids = hospital.folder / "ids.txt"
    ids.write_text(f"{ID}3\n")
    ended = site(["cohort", "exclude", "--patients", str(ids), *home_arguments(hospital)])
    assert ended.code == 0, ended.err
    assert "1 other patient id" in ended.out
    assert ID not in ended.out


def test_a_name_that_a_list_of_files_has_is_taken(site: Site, hospital: Hospital) -> None:
    home = create_site_home(hospital.home, split_key=bytes(32))
    write_cohort_file(home.cohorts / "Chest.toml", [FILES])
    hospital.patients(range(2))
    ended = site(hospital.add_arguments("chest"))
    assert ended.code == 2
    assert "Chest.toml" in ended.error
    assert not (home.cohorts / "chest").exists()
