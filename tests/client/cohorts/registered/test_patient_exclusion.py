"""Excluding patients: nobody is lost, whatever is damaged and whoever works beside."""

import threading
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
from tests.client.cohorts.registered_cohorts import (
    home_in,
    random_image,
    register,
    write_image,
)

from fedward_client.cohorts.registered import patient_exclusion
from fedward_client.cohorts.registered.excluded_patients import (
    add_excluded_patients,
    excluded_patients,
)
from fedward_client.cohorts.registered.patient_exclusion import (
    ExclusionOutcome,
    exclude_everywhere,
)
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome

WITHDRAWN = frozenset({"SECRET-ID-1"})


def home_of_two(tmp_path: Path) -> SiteHome:
    """Cohort "own" names image i1 by an id of its own; "plain" goes by the headers."""
    home = home_in(tmp_path / "home")
    for number in range(3):
        write_image(tmp_path / "dicom", number, random_image(number))
    rows = [{"file": f"i{n}.dcm", "label": "0", "split": "train"} for n in range(3)]
    register(home, tmp_path / "dicom", rows, "plain")
    own = [{**row, "patient": f"own-{n}"} for n, row in enumerate(rows)]
    register(home, tmp_path / "dicom", own, "own")
    return home


def is_out(home: SiteHome, patient: str) -> bool:
    return pseudonym(home.pseudonym_key(), "patient", patient) in excluded_patients(home)


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


def test_a_damaged_snapshot_costs_nobody_and_is_told(tmp_path: Path) -> None:
    home = home_of_two(tmp_path)
    overwrite(home.cohorts / "plain" / "snapshots" / "1.json", b"{}")
    outcome = exclude_everywhere(home, WITHDRAWN, "withdrawn")
    assert outcome.damaged == ("plain@1",)
    assert outcome.cases == {"own": 1}
    assert is_out(home, "SECRET-ID-1")
    assert is_out(home, "own-1")


def test_a_damaged_index_costs_nobody_and_is_told(tmp_path: Path) -> None:
    home = home_of_two(tmp_path)
    for path in (home.cohorts / "own").glob("index.sqlite*"):
        overwrite(path, b"no database" * 500)
    outcome = exclude_everywhere(home, WITHDRAWN, "withdrawn")
    assert outcome.damaged == ("own (index)",)
    assert outcome.cases["plain"] == 1
    assert is_out(home, "SECRET-ID-1")


def test_a_folder_whose_name_is_no_cohorts_costs_nobody(tmp_path: Path) -> None:
    home = home_of_two(tmp_path)
    (home.cohorts / "old copy").mkdir()
    (home.cohorts / "old copy" / "cohort.toml").write_text("")
    outcome = exclude_everywhere(home, WITHDRAWN, "withdrawn")
    assert outcome.damaged == ("old copy",)
    assert is_out(home, "own-1")


def test_a_lost_split_record_keeps_nobody_in(tmp_path: Path) -> None:
    home = home_of_two(tmp_path)
    (home.folder / "split_record.sqlite").unlink()
    exclude_everywhere(home, WITHDRAWN, "withdrawn")
    assert is_out(home, "own-1")


def test_snapshots_wait_until_all_names_are_excluded_and_the_ids_do_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_of_two(tmp_path)
    added = threading.Event()

    def add(home: SiteHome, pseudonyms: Collection[str], reason: str) -> int:
        count = add_excluded_patients(home, pseudonyms, reason)
        added.set()
        return count

    monkeypatch.setattr(patient_exclusion, "add_excluded_patients", add)
    work = threading.Thread(target=exclude_everywhere, args=(home, WITHDRAWN, "withdrawn"))
    with SplitRecord.of_home(home).changing():  # as a snapshot does that is being made
        work.start()
        assert added.wait(30)
        assert is_out(home, "SECRET-ID-1")
        assert not is_out(home, "own-1")
    work.join(30)
    assert is_out(home, "own-1")


def test_other_ids_of_the_same_person_are_counted_and_stay(tmp_path: Path) -> None:
    home = home_in(tmp_path / "home")
    same = {"PatientName": "ONE^PERSON", "PatientBirthDate": "19500101", "PatientSex": "F"}
    for number in range(3):
        write_image(tmp_path / "dicom", number, random_image(number), **(same if number else {}))
    rows = [{"file": f"i{n}.dcm", "label": "0", "split": "train"} for n in range(3)]
    register(home, tmp_path / "dicom", rows, "one")
    register(home, tmp_path / "dicom", rows, "two")
    assert exclude_everywhere(home, WITHDRAWN, "withdrawn").other_ids == 1
    assert not is_out(home, "SECRET-ID-2")
    both = frozenset({"SECRET-ID-1", "SECRET-ID-2"})
    assert exclude_everywhere(home, both, "withdrawn").other_ids == 0


# -- other ids of the same persons -----------------------------------------------------------------

PERSON = {"PatientName": "ONE^PERSON", "PatientBirthDate": "19500101", "PatientSex": "F"}


def exclude_one(home: SiteHome, patient: str) -> ExclusionOutcome:
    return exclude_everywhere(home, frozenset({patient}), "withdrawn", with_other_ids=True)


def rows_of(numbers: Iterable[int], **others: str) -> list[dict[str, str]]:
    return [{"file": f"i{n}.dcm", "label": "0", "split": "train", **others} for n in numbers]


def test_other_ids_of_the_same_person_are_excluded_where_that_is_asked_for(tmp_path: Path) -> None:
    home = home_in(tmp_path / "home")
    for number in range(4):
        write_image(tmp_path / "dicom", number, random_image(number), **(PERSON if number else {}))
    register(home, tmp_path / "dicom", rows_of(range(4)), "one")
    outcome = exclude_one(home, "SECRET-ID-1")
    assert (outcome.named, outcome.other_ids_excluded, outcome.other_ids) == (1, 2, 0)
    assert (outcome.cases, outcome.newly_excluded) == ({"one": 3}, 3)
    assert all(is_out(home, f"SECRET-ID-{n}") for n in (1, 2, 3))
    assert not is_out(home, "SECRET-ID-0")


def test_an_other_id_may_stand_in_another_cohort(tmp_path: Path) -> None:
    home = home_in(tmp_path / "home")
    for number in (1, 2):
        write_image(tmp_path / f"dicom{number}", number, random_image(number), **PERSON)
        register(home, tmp_path / f"dicom{number}", rows_of([number]), f"c{number}")
    counted = exclude_everywhere(home, WITHDRAWN, "withdrawn")
    assert (counted.other_ids, counted.other_ids_excluded) == (1, 0)
    assert not is_out(home, "SECRET-ID-2")
    taken = exclude_one(home, "SECRET-ID-1")
    assert (taken.other_ids, taken.other_ids_excluded) == (0, 1)
    assert is_out(home, "SECRET-ID-2")
    assert taken.cases == {"c1": 1, "c2": 1}


def test_an_id_of_a_label_file_takes_the_headers_id_along(tmp_path: Path) -> None:
    home = home_of_two(tmp_path)
    assert exclude_one(home, "own-1").other_ids_excluded == 1
    assert is_out(home, "SECRET-ID-1") and is_out(home, "own-1")
    assert not is_out(home, "SECRET-ID-0") and not is_out(home, "own-2")


def test_a_name_that_stands_for_too_many_takes_nobody_along(tmp_path: Path) -> None:
    home = home_in(tmp_path / "home")
    for number in range(12):
        write_image(tmp_path / "dicom", number, random_image(number), **PERSON)
    register(home, tmp_path / "dicom", rows_of(range(12)), "names")
    outcome = exclude_one(home, "SECRET-ID-1")
    assert (outcome.other_ids_excluded, outcome.other_ids) == (0, 11)


def test_an_id_that_stands_for_too_many_is_not_taken_along(tmp_path: Path) -> None:
    home = home_in(tmp_path / "home")
    for number in range(12):
        write_image(tmp_path / "dicom", number, random_image(number), PatientID="ANONYMOUS")
    lesions = [row for n in range(12) for row in rows_of([n], lesion_id=f"L{n}")]
    register(home, tmp_path / "dicom", lesions, "ids", unit="lesion")
    assert exclude_one(home, "L1").other_ids_excluded == 0
    assert is_out(home, "L1") and not is_out(home, "ANONYMOUS")
