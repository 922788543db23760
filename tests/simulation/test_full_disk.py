"""A disk that is full at the N-th write, for every N (F6)."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.tiny_federation import TinyFederation, essence, history_of, make_federation

from fedward_common.errors import DiskFullError, FedwardError, QuorumError
from fedward_common.hash_chain import ChainedLines
from fedward_common.tensor_file import read_tensors
from fedward_server.simulation.throwaway_consortium import private_key


@contextmanager
def full_from(monkeypatch: pytest.MonkeyPatch, first_that_fails: int) -> Iterator[list[int]]:
    """Let the disk be full from the N-th write on; the list holds how many came.

    The write that fails first leaves half of its bytes behind, as a filling disk does.
    """
    writes = [0]
    real = os.write

    def write(descriptor: int, block: memoryview) -> int:
        writes[0] += 1
        if writes[0] == first_that_fails and len(block) > 1:
            return real(descriptor, block[: len(block) // 2])
        if writes[0] >= first_that_fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, block)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        yield writes


def require_intact(folder: Path) -> None:
    """Every file that the journal names is whole, and nothing half written lies about."""
    assert not list(folder.glob(".*.tmp"))
    if (folder / "entries.jsonl").exists():
        for _, name, digest in history_of(folder).checkpoints[-2:]:
            read_tensors(folder / name, digest)


def test_a_disk_that_is_full_at_any_write_is_named_and_the_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only a site's own files cannot be written, the site says so and the quorum fails."""
    federation = make_federation(tmp_path / "f").with_job("quorum.required_sites=3", "job.rounds=3")
    federation.run(tmp_path / "undisturbed")
    wanted = essence(tmp_path / "undisturbed")
    places: set[type[FedwardError]] = set()
    for number in range(1, 1000):
        folder = tmp_path / f"full-{number}"
        try:
            with full_from(monkeypatch, number) as writes:
                federation.run(folder)
            assert writes[0] < number
            break
        except (DiskFullError, QuorumError) as error:
            assert isinstance(error, DiskFullError) or "DISK_FULL" in str(error)
            assert error.hint
            places.add(type(error))
        require_intact(folder)
        federation.run(folder)
        assert essence(folder) == wanted, f"full at write {number}"
    assert number > 20
    assert places == {DiskFullError, QuorumError}
    assert essence(folder) == wanted


def test_a_full_disk_is_one_line_that_names_the_file_and_says_what_to_do(
    tiny: TinyFederation, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_from(monkeypatch, 1), pytest.raises(DiskFullError) as caught:
        tiny.run(run_folder)
    assert str(caught.value) == f"no space left to write initial.safetensors in {run_folder}"
    assert "--resume" in caught.value.hint


def test_a_key_that_could_not_be_written_is_made_anew_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file = tmp_path / "keys" / "coordinator.key"
    with full_from(monkeypatch, 1), pytest.raises(DiskFullError):
        private_key(key_file)
    assert not key_file.exists()
    key = private_key(key_file)
    assert private_key(key_file).to_raw() == key.to_raw()
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_a_journal_whose_disk_was_full_takes_the_entry_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChainedLines(tmp_path / "lines.jsonl") as lines:
        lines.append({"kind": "first"})
        before = lines.path.read_bytes()
        with full_from(monkeypatch, 1), pytest.raises(DiskFullError):
            lines.append({"kind": "second"})
        assert lines.path.read_bytes() == before
        lines.append({"kind": "second"})
        kinds = [entry["kind"] for entry in lines.entries()]
    with ChainedLines(tmp_path / "lines.jsonl") as again:
        assert [entry["kind"] for entry in again.entries()] == kinds == ["first", "second"]
