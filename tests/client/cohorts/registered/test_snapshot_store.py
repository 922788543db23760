import dataclasses
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.cohorts.small_cohorts import KEY

from fedward_client.cohorts.findings import Finding
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.snapshot import (
    FileState,
    MaskReference,
    Snapshot,
    SnapshotCase,
)
from fedward_client.cohorts.registered.snapshot_store import (
    newest_recorded_counts,
    newest_snapshot,
    read_snapshot,
    snapshot_numbers,
    write_snapshot,
)
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
    identities=("0a", "0b"),
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
    write_snapshot(home, SNAPSHOT, 0)
    write_snapshot(home, dataclasses.replace(SNAPSHOT, number=2), 0)
    assert read_snapshot(home, "chest@1") == SNAPSHOT
    assert read_snapshot(home, "chest").number == 2
    assert newest_snapshot(home, "chest") == read_snapshot(home, "chest@2")
    assert snapshot_numbers(home, "chest") == (1, 2)


def test_a_snapshot_is_canonical_json_for_its_owner_alone(home: SiteHome) -> None:
    path = write_snapshot(home, SNAPSHOT, 0)
    content = path.read_bytes()
    table = json.loads(content)
    plain = json.dumps(table, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert content == plain
    assert path.stat().st_mode & 0o777 == 0o400


def test_a_snapshot_is_never_written_twice(home: SiteHome) -> None:
    write_snapshot(home, SNAPSHOT, 0)
    with pytest.raises(ConfigurationError, match="exists"):
        write_snapshot(home, SNAPSHOT, 0)


@given(place=st.integers(0, 2000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    home = create_site_home(tmp_path_factory.mktemp("home"), split_key=KEY)
    CohortFolder(home, "chest").create()
    path = write_snapshot(home, SNAPSHOT, 0)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.chmod(0o600)
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        read_snapshot(home, "chest")


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"recorded":0,"seal":"', b"\xff" * 300])
def test_another_file_in_its_place_is_found(home: SiteHome, content: bytes) -> None:
    path = write_snapshot(home, SNAPSHOT, 0)
    path.chmod(0o600)
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        read_snapshot(home, "chest@1")


def test_a_snapshot_renamed_to_another_number_is_found(home: SiteHome) -> None:
    path = write_snapshot(home, SNAPSHOT, 0)
    path.rename(path.with_name("7.json"))
    with pytest.raises(CorruptFileError):
        read_snapshot(home, "chest@7")


@pytest.mark.parametrize(
    "name", ["chest@2", "chest@0", "chest@", "chest@1@1", "chest@x", "none", "chest@01", "chest@-1"]
)
def test_a_snapshot_that_is_not_there_is_one_error(home: SiteHome, name: str) -> None:
    write_snapshot(home, SNAPSHOT, 0)
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


# -- seals -----------------------------------------------------------------------------------------


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.chmod(0o600)
    path.write_bytes(content.replace(old, new))


def test_a_snapshot_that_was_changed_and_hashed_anew_is_found(home: SiteHome) -> None:
    path = write_snapshot(home, SNAPSHOT, 2)
    head, _, body = path.read_bytes().partition(b'"snapshot":')
    body = body.replace(b'"split":"train"', b'"split":"test"')
    seal = json.loads(head + b'"snapshot":{}}')["seal"].encode()
    for fitting in (hashlib.sha256(body[:-2]), hmac.new(bytes(32), body[:-2], "sha256")):
        path.chmod(0o600)
        path.write_bytes(head.replace(seal, fitting.hexdigest().encode()) + b'"snapshot":' + body)
        with pytest.raises(CorruptFileError, match="not what was written"):
            read_snapshot(home, "chest@1")


def test_the_number_of_recorded_identities_is_sealed_too(home: SiteHome) -> None:
    path = write_snapshot(home, SNAPSHOT, 2)
    rewritten(path, b'"recorded":2,', b'"recorded":0,')
    with pytest.raises(CorruptFileError):
        read_snapshot(home, "chest@1")


def test_a_snapshot_of_another_site_is_none_of_this(home: SiteHome, tmp_path: Path) -> None:
    other = create_site_home(tmp_path / "other", split_key=KEY[::-1])
    CohortFolder(other, "chest").create()
    content = write_snapshot(other, SNAPSHOT, 0).read_bytes()
    (CohortFolder(home, "chest").snapshots / "1.json").write_bytes(content)
    with pytest.raises(CorruptFileError):
        read_snapshot(home, "chest@1")


def test_the_counts_come_from_the_newest_snapshot_that_is_whole(home: SiteHome) -> None:
    assert list(newest_recorded_counts(home)) == []
    write_snapshot(home, SNAPSHOT, 5)
    newest = write_snapshot(home, dataclasses.replace(SNAPSHOT, number=2), 7)
    assert list(newest_recorded_counts(home)) == [7]
    rewritten(newest, b'"recorded":7,', b'"recorded":8,')
    assert list(newest_recorded_counts(home)) == [5]
