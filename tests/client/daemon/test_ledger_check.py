"""The ledger is looked at from outside, and nobody is kept from it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedward_client.daemon.ledger_check import LedgerWatch, require_sound_ledger
from fedward_client.ledger.ledger_folder import LedgerFolder, ledger_folder
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome, create_site_home
from fedward_common.errors import LedgerDamagedError


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return create_site_home(tmp_path / "home", split_key=bytes(32))


@pytest.fixture
def spent(home: SiteHome) -> SiteHome:
    """A home whose ledger has some entries."""
    for _ in range(3):
        with open_ledger(home, SystemUtcClock()) as ledger:
            ledger.note_evaluation("run", "test", np.zeros((1, 16), np.uint8), "exact")
    return home


def cut_last_two(folder: LedgerFolder) -> None:
    lines = folder.entries_file.read_bytes().splitlines(keepends=True)
    folder.entries_file.write_bytes(b"".join(lines[:-2]))


def edit_first(folder: LedgerFolder) -> None:
    content = folder.entries_file.read_bytes()
    folder.entries_file.write_bytes(content.replace(b"evaluated", b"Evaluated", 1))


def lose_file(folder: LedgerFolder) -> None:
    folder.entries_file.unlink()


def lose_heads(folder: LedgerFolder) -> None:
    for path in folder.heads:
        path.unlink()


def edit_head(folder: LedgerFolder) -> None:
    head = json.loads(folder.heads[1].read_bytes())
    folder.heads[1].write_text(json.dumps(head | {"sha256": "00" * 32}))


def edit_mark(folder: LedgerFolder) -> None:
    folder.begun_mark.write_bytes(b"{}")


def write_no_json(folder: LedgerFolder) -> None:
    with folder.entries_file.open("ab") as file:
        file.write(b"none\n")


DAMAGES = [cut_last_two, edit_first, lose_file, lose_heads, edit_head, edit_mark, write_no_json]


def test_a_sound_ledger_is_one_and_so_is_none(home: SiteHome) -> None:
    require_sound_ledger(ledger_folder(home))


def test_a_ledger_that_is_in_use_is_looked_at_and_left_to_who_has_it(spent: SiteHome) -> None:
    with open_ledger(spent, SystemUtcClock()):
        require_sound_ledger(ledger_folder(spent))


def test_a_line_that_is_being_written_is_no_damage(spent: SiteHome) -> None:
    with ledger_folder(spent).entries_file.open("ab") as file:
        file.write(b'{"index": 9, "prev')
    require_sound_ledger(ledger_folder(spent))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_opening_finds_it_too(
    spent: SiteHome, damage: Callable[[LedgerFolder], None]
) -> None:
    damage(ledger_folder(spent))
    with pytest.raises(LedgerDamagedError):
        require_sound_ledger(ledger_folder(spent))
    with pytest.raises(LedgerDamagedError):
        open_ledger(spent, SystemUtcClock())


def test_a_watch_looks_when_files_changed_and_after_some_minutes(spent: SiteHome) -> None:
    folder = ledger_folder(spent)
    watch = LedgerWatch(lambda: folder, look_again_seconds=60)
    assert watch.code(0) == ""
    before, state = folder.entries_file.read_bytes(), folder.entries_file.stat()
    with folder.entries_file.open("r+b") as file:  # as a disk that rots
        file.write(b"#")
    os.utime(folder.entries_file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert watch.code(59) == ""
    assert watch.code(60) == "LEDGER_DAMAGED"
    assert watch.code(61) == "LEDGER_DAMAGED"
    folder.entries_file.write_bytes(before)
    assert watch.code(62) == ""


def test_a_home_without_its_key_is_named_by_a_code(spent: SiteHome) -> None:
    (spent.folder / "split.key").unlink()
    assert LedgerWatch(lambda: ledger_folder(spent)).code(0) == "CONFIGURATION"
