import dataclasses
import json
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.cohorts.small_cohorts import KEY

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.excluded_patients import (
    add_excluded_patients,
    excluded_patients,
    read_patient_ids,
)
from fedward_client.cohorts.registered.snapshot import (
    FileState,
    MaskReference,
    Snapshot,
    SnapshotCase,
)
from fedward_client.cohorts.registered.snapshot_store import (
    newest_snapshot,
    read_snapshot,
    snapshot_numbers,
    write_snapshot,
)
from fedward_client.cohorts.registered.split_record import SplitRecord
from fedward_client.cohorts.source import Split
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.errors import ConfigurationError, CorruptFileError, LockedError

CASE = SnapshotCase(
    case_id="c1",
    patient="Pätient \udcff",
    kind="series",
    files=(FileState("a/\udce4.dcm", 12, 34), FileState("b", 5, 6)),
    frame=None,
    label=None,
    split="train",
    mask=MaskReference("volume", (FileState("m.nii", 1, 2),), "/labels"),
    line=2,
    sex="F",
    age_years=47,
    scanner="Siemens",
    modality="CT",
)
SNAPSHOT = Snapshot(
    name="chest",
    number=1,
    unit="patient",
    class_names=("background", "organ"),
    mask_values=((0, 0), (3, 1), (9, -1)),
    cases=(CASE, dataclasses.replace(CASE, mask=None, label=(1, 0, -1), frame=3, age_years=None)),
    findings=(Finding("E_LOCALIZER", 4), Finding("W_DUPLICATE_FILE", None, "x/y")),
    num_found=3,
    fingerprint="ab" * 32,
)


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    made = create_site_home(tmp_path / "home", split_key=KEY)
    CohortFolder(made, "chest").create()
    return made


def test_a_snapshot_is_read_back_as_it_was(home: SiteHome) -> None:
    write_snapshot(home, SNAPSHOT)
    write_snapshot(home, dataclasses.replace(SNAPSHOT, number=2))
    assert read_snapshot(home, "chest@1") == SNAPSHOT
    assert read_snapshot(home, "chest").number == 2
    assert newest_snapshot(home, "chest") == read_snapshot(home, "chest@2")
    assert snapshot_numbers(home, "chest") == (1, 2)


def test_a_snapshot_is_canonical_json_for_its_owner_alone(home: SiteHome) -> None:
    path = write_snapshot(home, SNAPSHOT)
    content = path.read_bytes()
    table = json.loads(content)
    plain = json.dumps(table, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert content == plain
    assert path.stat().st_mode & 0o777 == 0o400


def test_a_snapshot_is_never_written_twice(home: SiteHome) -> None:
    write_snapshot(home, SNAPSHOT)
    with pytest.raises(ConfigurationError, match="exists"):
        write_snapshot(home, SNAPSHOT)


@given(place=st.integers(0, 2000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    home = SiteHome(tmp_path_factory.mktemp("home"))
    CohortFolder(home, "chest").create()
    path = write_snapshot(home, SNAPSHOT)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.chmod(0o600)
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        read_snapshot(home, "chest")


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"sha256":"', b"\xff" * 300])
def test_another_file_in_its_place_is_found(home: SiteHome, content: bytes) -> None:
    path = write_snapshot(home, SNAPSHOT)
    path.chmod(0o600)
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        read_snapshot(home, "chest@1")


def test_a_snapshot_renamed_to_another_number_is_found(home: SiteHome) -> None:
    path = write_snapshot(home, SNAPSHOT)
    path.rename(path.with_name("7.json"))
    with pytest.raises(CorruptFileError):
        read_snapshot(home, "chest@7")


@pytest.mark.parametrize(
    "name", ["chest@2", "chest@0", "chest@", "chest@1@1", "chest@x", "none", "chest@01", "chest@-1"]
)
def test_a_snapshot_that_is_not_there_is_one_error(home: SiteHome, name: str) -> None:
    write_snapshot(home, SNAPSHOT)
    with pytest.raises(ConfigurationError) as raised:
        read_snapshot(home, name)
    assert raised.value.hint


@pytest.mark.parametrize("name", ["../chest", "a/b", "", ".hidden", "x" * 49, "a b"])
def test_a_name_that_could_be_a_path_is_refused(home: SiteHome, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        read_snapshot(home, name)


def test_one_command_at_a_time_works_on_a_cohort(home: SiteHome) -> None:
    folder = CohortFolder(home, "chest")
    with folder.locked(), pytest.raises(LockedError), folder.locked():
        pass
    with folder.locked():
        pass


# -- split record ----------------------------------------------------------------------------------


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
    write_snapshot(home, SNAPSHOT)
    with pytest.raises(CorruptFileError, match="missing"):
        SplitRecord.of_home(home)


def test_the_record_holds_no_patient_id(home: SiteHome) -> None:
    SplitRecord.of_home(home).add({"0123abcd": "train"})
    path = home.folder / "split_record.sqlite"
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT * FROM splits").fetchall() == [("0123abcd", "train")]


# -- excluded patients -----------------------------------------------------------------------------


def test_excluded_patients_are_only_ever_added_to(home: SiteHome) -> None:
    assert excluded_patients(home) == frozenset()
    assert add_excluded_patients(home, {"a", "b"}, "withdrawn") == 2
    assert add_excluded_patients(home, {"b", "c"}, "error") == 1
    assert excluded_patients(home) == {"a", "b", "c"}
    assert (home.folder / "excluded_patients.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema":"x","excluded":{}}', "null"])
def test_a_damaged_list_lets_nobody_in_again(home: SiteHome, content: str) -> None:
    (home.folder / "excluded_patients.json").write_text(content)
    with pytest.raises(CorruptFileError):
        excluded_patients(home)
    with pytest.raises(CorruptFileError):
        add_excluded_patients(home, {"a"}, "withdrawn")


@pytest.mark.parametrize(
    ("content", "column"),
    [
        (b"a\nb b\n\n a \n", None),
        (b"\xef\xbb\xbfa\r\nb b\r\n", None),
        (b"study,PatientID\n1,a\n2,b b\n", None),
        (b"patient_id\na\nb b\n", None),
        (b"x,who\n1,a\n1,b b\n1,\n", "who"),
    ],
)
def test_ids_come_from_lines_or_from_a_column(
    tmp_path: Path, content: bytes, column: str | None
) -> None:
    path = tmp_path / "ids"
    path.write_bytes(content)
    assert read_patient_ids(path, column) == {"a", "b b"}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"PatientID\n", b"\xff\xfe", None])
def test_a_file_without_ids_is_one_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ids"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        read_patient_ids(path, None)
    assert raised.value.hint


def test_a_pipe_is_no_list_of_patients(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError):
        read_patient_ids(tmp_path / "pipe", None)
