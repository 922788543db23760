"""Files that nobody reads once the round's key is gone."""

import contextlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward_common import round_vault
from fedward_common.errors import CorruptFileError
from fedward_common.round_vault import RoundVault, forget_vault

CONTENT = b"the update of one hospital " * 50


def found(vault: RoundVault, name: str, num_bytes: int = len(CONTENT)) -> bytes | None:
    place = bytearray(num_bytes)
    return bytes(place) if vault.read_into(name, memoryview(place)) else None


@pytest.fixture(params=[True, False], ids=["durable", "simulated"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> RoundVault:
    return RoundVault(tmp_path / "round", durable=request.param)


def test_what_is_written_is_read_and_stands_in_no_file(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    vault.write("b.sealed", memoryview(CONTENT[::-1]))
    assert found(vault, "a.sealed") == CONTENT
    assert found(vault, "b.sealed") == CONTENT[::-1]
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
    assert found(vault, "a.sealed") is None
    assert not vault.is_open
    assert not vault.folder.exists()  # reading makes nothing
    vault.write("a.sealed", CONTENT)
    assert found(vault, "b.sealed") is None


def test_without_the_key_nothing_can_be_read_and_other_files_stay(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    (vault.folder / "answers.cbor").write_bytes(b"kept")
    copy = (vault.folder / "a.sealed").read_bytes()
    vault.destroy()
    assert [path.name for path in vault.folder.iterdir()] == ["answers.cbor"]
    (vault.folder / "a.sealed").write_bytes(copy)  # as a backup would bring it back
    assert found(vault, "a.sealed") is None
    vault.write("b.sealed", CONTENT)  # another key, which does not open it either
    with pytest.raises(CorruptFileError):
        found(vault, "a.sealed")


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
        found(vault, "a.sealed")


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_what_is_no_key_seals_and_opens_nothing(vault: RoundVault, key: bytes) -> None:
    vault.write("a.sealed", CONTENT)
    (vault.folder / "round.key").write_bytes(key)
    with pytest.raises(CorruptFileError, match=r"round\.key is no key"):
        found(vault, "a.sealed")
    with pytest.raises(CorruptFileError, match=r"round\.key is no key"):
        vault.write("b.sealed", CONTENT)


def test_a_file_under_another_name_does_not_open(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    (vault.folder / "a.sealed").rename(vault.folder / "b.sealed")
    with pytest.raises(CorruptFileError):
        found(vault, "b.sealed")


def test_only_the_owner_may_read_any_of_it(vault: RoundVault) -> None:
    vault.write("a.sealed", CONTENT)
    assert vault.folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in vault.folder.iterdir())


# -- blocks ----------------------------------------------------------------------------------------

BLOCK, TAG, SALT = 1 << 18, 16, 16
SEALED_BLOCK = BLOCK + TAG


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of four bytes."""
    monkeypatch.setattr(round_vault, "_BLOCK_BYTES", 4)
    return 4


def sealed_blocks(path: Path, num_bytes: int) -> list[bytes]:
    content = path.read_bytes()[SALT:]
    size = num_bytes + TAG
    return [content[at : at + size] for at in range(0, len(content), size)]


def put(path: Path, blocks: list[bytes]) -> None:
    path.write_bytes(path.read_bytes()[:SALT] + b"".join(blocks))


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.binary(max_size=9), max_size=4))
def test_parts_are_read_as_they_were_written_wherever_blocks_end(
    tmp_path: Path, parts: list[bytes]
) -> None:
    vault = RoundVault(tmp_path / "round", durable=False)
    vault.write("a.sealed", *parts)
    places = [bytearray(len(part)) for part in parts]
    views = [memoryview(place) for place in places]
    assert vault.read_into("a.sealed", *views)
    assert places == parts
    whole = b"".join(parts)
    assert found(vault, "a.sealed", len(whole)) == whole
    for other in {len(whole) + 1, len(whole) + 4, max(0, len(whole) - 1)} - {len(whole)}:
        assert found(vault, "a.sealed", other) is None


def test_what_is_not_there_or_has_no_key_fills_nothing(vault: RoundVault) -> None:
    place = bytearray(6)
    assert not vault.read_into("a.sealed", memoryview(place))
    vault.write("a.sealed", b"secret")
    vault.destroy()
    assert not vault.read_into("a.sealed", memoryview(place))
    assert place == bytes(6)


def test_arrays_are_read_into_arrays_of_any_type(vault: RoundVault) -> None:
    words, empty = np.arange(7, dtype=np.uint32), np.zeros(0, dtype=np.uint64)
    vault.write("a.sealed", words.data, empty.data)
    found = np.zeros(7, dtype=np.uint32)
    assert vault.read_into("a.sealed", found.data, empty.data)
    np.testing.assert_array_equal(found, words)


def test_a_file_of_some_blocks_has_a_tag_for_each(vault: RoundVault) -> None:
    vault.write("a.sealed", bytes(2 * BLOCK + 5))
    assert (vault.folder / "a.sealed").stat().st_size == SALT + 2 * SEALED_BLOCK + 5 + TAG
    assert found(vault, "a.sealed", 2 * BLOCK + 5) == bytes(2 * BLOCK + 5)


BLOCKS_PUT_WRONGLY: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "the last is cut off": lambda blocks: blocks[:-1],
    "only the first is left": lambda blocks: blocks[:1],
    "the first is cut off": lambda blocks: blocks[1:],
    "two are swapped": lambda blocks: [blocks[1], blocks[0], *blocks[2:]],
    "one is repeated": lambda blocks: [blocks[0], *blocks],
    "the last is repeated": lambda blocks: [*blocks, blocks[-1]],
    "the last is cut short": lambda blocks: [*blocks[:-1], blocks[-1][:-1]],
    "none is left": lambda blocks: [],
}


@pytest.mark.parametrize("spoil", BLOCKS_PUT_WRONGLY.values(), ids=BLOCKS_PUT_WRONGLY)
@pytest.mark.parametrize("content", [b"abcdabcdabcd", b"abcdabcdab"], ids=["whole", "shorter"])
def test_blocks_that_are_not_where_they_were_written_do_not_open(
    vault: RoundVault,
    small_blocks: int,
    content: bytes,
    spoil: Callable[[list[bytes]], list[bytes]],
) -> None:
    vault.write("a.sealed", content)
    path = vault.folder / "a.sealed"
    put(path, spoil(sealed_blocks(path, small_blocks)))
    with pytest.raises(CorruptFileError, match=r"a\.sealed is not what was written"):
        found(vault, "a.sealed", len(content))
    for num_bytes in (0, 4, 8, 16):  # nor does what is left pass for a file of another length
        with contextlib.suppress(CorruptFileError):
            assert found(vault, "a.sealed", num_bytes) is None


def test_a_block_of_another_file_of_the_round_does_not_open(
    vault: RoundVault, small_blocks: int
) -> None:
    for _ in range(2):  # also of an earlier file of the same name
        before = sealed_blocks(vault.folder / "a.sealed", small_blocks) if vault.is_open else []
        vault.write("a.sealed", b"abcdefgh")
    vault.write("b.sealed", b"abcdefgh")
    path = vault.folder / "a.sealed"
    own = sealed_blocks(path, small_blocks)
    for other in (before, sealed_blocks(vault.folder / "b.sealed", small_blocks)):
        put(path, [own[0], other[1]])
        with pytest.raises(CorruptFileError):
            found(vault, "a.sealed", 8)
    put(path, own)
    assert found(vault, "a.sealed", 8) == b"abcdefgh"


@pytest.mark.usefixtures("small_blocks")
def test_equal_blocks_are_sealed_to_different_bytes(vault: RoundVault) -> None:
    vault.write("a.sealed", b"same" * 20)
    blocks = sealed_blocks(vault.folder / "a.sealed", 4)
    assert len(set(blocks)) == 20


def test_a_vector_is_written_and_read_with_a_few_blocks_beside_it(vault: RoundVault) -> None:
    vector = np.arange(4 * BLOCK, dtype=np.uint32)  # 16 blocks
    tracemalloc.start()
    try:
        vault.write("a.sealed", vector.data)
        assert tracemalloc.get_traced_memory()[1] < 5 * BLOCK
        found = np.empty_like(vector)
        tracemalloc.reset_peak()
        assert vault.read_into("a.sealed", found.data)
        assert tracemalloc.get_traced_memory()[1] < found.nbytes + 5 * BLOCK
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, vector)


# -- records ---------------------------------------------------------------------------------------


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


def test_a_record_goes_behind_those_of_another_process(vault: RoundVault) -> None:
    other = RoundVault(vault.folder)
    for content in (b"one", b"two", b"three"):
        vault.append("state.sealed", content)
        other.append("state.sealed", content + b" of the other")
        assert vault.latest("state.sealed") == content + b" of the other"
    assert other.latest("state.sealed") == b"three of the other"


def test_a_file_that_was_made_anew_is_filled_from_its_beginning(vault: RoundVault) -> None:
    vault.append("state.sealed", b"one")
    vault.append("state.sealed", b"two")
    other = RoundVault(vault.folder)
    other.destroy()
    other.append("state.sealed", b"anew")
    vault.append("state.sealed", b"next")
    assert vault.latest("state.sealed") == other.latest("state.sealed") == b"next"


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


LARGE = b"a vector of many values " * 5000


@pytest.fixture
def recycling(tmp_path: Path) -> Callable[[str], RoundVault]:
    return lambda name: RoundVault(tmp_path / name, durable=False, spare=tmp_path / "spare")


def test_a_large_file_that_was_destroyed_is_the_next_ones_and_cannot_be_read(
    recycling: Callable[[str], RoundVault], tmp_path: Path
) -> None:
    first, second = recycling("round-1"), recycling("round-2")
    first.write("a.sealed", LARGE)
    first.write("small.sealed", CONTENT)
    (first.folder / "notes").write_bytes(LARGE)
    written = (first.folder / "a.sealed").stat().st_ino
    first.destroy()
    first.forget()  # with what was never sealed, which is nobody's spare
    assert not first.folder.exists()
    assert (tmp_path / "spare").stat().st_ino == written
    second.write("a.sealed", CONTENT)  # shorter than what it is written over
    assert not (tmp_path / "spare").exists()
    assert (second.folder / "a.sealed").stat().st_ino == written
    assert found(second, "a.sealed") == CONTENT
    assert found(first, "a.sealed", len(LARGE)) is None


@pytest.mark.parametrize("sizes", [(1, 3, 2), (3, 2, 1), (2, 1, 3)])
def test_of_several_files_the_largest_is_the_spare(
    recycling: Callable[[str], RoundVault], tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    vault = recycling("round")
    for place, size in enumerate(sizes):
        vault.write(f"{place}.sealed", LARGE * size)
    vault.destroy()
    assert (tmp_path / "spare").stat().st_size > 3 * len(LARGE)
    assert list(vault.folder.iterdir()) == []


def test_a_spare_that_a_crash_left_half_written_over_is_written_over_again(
    recycling: Callable[[str], RoundVault], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spare").write_bytes(LARGE * 3)
    vault = recycling("round")
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(round_vault, "seal_into", killed)
        with contextlib.suppress(KeyboardInterrupt):
            vault.write("a.sealed", LARGE)
    assert found(vault, "a.sealed", len(LARGE)) is None
    vault.write("a.sealed", LARGE)
    assert found(vault, "a.sealed", len(LARGE)) == LARGE


def test_a_vault_without_a_place_for_spares_leaves_nothing(vault: RoundVault) -> None:
    vault.write("a.sealed", LARGE)
    vault.destroy()
    vault.forget()
    assert list(vault.folder.parent.iterdir()) == []
