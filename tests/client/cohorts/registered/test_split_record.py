"""The record of splits: nobody moves to a split that is seen less, and no other file is it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.cohorts.cached_cases import snapshot_of
from tests.client.cohorts.small_cohorts import KEY

from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.snapshot_store import write_snapshot
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.cohorts.source import SPLITS, Split
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.errors import CorruptFileError

SNAPSHOT = snapshot_of([])


def home_at(folder: Path, key: bytes = KEY) -> SiteHome:
    made = create_site_home(folder, split_key=key)
    CohortFolder(made, "chest").create()
    return made


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return home_at(tmp_path / "home")


def test_splits_are_recorded_all_or_none_and_found_again(home: SiteHome) -> None:
    record = SplitRecord.of_home(home)
    assert record.splits_of(["a"]) == {}
    record.add({"a": "train", "b": "test"})
    record.add({"b": "train"})
    assert SplitRecord.of_home(home).splits_of(["a", "b", "c"]) == {"a": "train", "b": "train"}
    broken: dict[str, Split] = {"c": "test", "d": "nowhere"}  # type: ignore[dict-item]
    with pytest.raises(CorruptFileError):
        record.add(broken)
    assert record.splits_of(["c", "d"]) == {}
    assert (home.folder / "split_record.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_lost_or_damaged_record_is_not_begun_anew(home: SiteHome) -> None:
    path = home.folder / "split_record.sqlite"
    SplitRecord.of_home(home).add({"a": "train"})
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(CorruptFileError):
        SplitRecord.of_home(home).splits_of(["a"])
    path.unlink()
    write_snapshot(home, SNAPSHOT, 0)
    with pytest.raises(CorruptFileError, match="missing"):
        SplitRecord.of_home(home)


def test_the_record_holds_no_patient_id(home: SiteHome) -> None:
    SplitRecord.of_home(home).add({"0123abcd": "train"})
    path = home.folder / "split_record.sqlite"
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT * FROM splits").fetchall() == [("0123abcd", "train")]


@given(
    steps=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.sampled_from(SPLITS), max_size=3), max_size=4
    )
)
def test_no_recorded_split_is_ever_one_that_is_seen_less(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, Split]]
) -> None:
    record = SplitRecord(tmp_path_factory.mktemp("home") / "split_record.sqlite", KEY)
    most: dict[str, int] = {}
    for step in steps:
        for name, split in step.items():
            most[name] = min(SPLITS.index(split), most.get(name, 9))
        assert record.add(step) == len(most)
    assert record.splits_of("abc") == {name: SPLITS[place] for name, place in most.items()}


# -- what is not what was written ------------------------------------------------------------------


def file_of(home: SiteHome) -> Path:
    return home.folder / "split_record.sqlite"


def statement(text: str) -> Callable[[SiteHome], None]:
    def run(home: SiteHome) -> None:
        with sqlite3.connect(file_of(home)) as connection:
            connection.execute(text)

    return run


def of_another_site(home: SiteHome) -> None:
    other = home_at(home.folder.parent / "other", KEY[::-1])
    SplitRecord.of_home(other).add({"a": "train", "b": "test"})
    file_of(home).write_bytes(file_of(other).read_bytes())


def fresh(home: SiteHome) -> None:
    file_of(home).unlink()
    with sqlite3.connect(file_of(home)) as connection:
        connection.execute("CREATE TABLE splits (patient TEXT PRIMARY KEY, split TEXT NOT NULL)")


@pytest.mark.parametrize(
    "change",
    [
        statement("DELETE FROM splits"),
        statement("DELETE FROM splits WHERE patient = 'a'"),
        statement("UPDATE splits SET split = 'test' WHERE patient = 'a'"),
        statement("INSERT INTO splits VALUES ('c', 'test')"),
        statement("DELETE FROM sealed"),
        statement("UPDATE sealed SET excluded = 0"),
        statement("UPDATE sealed SET identities = 1"),
        statement("DROP TABLE sealed"),
        of_another_site,
        fresh,
    ],
)
def test_a_record_that_somebody_else_wrote_is_refused(
    home: SiteHome, change: Callable[[SiteHome], None]
) -> None:
    record = SplitRecord.of_home(home)
    record.note_excluded(3)
    record.add({"a": "train", "b": "test"})
    change(home)
    with pytest.raises(CorruptFileError, match="not what was written") as raised:
        SplitRecord.of_home(home)
    assert "restore" in raised.value.hint
    for use in (lambda: record.splits_of(["a"]), lambda: record.add({"a": "test"})):
        with pytest.raises(CorruptFileError):
            use()


@pytest.mark.parametrize("is_empty", [True, False])
def test_an_older_copy_is_found_by_what_a_snapshot_was_made_with(
    home: SiteHome, is_empty: bool
) -> None:
    record = SplitRecord.of_home(home)
    record.add({"a": "train"})
    older = b"" if is_empty else file_of(home).read_bytes()
    write_snapshot(home, SNAPSHOT, record.add({"b": "test"}))
    SplitRecord.of_home(home)
    file_of(home).write_bytes(older)
    with pytest.raises(CorruptFileError, match="older copy"):
        SplitRecord.of_home(home)


def test_an_empty_file_that_a_killed_command_left_is_a_new_record(home: SiteHome) -> None:
    file_of(home).touch()
    assert SplitRecord.of_home(home).splits_of(["a"]) == {}
    assert SplitRecord.of_home(home).add({"a": "train"}) == 1


def test_the_number_of_excluded_patients_never_falls(home: SiteHome) -> None:
    record = SplitRecord.of_home(home)
    assert record.num_excluded == 0
    for number in (2, 5, 3):
        record.note_excluded(number)
    record.add({"a": "train"})
    assert SplitRecord.of_home(home).num_excluded == 5
