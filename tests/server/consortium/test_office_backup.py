import os
from pathlib import Path

import pytest
from tests.server.consortium.office_cases import PASSPHRASE, office_in
from tests.sudden_end import sudden_ends

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_server.consortium.office_backup import back_up, restore
from fedward_server.consortium.office_folder import Office


def backup_of(office: Office) -> bytes:
    return back_up(office, PASSPHRASE, entropy=os.urandom, log2_cost=10)


def test_an_office_comes_back_whole(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    state = restore(backup_of(office), PASSPHRASE, tmp_path / "again")
    assert state == office.state()
    again = Office(tmp_path / "again")
    assert again.open_authority(state, PASSPHRASE).certificate.der == state.authority


def test_a_backup_shows_nothing_without_the_passphrase(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    content = backup_of(office)
    assert b"harbour" not in content
    with pytest.raises(ConfigurationError) as caught:
        restore(content, SecretBytes(b"another passphrase"), tmp_path / "again")
    assert caught.value.code == "PASSPHRASE_WRONG"


def test_a_backup_under_a_mistyped_passphrase_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        back_up(office_in(tmp_path / "office"), SecretBytes(b"mistyped"), log2_cost=10)
    assert caught.value.code == "PASSPHRASE_WRONG"


def test_a_backup_is_not_restored_over_an_office(tmp_path: Path) -> None:
    office = office_in(tmp_path / "office")
    content = backup_of(office)
    with pytest.raises(ConfigurationError, match="already"):
        restore(content, PASSPHRASE, office.folder)


@pytest.mark.parametrize("length", [0, 1, 50, -1])
def test_a_backup_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    content = backup_of(office_in(tmp_path / "office"))
    with pytest.raises(CorruptFileError):
        restore(content[:length], PASSPHRASE, tmp_path / "again")
    assert not (tmp_path / "again" / "register.jsonl").exists()


def test_a_restore_that_was_killed_anywhere_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = office_in(tmp_path / "office")
    content = backup_of(office)
    for steps in sudden_ends(
        monkeypatch, lambda n: restore(content, PASSPHRASE, tmp_path / str(n))
    ):
        folder = tmp_path / str(steps)
        if not (folder / "register.jsonl").exists():
            restore(content, PASSPHRASE, folder)
        assert Office(folder).state() == office.state()
