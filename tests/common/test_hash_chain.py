import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedward_common.errors import CorruptFileError, DiskFullError, LockedError
from fedward_common.hash_chain import ChainedLines

ENTRIES: tuple[dict[str, Any], ...] = (
    {"kind": "begun", "seed": 7, "sites": ["alder", "birch"]},
    {"kind": "round", "round": 1, "loss": 0.25, "best": None},
    {"kind": "round", "round": 2, "loss": 0.125, "name": "ü"},
    {"kind": "finished", "seconds": 1.5},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "entries.jsonl"


def fill(path: Path, entries: tuple[dict[str, Any], ...] = ENTRIES) -> bytes:
    with ChainedLines(path) as lines:
        for entry in entries:
            lines.append(entry)
    return path.read_bytes()


def read(path: Path) -> list[dict[str, Any]]:
    with ChainedLines(path) as lines:
        return list(lines.entries())


def without_chain(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in e.items() if k not in ("index", "previous")} for e in entries]


def test_a_new_file_is_empty_and_only_its_owner_reads_it(path: Path) -> None:
    assert read(path) == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_entries_come_back_in_order_after_reopening(path: Path) -> None:
    fill(path)
    entries = read(path)
    assert without_chain(entries) == list(ENTRIES)
    assert [entry["index"] for entry in entries] == [0, 1, 2, 3]


def test_a_reopened_file_goes_on_where_it_ended(tmp_path: Path) -> None:
    at_once = fill(tmp_path / "one")
    for entry in ENTRIES:
        fill(tmp_path / "two", (entry,))
    assert (tmp_path / "two").read_bytes() == at_once


def test_each_line_names_the_sha_256_of_the_one_before(path: Path) -> None:
    lines = fill(path).splitlines()
    hashes = ["0" * 64] + [hashlib.sha256(line).hexdigest() for line in lines]
    assert [json.loads(line)["previous"] for line in lines] == hashes[:-1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)  # fmt: skip


@given(entries=st.lists(st.dictionaries(st.text(max_size=5), json_values, max_size=3), max_size=3))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_comes_back_as_it_was(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    path = tmp_path / "entries.jsonl"
    path.unlink(missing_ok=True)
    fill(path, tuple(entries))
    assert without_chain(read(path)) == entries


@pytest.mark.parametrize("key", ["index", "previous"])
def test_an_entry_may_not_use_the_chains_own_keys(path: Path, key: str) -> None:
    before = fill(path)
    with ChainedLines(path) as lines, pytest.raises(ValueError, match="chain's own"):
        lines.append({key: 0})
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes", {1, 2}])
def test_what_is_no_json_is_not_written_and_the_file_goes_on(path: Path, value: Any) -> None:
    with ChainedLines(path) as lines:
        lines.append(ENTRIES[0])
        with pytest.raises((ValueError, TypeError)):
            lines.append({"value": value})
        lines.append(ENTRIES[1])
    assert without_chain(read(path)) == list(ENTRIES[:2])


def test_a_last_line_cut_anywhere_is_dropped_and_the_file_goes_on(path: Path) -> None:
    whole = fill(path)
    begin = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(begin, len(whole)):
        path.write_bytes(whole[:cut])
        assert without_chain(read(path)) == list(ENTRIES[:3])
        assert path.read_bytes() == whole[:begin]
        fill(path, ENTRIES[3:])
        assert path.read_bytes() == whole


def test_any_changed_byte_of_an_earlier_line_is_found_and_its_line_named(path: Path) -> None:
    whole = fill(path)
    last_begins = whole.rindex(b"\n", 0, -1) + 1
    # Line 3 is vouched for by the last alone, so the message may say "line 3 or 4".
    named = {1: "line 1 was", 2: "line 2 was", 3: "line 3 "}
    for position in range(last_begins):
        if whole[position] == ord("\n"):
            continue
        number = whole.count(b"\n", 0, position) + 1
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(CorruptFileError) as caught:
            ChainedLines(path)
        assert named[number] in str(caught.value)
        assert path.read_bytes() == changed


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_line_rewritten_in_good_form_is_named(path: Path, number: int) -> None:
    lines = fill(path).splitlines()
    entry = json.loads(lines[number - 1])
    entry["kind"] = "forged"
    lines[number - 1] = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(CorruptFileError) as caught:
        ChainedLines(path)
    expected = "line 3 or 4 was changed" if number == 3 else f"line {number} was changed"
    assert expected in str(caught.value)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_hash_rewritten_in_good_form_is_found(path: Path, number: int) -> None:
    lines = fill(path).splitlines()
    entry = json.loads(lines[number - 1])
    entry["previous"] = "f" * 64
    lines[number - 1] = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(CorruptFileError, match=rf"line (3 or )?{number} was changed"):
        ChainedLines(path)


def removed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:1], *lines[2:]]


def swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], lines[3]]


def doubled(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1], *lines[1:]]


def blank(lines: list[bytes]) -> list[bytes]:
    return [lines[0], b"", *lines[1:]]


@pytest.mark.parametrize("change", [removed, swapped, doubled, blank])
def test_lines_removed_swapped_doubled_or_put_in_are_found(
    path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    path.write_bytes(b"\n".join(change(fill(path).splitlines())) + b"\n")
    with pytest.raises(CorruptFileError, match=r"line [23] was changed"):
        ChainedLines(path)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"1",
        b"null",
        b"{}",
        b'{"index":0}',
        b'{"index":0,"previous":null}',
        b'{"index":0,"loss":NaN,"previous":"%s"}' % (b"0" * 64),
        b'{"index":0,"loss":1e999,"previous":"%s"}' % (b"0" * 64),
        b'{"index":0,"index":0,"previous":"%s"}' % (b"0" * 64),
        b'{"index": 0, "previous": "%s"}' % (b"0" * 64),
        b'{"previous":"%s","index":0}' % (b"0" * 64),
        b'{"a":' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"\x00" * 64,
    ],
    ids=lambda line: ascii(line)[2:24],
)
def test_a_line_of_another_form_is_refused(path: Path, line: bytes) -> None:
    path.write_bytes(line + b"\n")
    with pytest.raises(CorruptFileError, match="line 1 was changed"):
        ChainedLines(path)


def test_a_refused_file_is_let_go_of(path: Path) -> None:
    whole = fill(path)
    path.write_bytes(b"x" + whole)
    with pytest.raises(CorruptFileError):
        ChainedLines(path)
    path.write_bytes(whole)
    assert without_chain(read(path)) == list(ENTRIES)


def test_a_second_opener_is_told_that_it_is_locked(path: Path) -> None:
    with ChainedLines(path) as lines:
        lines.append(ENTRIES[0])
        before = path.read_bytes()
        with pytest.raises(LockedError) as caught:
            ChainedLines(path)
        assert caught.value.code == "LOCKED"
        assert caught.value.hint
        assert path.read_bytes() == before
        lines.append(ENTRIES[1])
    assert without_chain(read(path)) == list(ENTRIES[:2])


def test_another_process_is_told_that_it_is_locked(path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from fedward_common.errors import LockedError\n"
        "from fedward_common.hash_chain import ChainedLines\n"
        "try:\n"
        "    ChainedLines(pathlib.Path(sys.argv[1]))\n"
        "except LockedError as error:\n"
        "    print(error.code)\n"
    )
    command = [sys.executable, "-c", program, str(path)]

    def other_process_says() -> str:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    with ChainedLines(path):
        assert other_process_says() == "LOCKED"
    assert other_process_says() == ""


def test_nothing_is_appended_to_a_closed_file(path: Path) -> None:
    lines = ChainedLines(path)
    lines.close()
    lines.close()
    with pytest.raises(OSError, match="descriptor"):
        lines.append(ENTRIES[0])
    assert path.read_bytes() == b""


def failing(name: str, error: BaseException, after_bytes: int = 0) -> Callable[..., int]:
    """An `os.write` or `os.fsync` that fails; a write puts some bytes on the disk before."""
    real_write = os.write

    def step(descriptor: int, block: Any = b"") -> int:
        if name == "write":
            real_write(descriptor, bytes(block)[:after_bytes])
        raise error

    return step


INTERRUPTIONS = [
    pytest.param(OSError(errno.ENOSPC, "no space"), DiskFullError, id="disk full"),
    pytest.param(OSError(errno.EDQUOT, "quota"), DiskFullError, id="quota"),
    pytest.param(OSError(errno.EIO, "i/o"), OSError, id="i/o error"),
    pytest.param(KeyboardInterrupt(), KeyboardInterrupt, id="Ctrl-C"),
]


@pytest.mark.parametrize(("error", "named"), INTERRUPTIONS)
@pytest.mark.parametrize(
    ("step", "after_bytes"), [("write", 0), ("write", 1), ("write", 40), ("fsync", 0)]
)
def test_an_append_that_fails_leaves_the_file_as_it_was_and_the_next_one_succeeds(
    path: Path,
    step: str,
    after_bytes: int,
    error: BaseException,
    named: type[BaseException],
) -> None:
    before = fill(path, ENTRIES[:2])
    with ChainedLines(path) as lines:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(named):
            patch.setattr(os, step, failing(step, error, after_bytes))
            lines.append(ENTRIES[2])
        assert path.read_bytes() == before
        assert without_chain(list(lines.entries())) == list(ENTRIES[:2])
        lines.append(ENTRIES[2])
    assert without_chain(read(path)) == list(ENTRIES[:3])


def test_an_entry_is_synced_before_append_returns(path: Path) -> None:
    synced: list[int] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(path.stat().st_size)
        real(descriptor)

    with ChainedLines(path) as lines, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        for entry in ENTRIES:
            lines.append(entry)
            assert synced[-1] == path.stat().st_size
    assert len(synced) == len(ENTRIES)


def test_the_head_is_the_hash_of_the_last_line(path: Path) -> None:
    with ChainedLines(path) as lines:
        assert lines.head == "0" * 64
        lines.append(ENTRIES[0])
        assert lines.head == hashlib.sha256(path.read_bytes().rstrip(b"\n")).hexdigest()
        head = lines.head
    with ChainedLines(path) as lines:
        assert lines.head == head


@pytest.mark.parametrize("cut", [0, 1, 40, 100_000])
def test_a_file_with_fewer_lines_than_are_known_is_refused_and_left_as_it_is(
    path: Path, cut: int
) -> None:
    whole = fill(path)
    path.write_bytes(whole[: -cut or None])
    found = whole[: -cut or None].count(b"\n")
    with pytest.raises(CorruptFileError, match=f"{found} whole lines, {found + 1} were written"):
        ChainedLines(path, at_least=found + 1)
    assert path.read_bytes() == whole[: -cut or None]
    ChainedLines(path, at_least=found).close()


def test_lines_that_were_verified_are_not_parsed_again_and_hide_no_change(path: Path) -> None:
    fill(path, ENTRIES[:2])
    with ChainedLines(path) as lines:
        known = lines.verified()
        assert lines.num_known == 0
    whole = fill(path, ENTRIES[2:])
    with ChainedLines(path, known=known) as lines:
        assert lines.num_known == 2
        assert without_chain(list(lines.entries())) == list(ENTRIES)
        lines.append(ENTRIES[0])
        known = lines.verified()
    with ChainedLines(path, known=known) as lines:
        assert lines.num_known == len(list(lines.entries())) == 5
    for position in range(0, len(whole), 5):
        if whole[position] == ord("\n"):
            continue
        changed = bytearray(path.read_bytes())
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CorruptFileError, match="was changed"):
            ChainedLines(path, known=known)
        changed[position] ^= 1
        path.write_bytes(changed)


def test_a_file_that_is_shorter_than_what_was_known_is_read_as_it_is(path: Path) -> None:
    whole = fill(path)
    with ChainedLines(path) as lines:
        known = lines.verified()
    path.write_bytes(whole[: whole.index(b"\n") + 1])
    with ChainedLines(path, known=known) as lines:
        assert lines.num_known == 0
        assert without_chain(list(lines.entries())) == list(ENTRIES[:1])
