"""A site's own control variates: by the round that made each, as long as a request can name it."""

from pathlib import Path

import numpy as np
import pytest

from fedward_client.daemon.own_variates import OwnVariates
from fedward_common.errors import CorruptFileError
from fedward_common.models.parameter_spec import FlatWeights


def vector(value: float) -> FlatWeights:
    return np.full(3, value, dtype=np.float32)


def made(folder: Path, *rounds: tuple[int, int]) -> OwnVariates:
    """Make variates of `(round, the round counted before it)`; each holds its round's number."""
    store = OwnVariates(folder)
    for number, counted in rounds:
        store.keep(number, vector(number), counted_round=counted)
    return OwnVariates(folder)  # as another process finds it


def rounds_in(folder: Path) -> list[int]:
    return sorted(int(file.stem.rpartition("-")[2]) for file in folder.glob("*.safetensors"))


def test_before_the_first_counted_round_it_is_0(tmp_path: Path) -> None:
    assert OwnVariates(tmp_path).after(0, 3).tolist() == [0.0, 0.0, 0.0]
    assert made(tmp_path, (1, 0)).after(0, 3).tolist() == [0.0, 0.0, 0.0]


def test_a_round_that_was_not_counted_changes_nothing(tmp_path: Path) -> None:
    store = made(tmp_path, (1, 0), (2, 1), (3, 1), (4, 1))
    assert store.after(1, 3).tolist() == [1.0] * 3
    assert store.after(4, 3).tolist() == [4.0] * 3
    assert rounds_in(tmp_path) == [1, 4]


def test_the_newest_the_counted_and_the_one_before_it_stay(tmp_path: Path) -> None:
    store = made(tmp_path, (1, 0), (2, 1), (3, 2), (4, 3), (5, 4))
    assert rounds_in(tmp_path) == [3, 4, 5]
    # The newest checkpoint is damaged: round 4 is done again, after round 3.
    assert store.after(3, 3).tolist() == [3.0] * 3
    store.keep(4, vector(44), counted_round=3)
    assert OwnVariates(tmp_path).after(4, 3).tolist() == [44.0] * 3
    assert rounds_in(tmp_path) == [3, 4]  # the fifth is of a course that was given up


def test_a_round_done_again_has_another_hash_only_if_it_is_another(tmp_path: Path) -> None:
    store = made(tmp_path, (1, 0))
    before = store.sha256_of(1)
    store.keep(1, vector(1), counted_round=0)
    assert store.sha256_of(1) == before != ""
    store.keep(1, vector(2), counted_round=0)
    assert store.sha256_of(1) != before
    assert store.sha256_of(2) == ""


def test_a_crash_before_the_list_is_written_leaves_the_earlier_ones_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = made(tmp_path, (1, 0), (2, 1))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fedward_client.daemon.own_variates.write_atomically", die)
        with pytest.raises(KeyboardInterrupt):
            store.keep(3, vector(3), counted_round=2)
    found = OwnVariates(tmp_path)
    assert found.after(2, 3).tolist() == [2.0] * 3
    assert found.sha256_of(3) == ""
    found.keep(3, vector(3), counted_round=2)
    assert OwnVariates(tmp_path).after(3, 3).tolist() == [3.0] * 3


@pytest.mark.parametrize("damage", ["gone", "flipped", "never made"])
def test_one_that_is_gone_or_damaged_is_refused(tmp_path: Path, damage: str) -> None:
    made(tmp_path, (1, 0), (2, 1))
    file = tmp_path / "control-variate-000002.safetensors"
    if damage == "gone":
        file.unlink()
    elif damage == "flipped":
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CorruptFileError) as caught:
        OwnVariates(tmp_path).after(7 if damage == "never made" else 2, 3)
    assert caught.value.code == "CORRUPT_FILE"
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": "b"}'])
def test_a_damaged_list_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "control-variates.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match="damaged"):
        OwnVariates(tmp_path)
