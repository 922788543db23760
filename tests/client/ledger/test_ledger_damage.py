"""A ledger that was edited, cut, rolled back or taken away does not open, and says what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.ledger.ledgers import opened, patients, place, reserve, steps

from fedward_client.ledger import ledger_file
from fedward_client.ledger.heads import Head, read_head, require_vouched, write_head
from fedward_client.ledger.site_ledger import Ledger
from fedward_common.errors import LedgerDamagedError

KEY = b"k" * 32


@pytest.fixture(autouse=True, params=["as the same process", "as a new process"])
def reopening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may remember what it verified; that must hide nothing."""
    if request.param == "as a new process":
        monkeypatch.setattr(ledger_file, "_KNOWN", Forgetful())


class Forgetful(dict[Path, object]):
    """Keeps nothing."""

    def __setitem__(self, key: Path, value: object) -> None:
        pass


def used(home: Path, num_rounds: int = 3) -> Path:
    """A ledger in which a run has trained."""
    with opened(home) as ledger:
        reserve(ledger)
        train(ledger, range(1, num_rounds + 1))
        ledger.note_evaluation("run1", "validation", patients([7]), "exact")
    return place(home).entries_file


def train(ledger: Ledger, rounds: range) -> None:
    for number in rounds:
        ledger.begin_round("run1", number, 1, steps(1))
        ledger.commit_round("run1", number, 1)


def snapshot_of(home: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}


def require_refused(home: Path, match: str | None = None) -> None:
    """It names itself, says how to go on, and touches nothing."""
    before = snapshot_of(home)
    with pytest.raises(LedgerDamagedError, match=match) as caught:
        opened(home)
    assert caught.value.code == "LEDGER_DAMAGED"
    assert "ledger override" in caught.value.hint
    assert snapshot_of(home) == before


def heads_of(home: Path) -> tuple[Path, Path]:
    return place(home).heads


# -- edited ----------------------------------------------------------------------------------------


def test_a_changed_byte_anywhere_is_found(tmp_path: Path) -> None:
    entries = used(tmp_path, num_rounds=1)
    whole = entries.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 7
        entries.write_bytes(changed)
        with pytest.raises(LedgerDamagedError):
            opened(tmp_path)
    entries.write_bytes(whole)
    opened(tmp_path).close()


@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_a_line_rewritten_in_good_form_is_found_the_last_one_too(
    tmp_path: Path, number: int
) -> None:
    entries = used(tmp_path)
    lines = entries.read_bytes().splitlines()
    assert len(lines) == 9
    entry = json.loads(lines[number - 1])
    entry["at"] = "2031-05-01T12:00:01Z"
    lines[number - 1] = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    entries.write_bytes(b"\n".join(lines) + b"\n")
    require_refused(tmp_path, "changed" if number < 9 else "not the one that was written")


def test_an_edited_copy_of_the_head_is_found(tmp_path: Path) -> None:
    used(tmp_path)
    for path in heads_of(tmp_path):
        whole = path.read_bytes()
        for position in range(0, len(whole), 7):
            changed = bytearray(whole)
            changed[position] ^= 1
            path.write_bytes(changed)
            require_refused(tmp_path)
        path.write_bytes(whole)
    opened(tmp_path).close()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "[" * 100_000, '{"num_entries":true}', "\x00"]
)
def test_a_head_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    used(tmp_path)
    heads_of(tmp_path)[1].write_text(text)
    require_refused(tmp_path, "vouches")


def test_a_head_comes_back_as_it_was_and_one_that_is_not_there_vouches_for_nothing(
    tmp_path: Path,
) -> None:
    write_head(tmp_path / "head", Head(3, "ab" * 32))
    assert read_head(tmp_path / "head") == Head(3, "ab" * 32)
    assert read_head(tmp_path / "none") == read_head(tmp_path / "head" / "below") == Head()


def test_heads_that_are_ahead_of_the_chain_are_refused() -> None:
    with pytest.raises(LedgerDamagedError, match="1 entries, 2 were written"):
        require_vouched([Head(), Head(2, "b")], ["0" * 64, "a"])


# -- cut -------------------------------------------------------------------------------------------


def test_a_ledger_cut_at_any_byte_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    entries = used(tmp_path, num_rounds=1)
    whole = entries.read_bytes()
    for length in range(len(whole)):
        entries.write_bytes(whole[:length])
        with pytest.raises(LedgerDamagedError):
            opened(tmp_path)
        assert entries.read_bytes() == whole[:length]
    entries.write_bytes(whole)
    opened(tmp_path).close()


def test_bytes_of_a_crash_after_the_last_entry_are_dropped(tmp_path: Path) -> None:
    entries = used(tmp_path)
    whole = entries.read_bytes()
    entries.write_bytes(whole + b'{"at":"2031-')
    opened(tmp_path).close()
    assert entries.read_bytes() == whole


# -- missing ---------------------------------------------------------------------------------------


def without_entries(home: Path) -> None:
    place(home).entries_file.unlink()


def without_folder(home: Path) -> None:
    shutil.rmtree(home / "ledger")


def without_entries_and_heads(home: Path) -> None:
    without_entries(home)
    for path in heads_of(home):
        path.unlink()


def emptied_without_heads(home: Path) -> None:
    without_entries_and_heads(home)
    place(home).entries_file.touch()


def without_heads(home: Path) -> None:
    for path in heads_of(home):
        path.unlink()


def without_a_set(home: Path) -> None:
    next(place(home).patients.glob("*.npy")).unlink()


def with_a_shorter_set(home: Path) -> None:
    path = next(place(home).patients.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-16])


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (without_entries, "is missing, 9 entries"),
        (without_folder, "is missing, 9 entries"),
        (without_entries_and_heads, "is missing, some entries"),
        (emptied_without_heads, "is empty"),
        (without_heads, "removed or rolled back"),
        (without_a_set, "is missing"),
        (with_a_shorter_set, "not of the size"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, loss: Callable[[Path], None], match: str) -> None:
    used(tmp_path)
    loss(tmp_path)
    with pytest.raises(LedgerDamagedError, match=match) as caught:
        opened(tmp_path)
    assert "ledger override" in caught.value.hint


def test_one_lost_copy_of_the_head_is_written_again(tmp_path: Path) -> None:
    used(tmp_path)
    for path in heads_of(tmp_path):
        whole = path.read_bytes()
        path.unlink()
        opened(tmp_path).close()
        assert path.read_bytes() == whole


def test_an_edited_set_of_patients_is_found_when_it_is_read(tmp_path: Path) -> None:
    used(tmp_path)
    path = next(place(tmp_path).patients.glob("*.npy"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with opened(tmp_path) as ledger, pytest.raises(LedgerDamagedError, match="was changed"):
        ledger.verify()


def test_a_run_is_not_accepted_while_a_set_cannot_be_believed(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
    path = next(place(tmp_path).patients.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with opened(tmp_path) as ledger, pytest.raises(LedgerDamagedError):
        reserve(ledger, "run2", [1])


# -- rolled back -----------------------------------------------------------------------------------


def older_copies(home: Path, names: list[str]) -> str:
    """Put back what these places had before the last two rounds; give a head that a peer kept."""
    used(home)
    kept = home.parent / "kept"
    shutil.copytree(home, kept)
    with opened(home) as ledger:
        train(ledger, range(4, 6))
        peer = ledger.blinded_head(KEY)
    for name in names:
        shutil.copyfile(kept / name, home / name)
    return peer


ENTRIES, HEAD, COPY = "ledger/entries.jsonl", "ledger/head.json", "trust/ledger-head.json"


@pytest.mark.parametrize(
    "names", [[ENTRIES], [ENTRIES, HEAD], [ENTRIES, COPY]], ids=["entries", "one head", "other"]
)
def test_a_ledger_that_was_rolled_back_is_refused_while_one_copy_remembers(
    tmp_path: Path, names: list[str]
) -> None:
    older_copies(tmp_path / "home", names)
    require_refused(tmp_path / "home", "9 whole lines, 13 were written")


def test_both_heads_that_were_rolled_back_are_found(tmp_path: Path) -> None:
    older_copies(tmp_path / "home", [HEAD, COPY])
    require_refused(tmp_path / "home", "removed or rolled back")


@pytest.mark.parametrize("name", [HEAD, COPY])
def test_one_older_head_costs_nothing_while_the_other_vouches(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    older_copies(home, [name])
    with opened(home) as ledger:
        assert len(ledger.accounts.run("run1").begun) == 5
    assert (home / HEAD).read_bytes() == (home / COPY).read_bytes()


def test_a_peer_finds_what_was_rolled_back_with_all_its_copies(tmp_path: Path) -> None:
    home = tmp_path / "home"
    peer = older_copies(home, [ENTRIES, HEAD, COPY])
    with opened(home) as ledger, pytest.raises(LedgerDamagedError, match="rolled back"):
        ledger.require_descends_from(peer, KEY)


def test_another_sites_ledger_is_refused(tmp_path: Path) -> None:
    used(tmp_path / "home")
    used(tmp_path / "other")
    for name in (ENTRIES, HEAD):
        shutil.copyfile(tmp_path / "other" / name, tmp_path / "home" / name)
    require_refused(tmp_path / "home", "not the one that was written")


# -- entries that do not follow --------------------------------------------------------------------


def forged(home: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    """Write a chain of its own with heads that vouch for it, as somebody with time could."""
    from fedward_common.hash_chain import ChainedLines

    folder = place(home)
    with ChainedLines(folder.entries_file) as lines:
        entries = [
            {key: value for key, value in one.items() if key not in ("index", "previous")}
            for one in lines.entries()
        ]
    change(entries)
    folder.entries_file.unlink()
    with ChainedLines(folder.entries_file) as lines:
        for one in entries:
            lines.append(one)
        for path in folder.heads:
            write_head(path, Head(len(entries), lines.head))


def without_reservation(entries: list[dict[str, object]]) -> None:
    del entries[1]


def begun_twice(entries: list[dict[str, object]]) -> None:
    entries.append(entries[2])


def beyond_the_reservation(entries: list[dict[str, object]]) -> None:
    entries.append(entries[2] | {"round": 9, "disclosure": entries[1]["planned"][0]})  # type: ignore[index]


def back_in_time(entries: list[dict[str, object]]) -> None:
    entries[1]["at"] = "2030-01-01T00:00:00Z"


def not_opened(entries: list[dict[str, object]]) -> None:
    del entries[0]


def opened_twice(entries: list[dict[str, object]]) -> None:
    entries.insert(1, entries[0])


def of_another_form(entries: list[dict[str, object]]) -> None:
    entries[0]["schema"] = "fedward-ledger/2"


@pytest.mark.parametrize(
    "change",
    [
        without_reservation,
        begun_twice,
        beyond_the_reservation,
        back_in_time,
        not_opened,
        opened_twice,
        of_another_form,
    ],
)
def test_entries_that_do_not_follow_from_each_other_are_refused(
    tmp_path: Path, change: Callable[[list[dict[str, object]]], None]
) -> None:
    used(tmp_path)
    forged(tmp_path, lambda entries: None)
    opened(tmp_path).close()
    forged(tmp_path, change)
    with pytest.raises(LedgerDamagedError):
        opened(tmp_path)
