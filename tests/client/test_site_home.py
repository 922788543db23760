"""What lies in a site's home, and who may read it."""

import stat
from pathlib import Path

import pytest

from fedward_client.cohorts.registered.excluded_patients import (
    add_excluded_patients,
    excluded_patients,
)
from fedward_client.site_home import create_site_home, write_private_file
from fedward_common.errors import ConfigurationError


def test_the_split_key_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    home = create_site_home(tmp_path / "site", split_key=bytes(32))
    assert stat.S_IMODE((home.folder / "split.key").stat().st_mode) == 0o600
    assert create_site_home(home.folder, split_key=bytes([1] * 32)).split_key() == bytes(32)


def test_a_private_file_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_home_has_a_sealed_list_of_nobody(tmp_path: Path) -> None:
    home = create_site_home(tmp_path / "site", split_key=bytes(32))
    assert excluded_patients(home) == frozenset()
    assert stat.S_IMODE(home.excluded_patients_file.stat().st_mode) == 0o600


def test_the_keys_of_seals_pseudonyms_and_splits_are_three(tmp_path: Path) -> None:
    home = create_site_home(tmp_path / "site", split_key=bytes(32))
    assert len({home.split_key(), home.pseudonym_key(), home.seal_key()}) == 3


def test_a_home_that_lost_its_key_gets_no_other_once_somebody_was_excluded(tmp_path: Path) -> None:
    home = create_site_home(tmp_path / "site", split_key=bytes(32))
    (home.folder / "split.key").unlink()
    create_site_home(home.folder, split_key=bytes(32))  # as after a first command that was killed
    add_excluded_patients(home, {"a"}, "withdrawn")
    (home.folder / "split.key").unlink()
    with pytest.raises(ConfigurationError, match=r"split\.key is missing") as raised:
        create_site_home(home.folder, split_key=bytes([1] * 32))
    assert "restore the key" in raised.value.hint
