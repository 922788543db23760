"""The split record from the snapshots: the same splits, or none at all."""

from pathlib import Path

import pytest
from tests.client.cohorts.registered_cohorts import home_in, random_image, register, write_image

from fedward_client.cohorts.registered.cohort_removal import remove_cohort
from fedward_client.cohorts.registered.excluded_patients import (
    add_excluded_patients,
    all_excluded_patients,
)
from fedward_client.cohorts.registered.snapshot_store import read_snapshot
from fedward_client.cohorts.registered.split_record import SplitRecord, record_file
from fedward_client.cohorts.registered.split_record_recovery import rebuild_split_record
from fedward_client.cohorts.source import Split
from fedward_client.site_home import SiteHome
from fedward_common.errors import CorruptFileError


def home_of_three_snapshots(tmp_path: Path) -> SiteHome:
    """Cohort "one" tests on i1 first and trains on it then; "two" trains on i2."""
    home = home_in(tmp_path / "home")
    for number in range(3):
        write_image(tmp_path / "dicom", number, random_image(number))
    for name, splits in (("one", "train test"), ("one", "train train"), ("two", "- - train")):
        rows = [
            {"file": f"i{n}.dcm", "label": "0", "split": split}
            for n, split in enumerate(splits.split())
            if split != "-"
        ]
        register(home, tmp_path / "dicom", rows, name)
    add_excluded_patients(home, {"0a"}, "withdrawn")
    return home


def splits_in(home: SiteHome) -> dict[str, Split]:
    names = ("one@1", "one@2", "two@1")
    cases = [case for name in names for case in read_snapshot(home, name).cases]
    return SplitRecord.of_home(home).splits_of(key for one in cases for key in one.identities)


@pytest.mark.parametrize("content", [None, b"", b"no database" * 500])
def test_a_record_that_is_lost_is_made_again_as_it_was(
    tmp_path: Path, content: bytes | None
) -> None:
    home = home_of_three_snapshots(tmp_path)
    before = splits_in(home)
    assert set(before.values()) == {"train"} and len(before) == 6
    record_file(home).unlink()
    if content is not None:
        record_file(home).write_bytes(content)
    assert rebuild_split_record(home) == 6
    old = home.folder / "split_record.sqlite.old"
    assert (old.read_bytes() if old.exists() else None) == content
    assert splits_in(home) == before
    assert SplitRecord.of_home(home).num_excluded == 1
    assert record_file(home).stat().st_mode & 0o777 == 0o600
    assert not list(home.folder.glob(".split_record*.new*"))


def test_a_snapshot_that_is_gone_or_damaged_leaves_everything_as_it_is(tmp_path: Path) -> None:
    home = home_of_three_snapshots(tmp_path)
    record_file(home).write_bytes(b"damaged")
    path = home.cohorts / "one" / "snapshots" / "2.json"
    path.chmod(0o600)
    path.write_bytes(b"{}")
    with pytest.raises(CorruptFileError, match=r"2\.json"):
        rebuild_split_record(home)
    for one in path.parent.iterdir():
        one.unlink()
    with pytest.raises(CorruptFileError, match="2 identities, and the split record had 6"):
        rebuild_split_record(home)
    assert record_file(home).read_bytes() == b"damaged"


def test_a_whole_old_record_is_kept_for_what_no_snapshot_has(tmp_path: Path) -> None:
    home = home_of_three_snapshots(tmp_path)
    before = splits_in(home)
    remove_cohort(home, "two")
    assert rebuild_split_record(home) == 6
    assert SplitRecord.of_home(home).all_splits() == before


def test_an_older_copy_of_the_record_is_brought_up_to_date(tmp_path: Path) -> None:
    home = home_of_three_snapshots(tmp_path)
    before = splits_in(home)
    older = SplitRecord(tmp_path / "older.sqlite", home.seal_key())
    older.add(dict.fromkeys(sorted(before)[:2], "test"))
    record_file(home).write_bytes((tmp_path / "older.sqlite").read_bytes())
    with pytest.raises(CorruptFileError, match="older copy") as raised:
        SplitRecord.of_home(home)
    assert "cohort rebuild-record" in raised.value.hint
    assert rebuild_split_record(home) == 6
    assert splits_in(home) == before


def test_a_rebuilt_record_does_not_take_an_older_list_of_the_excluded_for_the_newest(
    tmp_path: Path,
) -> None:
    home = home_of_three_snapshots(tmp_path)
    older = home.excluded_patients_file.read_bytes()
    add_excluded_patients(home, {"0b"}, "withdrawn")
    home.excluded_patients_file.write_bytes(older)
    rebuild_split_record(home)
    with pytest.raises(CorruptFileError, match="older copy"):
        all_excluded_patients(home, SplitRecord.of_home(home))
