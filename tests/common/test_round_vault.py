"""Files that nobody reads once the round's key is gone."""

from pathlib import Path

import pytest

from fedward_common.errors import CorruptFileError
from fedward_common.round_vault import RoundVault, forget_vault, framed, unframed

CONTENT = b"the update of one hospital " * 50


@pytest.fixture(params=[True, False], ids=["durable", "simulated"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> RoundVault:
    return RoundVault(tmp_path / "round", durable=request.param)


def test_what_is_written_is_read_and_stands_in_no_file(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    vault.write("b.sealed", memoryview(CONTENT[::-1]))
    assert vault.read("a.sealed") == CONTENT
    assert vault.read("b.sealed") == CONTENT[::-1]
    written = b"".join(path.read_bytes() for path in vault.folder.iterdir())
    assert CONTENT[:16] not in written


def test_the_same_content_is_sealed_under_another_key_each_time(vault: RoundVault) -> None:
    sealed = set()
    for _ in range(3):
        vault.write("a.sealed", CONTENT)
        sealed.add((vault.folder / "a.sealed").read_bytes())
    assert len(sealed) == 3
    assert len({content[16:48] for content in sealed}) == 3


def test_a_file_that_was_never_written_and_a_vault_that_was_never_made_hold_nothing(
    vault: RoundVault,
) -> None:
    assert vault.read("a.sealed") is None
    assert not vault.is_open
    assert not vault.folder.exists()  # reading makes nothing
    vault.write("a.sealed", CONTENT)
    assert vault.read("b.sealed") is None


def test_without_the_key_nothing_can_be_read_and_other_files_stay(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    (vault.folder / "answers.cbor").write_bytes(b"kept")
    copy = (vault.folder / "a.sealed").read_bytes()
    vault.destroy()
    assert [path.name for path in vault.folder.iterdir()] == ["answers.cbor"]
    (vault.folder / "a.sealed").write_bytes(copy)  # as a backup would bring it back
    assert vault.read("a.sealed") is None
    vault.write("b.sealed", CONTENT)  # another key, which does not open it either
    with pytest.raises(CorruptFileError):
        vault.read("a.sealed")


def test_the_key_is_overwritten_before_it_is_removed(
    vault: RoundVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.write("a.sealed", CONTENT)
    seen: list[bytes] = []
    honest = Path.unlink

    def unlink(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "round.key":
            seen.append(path.read_bytes())
        honest(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    vault.destroy()
    assert seen == [bytes(32)]


def test_destroying_twice_or_what_was_never_made_is_no_error(vault: RoundVault) -> None:
    vault.destroy()
    vault.write("a.sealed", CONTENT)
    vault.destroy()
    vault.destroy()
    assert not vault.is_open


def test_a_round_that_is_forgotten_leaves_no_folder(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    (vault.folder / "answers.cbor").write_bytes(b"kept")
    forget_vault(vault.folder, durable=vault.durable)
    assert not vault.folder.exists()


@pytest.mark.parametrize("at", [0, 15, 16, 40, -1])
def test_a_bit_flip_anywhere_is_found(vault: RoundVault, at: int) -> None:
    vault.write("a.sealed", CONTENT)
    path = vault.folder / "a.sealed"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match=r"a\.sealed is not what was written"):
        vault.read("a.sealed")


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_what_is_no_key_seals_and_opens_nothing(vault: RoundVault, key: bytes) -> None:
    vault.write("a.sealed", CONTENT)
    (vault.folder / "round.key").write_bytes(key)
    with pytest.raises(CorruptFileError, match=r"round\.key is no key"):
        vault.read("a.sealed")
    with pytest.raises(CorruptFileError, match=r"round\.key is no key"):
        vault.write("b.sealed", CONTENT)


def test_a_file_under_another_name_does_not_open(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    (vault.folder / "a.sealed").rename(vault.folder / "b.sealed")
    with pytest.raises(CorruptFileError):
        vault.read("b.sealed")


def test_only_the_owner_may_read_any_of_it(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    assert vault.folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in vault.folder.iterdir())


def test_parts_come_apart_as_they_were_joined() -> None:
    parts = [b"", b"a", b"bc" * 1000]
    assert [bytes(part) for part in unframed(framed(parts), 3)] == parts


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_parts_is_refused(count: int) -> None:
    with pytest.raises(CorruptFileError, match="2 parts came"):
        unframed(framed([b"a", b"b"]), count)


def test_parts_that_were_cut_are_refused() -> None:
    with pytest.raises(CorruptFileError):
        unframed(framed([b"abc", b"defg"])[:-1], 2)


def test_the_latest_record_counts_and_none_stands_in_the_file(vault: RoundVault) -> None:
    assert vault.latest("state.sealed") is None
    for content in (b"first of all", b"", b"the last one"):
        vault.append("state.sealed", content)
        assert vault.latest("state.sealed") == content
    raw = (vault.folder / "state.sealed").read_bytes()
    assert b"first of all" not in raw and b"the last one" not in raw


def test_a_record_that_a_crash_cut_short_never_was(vault: RoundVault) -> None:
    vault.append("state.sealed", b"acknowledged")
    path = vault.folder / "state.sealed"
    whole = path.read_bytes()
    vault.append("state.sealed", b"cut short")
    longer = path.read_bytes()
    for length in range(len(whole), len(longer)):
        path.write_bytes(longer[:length])
        assert vault.latest("state.sealed") == b"acknowledged"
        vault.append("state.sealed", b"after it")
        assert vault.latest("state.sealed") == b"after it"
        assert len(path.read_bytes()) == len(whole) + 8 + 16 + len(b"after it") + 16


def test_a_flipped_bit_of_the_last_record_is_found(vault: RoundVault) -> None:
    vault.append("state.sealed", b"one")
    path = vault.folder / "state.sealed"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        vault.latest("state.sealed")


def test_without_the_key_no_record_can_be_read(vault: RoundVault) -> None:
    vault.append("state.sealed", b"secret")
    vault.destroy()
    assert vault.latest("state.sealed") is None
    assert not list(vault.folder.glob("*.sealed"))
