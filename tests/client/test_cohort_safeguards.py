"""What `fedward-site cohort ...` does not do unless it is meant: splits are recorded for ever."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohort_answers import snapshot, told
from tests.client.cohorts.dicom_hospital import Hospital, make_hospital
from tests.client.conftest import Ended, Site

from fedward_client import cohort_commands
from fedward_client.cohort_confirmation import Confirmation
from fedward_client.cohorts.registered.registration import read_registration
from fedward_client.cohorts.registered.snapshot_store import snapshot_numbers
from fedward_client.site_home import SiteHome


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """12 patients of training, 4 of the test split."""
    made = make_hospital(tmp_path)
    made.patients(range(12), split="train")
    made.patients(range(12, 16), split="test")
    return made


def run(site: Site, hospital: Hospital, command: str, *more: str) -> Ended:
    return site(["cohort", command, *more, "--home", str(hospital.home)])


def split_all(hospital: Hospital, word: str, numbers: range) -> None:
    for number in numbers:
        hospital.rows[number]["split"] = word
    hospital.write_labels()


def kept_of(hospital: Hospital) -> dict[str, bytes]:
    """Give everything that a home keeps, the index and the locks left out."""
    return {
        str(path): path.read_bytes()
        for path in hospital.home.rglob("*")
        if path.is_file() and "index" not in path.name and "lock" not in path.name
    }


# -- update ----------------------------------------------------------------------------------------


def test_an_update_that_takes_patients_from_the_test_split_must_be_meant(
    site: Site, hospital: Hospital
) -> None:
    site(hospital.add_arguments())
    split_all(hospital, "train", range(12, 14))
    before = kept_of(hospital)
    refused = run(site, hospital, "update", "chest")
    assert refused.code == 1
    assert "2 patients leave the test split, for ever" in refused.error
    assert "the test split shrinks from 4 to 2" in refused.error
    assert "--yes" in refused.err.splitlines()[-1]
    assert kept_of(hospital) == before
    split_all(hospital, "test", range(12, 14))
    assert told(site, hospital, "update", "chest")["is_new"] is False  # nothing was recorded
    split_all(hospital, "train", range(12, 14))
    assert told(site, hospital, "update", "chest", "--yes")["splits"]["train"] == 14


def test_an_update_that_loses_more_than_a_tenth_of_the_patients_must_be_meant(
    site: Site, hospital: Hospital
) -> None:
    hospital.patients(range(20, 24), split="train")
    site(hospital.add_arguments())
    split_all(hospital, "test", range(2))  # 2 of 20 patients are no more than a tenth
    assert told(site, hospital, "update", "chest")["lines"] == {"E_SPLIT_MOVED": 2}
    split_all(hospital, "test", range(2, 4))
    assert run(site, hospital, "update", "chest").code == 1  # 2 of 18 are
    split_all(hospital, "test", range(2, 5))
    refused = run(site, hospital, "update", "chest")
    assert "3 of 18 patients would be lost" in refused.error
    assert "3 of 20 cases have another split than recorded" in refused.error
    assert told(site, hospital, "update", "chest", "--yes")["units"] == 15


def test_an_update_after_an_exclusion_needs_no_word(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments())
    ids = hospital.folder / "ids.txt"
    ids.write_text("".join(f"NEEDLEID{number}\n" for number in range(9, 14)))
    told(site, hospital, "exclude", "--patients", str(ids))
    assert told(site, hospital, "update", "chest")["units"] == 11


def test_a_dry_run_of_an_update_shows_what_would_change_and_keeps_everything(
    site: Site, hospital: Hospital
) -> None:
    site(hospital.add_arguments())
    split_all(hospital, "train", range(12, 14))
    split_all(hospital, "test", range(3))
    hospital.patients([30], split="validation")
    hospital.write_labels()
    before = kept_of(hospital)
    found = told(site, hospital, "update", "chest", "--dry-run")
    assert (found["dry_run"], found["snapshot"]) == (True, "chest@2")
    assert found["splits"] == {"train": 11, "validation": 1, "test": 2}
    change = found["change"]
    assert change["splits_before"] == {"train": 12, "validation": 0, "test": 4}
    assert (change["leaving_test"], change["lost"]) == (2, 3)
    assert change["new_codes"] == {"E_SPLIT_MOVED": 3}
    assert len(change["to_confirm"]) == 4
    shown = run(site, hospital, "update", "chest", "--dry-run").out
    assert "would become chest@2" in shown
    assert "Needs --yes: 2 patients leave the test split, for ever" in shown
    assert kept_of(hospital) == before
    assert snapshot_numbers(SiteHome(hospital.home), "chest") == (1,)


def test_a_person_at_the_terminal_is_asked_instead(
    site: Site, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    site(hospital.add_arguments())
    split_all(hospital, "train", range(12, 14))
    questions: list[str] = []
    answers = [False, True]

    def ask(question: str) -> bool:
        questions.append(question)
        return answers.pop(0)

    monkeypatch.setattr(cohort_commands, "confirmation_for", lambda *, yes: Confirmation(ask, yes))
    stopped = run(site, hospital, "update", "chest")
    assert stopped.code == 130
    assert snapshot_numbers(SiteHome(hospital.home), "chest") == (1,)
    assert run(site, hospital, "update", "chest").code == 0
    assert all("the test split shrinks from 4 to 2. Go on?" in one for one in questions)
    assert len(questions) == 2


def test_another_label_file_is_taken_only_with_its_snapshot(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments())
    split_all(hospital, "train", range(12, 16))
    other = hospital.labels.rename(hospital.folder / "other.csv")
    split_all(hospital, "test", range(12, 16))
    assert run(site, hospital, "update", "chest", "--labels", str(other)).code == 1
    home = SiteHome(hospital.home)
    assert read_registration(home, "chest").labels_file == str(hospital.labels)
    told(site, hospital, "update", "chest", "--labels", str(other), "--yes")
    assert read_registration(home, "chest").labels_file == str(other)


def test_a_check_does_not_take_patients_from_the_test_split(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments())
    split_all(hospital, "train", range(12, 14))
    refused = run(site, hospital, "check", "chest")
    assert refused.code == 1
    assert "2 patients leave the test split, for ever" in refused.error
    assert "cohort update chest --dry-run" in refused.err
    told(site, hospital, "update", "chest", "--yes")
    assert told(site, hospital, "check", "chest")["splits"]["train"] == 14


# -- add -------------------------------------------------------------------------------------------


def test_an_add_that_takes_patients_of_another_cohort_from_the_test_split_must_be_meant(
    site: Site, hospital: Hospital
) -> None:
    site(hospital.add_arguments("one"))
    split_all(hospital, "train", range(12, 16))
    refused = site(hospital.add_arguments("two"))
    assert refused.code == 1
    assert "4 patients leave the test split, for ever" in refused.error
    assert [one["name"] for one in told(site, hospital, "list")["cohorts"]] == ["one"]
    assert site(hospital.add_arguments("two", "--yes")).code == 0
    assert {one.split for one in snapshot(hospital, "two").cases} == {"train"}


def test_an_add_of_many_patients_in_another_split_than_recorded_must_be_meant(
    site: Site, hospital: Hospital
) -> None:
    site(hospital.add_arguments("one"))
    split_all(hospital, "test", range(3))
    refused = site(hospital.add_arguments("two"))
    assert "3 of 16 cases have another split than recorded" in refused.error


def test_a_dry_run_of_an_add_leaves_nothing_where_there_is_no_home(
    site: Site, hospital: Hospital
) -> None:
    before = sorted(hospital.folder.iterdir())
    ended = site([*hospital.add_arguments("chest", "--dry-run"), "--json"])
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["splits"] == {"train": 12, "validation": 0, "test": 4}
    assert found["change"]["splits_before"] is None
    after = {*before, hospital.labels, hospital.folder / "job.toml"}
    assert set(hospital.folder.iterdir()) == after
    assert "chest@1" in site(hospital.add_arguments("chest", "--dry-run")).out


def test_a_dry_run_of_an_add_leaves_a_home_as_it_was(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments("one"))
    before = sorted(hospital.home.rglob("*"))
    split_all(hospital, "train", range(12, 16))
    ended = site(hospital.add_arguments("two", "--dry-run"))
    assert ended.code == 0, ended.err
    assert "Needs --yes: 4 patients leave the test split, for ever" in ended.out
    assert sorted(hospital.home.rglob("*")) == before
    taken = site(hospital.add_arguments("One", "--dry-run"))
    assert "registered already" in taken.error


# -- the mapping -----------------------------------------------------------------------------------


def test_update_changes_the_mapping_and_makes_the_next_snapshot(
    site: Site, hospital: Hospital
) -> None:
    hospital.rows[0]["label"] = "?"
    site(hospital.add_arguments("chest", "--map", "0=normal", "--map", "1=normal"))
    found = told(site, hospital, "update", "chest", "--map", "1=finding", "--map", "?=exclude")
    assert (found["snapshot"], found["lines"]) == ("chest@2", {"EXCLUDED_BY_LABEL": 1})
    assert {one.label for one in snapshot(hospital).cases} == {0, 1}
    kept = read_registration(SiteHome(hospital.home), "chest").label_values
    assert kept == {"0": "normal", "1": "finding", "?": "exclude"}
    assert told(site, hospital, "update", "chest")["is_new"] is False


def test_a_cohort_that_was_added_without_a_mapping_gets_one_by_update(
    site: Site, hospital: Hospital
) -> None:
    for row in hospital.rows:
        row["label"] = "sick"
    assert site(hospital.add_arguments()).code == 0
    assert len(snapshot(hospital).cases) == 0
    assert told(site, hospital, "update", "chest", "--map", "sick=finding")["cases"] == 16


@pytest.mark.parametrize("word", ["0=nromal", "0"])
def test_a_mapping_that_cannot_be_used_changes_nothing(
    site: Site, hospital: Hospital, word: str
) -> None:
    site(hospital.add_arguments())
    before = kept_of(hospital)
    assert run(site, hospital, "update", "chest", "--map", word).code == 2
    assert kept_of(hospital) == before


# -- remove ----------------------------------------------------------------------------------------


def pin(hospital: Hospital, run_id: str, content: Any) -> Path:
    folder = hospital.home / "runs" / run_id
    folder.mkdir()
    file = folder / "snapshots.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_remove_frees_the_name_and_keeps_splits_and_exclusions(
    site: Site, hospital: Hospital
) -> None:
    site(hospital.add_arguments())
    told(site, hospital, "check", "chest")
    ids = hospital.folder / "ids.txt"
    ids.write_text("NEEDLEID0\n")
    told(site, hospital, "exclude", "--patients", str(ids))
    refused = run(site, hospital, "remove", "chest")
    assert refused.code == 1
    assert "its snapshots (1), settings and index are deleted" in refused.error
    assert "--yes" in refused.err
    assert told(site, hospital, "remove", "chest", "--yes")["snapshots_removed"] == 1
    assert told(site, hospital, "list")["cohorts"] == []
    assert not list(hospital.home.rglob("*.npy"))  # no snapshot needs what was decoded
    assert not (hospital.home / "cohorts" / "chest").exists()
    split_all(hospital, "test", range(1, 2))
    assert site(hospital.add_arguments()).code == 0
    found = told(site, hospital, "update", "chest")
    assert found["lines"] == {"EXCLUDED_BY_REQUEST": 1, "E_SPLIT_MOVED": 1}


def test_a_cohort_that_a_run_was_accepted_with_stays(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments("chest"))
    site(hospital.add_arguments("chest2"))
    file = pin(hospital, "0a", ["chest@1"])
    refused = run(site, hospital, "remove", "chest", "--yes")
    assert refused.code == 1
    assert "runs were accepted with chest@1 (run 0a)" in refused.error
    assert told(site, hospital, "remove", "chest2", "--yes")["cohort"] == "chest2"
    file.write_text("[chest")
    damaged = run(site, hospital, "remove", "chest", "--yes")
    assert damaged.code == 1
    assert "is damaged" in damaged.error
    assert len(snapshot(hospital).cases) == 16


def test_what_a_killed_add_or_removal_left_goes_too(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments())
    (hospital.home / "cohorts" / "chest" / "cohort.toml").unlink()
    (hospital.home / ".removed" / "old").mkdir(parents=True)
    assert run(site, hospital, "remove", "chest", "--yes").code == 0
    assert not (hospital.home / ".removed").exists()
    gone = run(site, hospital, "remove", "chest", "--yes")
    assert gone.code == 2
    assert "there is no cohort 'chest'" in gone.error


# -- what is said ----------------------------------------------------------------------------------


def test_a_limit_is_said_to_be_exceeded(site: Site, hospital: Hospital) -> None:
    for number in range(6):
        hospital.label(sop_instance_uid=f"9.{number}", label="0", split="")
    added = site(hospital.add_arguments())
    assert "Limit exceeded: E_TOO_MANY_EXCLUDED" in added.out
    checked = run(site, hospital, "check", "chest")
    assert checked.code == 1
    assert "cohort chest exceeds its limits: E_TOO_MANY_EXCLUDED" in checked.error
    assert "limits exceeded" in run(site, hospital, "list").out


def test_the_next_command_names_the_home_unless_the_environment_does(
    site: Site, hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDWARD_SITE_HOME", raising=False)
    added = site(hospital.add_arguments()).out
    assert added.endswith(f"Next: fedward-site cohort check chest --home {hospital.home}\n")
    monkeypatch.setenv("FEDWARD_SITE_HOME", str(hospital.home))
    updated = site(["cohort", "update", "chest"]).out
    assert updated.endswith("Next: fedward-site cohort check chest\n")


def test_a_full_cache_is_named_by_its_code(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments())
    (hospital.home / "site.toml").write_text("cache_quota_gigabytes = 1e-9\n")
    full = run(site, hospital, "check", "chest")
    assert full.code == 1
    assert full.error.endswith("(E_CACHE_FULL)")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ("cache_quota_gigabyte = 5.0", "did you mean 'cache_quota_gigabytes'?"),
        ("cache_quota_gigabytes = '5'", "cache_quota_gigabytes needs a number"),
    ],
)
def test_site_toml_has_no_key_that_nobody_reads(
    site: Site, hospital: Hospital, settings: str, word: str
) -> None:
    site(hospital.add_arguments())
    (hospital.home / "site.toml").write_text(settings)
    for command in ("update", "check", "report"):
        refused = run(site, hospital, command, "chest")
        assert refused.code == 2
        assert word in refused.err.splitlines()[-1]


@pytest.mark.parametrize("command", [["update", "chest"], ["list"], ["remove", "chest", "--yes"]])
def test_a_lost_key_is_named_with_what_it_is_for(
    site: Site, hospital: Hospital, command: list[str]
) -> None:
    site(hospital.add_arguments())
    (hospital.home / "split.key").unlink()
    refused = run(site, hospital, command[0], *command[1:])
    assert refused.code == 2
    assert "split.key is missing: it decides every patient's split" in refused.error
    assert "a new key would move patients between splits" in refused.err


def test_a_home_whose_cohorts_were_removed_gets_no_new_key(site: Site, hospital: Hospital) -> None:
    site(hospital.add_arguments())
    told(site, hospital, "remove", "chest", "--yes")
    (hospital.home / "split.key").unlink()
    assert "split.key is missing" in site(hospital.add_arguments()).error


def test_a_label_file_with_semicolons_is_read(site: Site, hospital: Hospital) -> None:
    arguments = hospital.add_arguments()
    hospital.labels.write_text(hospital.labels.read_text().replace(",", ";"))
    assert site(arguments).code == 0
    assert len(snapshot(hospital).cases) == 16


def test_other_ids_of_the_same_person_are_excluded_if_asked_for(
    site: Site, hospital: Hospital
) -> None:
    key = hospital.add_image(30, PatientName="NEEDLENAME3^ANNA", PatientSex="F")
    hospital.label(sop_instance_uid=key, label="0", split="train")
    site(hospital.add_arguments())
    ids = hospital.folder / "ids.txt"
    ids.write_text("NEEDLEID3\n")
    first = run(site, hospital, "exclude", "--patients", str(ids)).out
    assert "1 other patient id has" in first
    assert "--with-other-ids" in first
    second = run(site, hospital, "exclude", "--patients", str(ids), "--with-other-ids").out
    assert "went with them" in second
    assert told(site, hospital, "update", "chest")["lines"] == {"EXCLUDED_BY_REQUEST": 2}
