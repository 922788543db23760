import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file

from fedward_common.atomic_files import sha256_of_file, write_atomically
from fedward_common.errors import CorruptFileError
from fedward_common.tensor_file import read_tensors, write_tensors

TENSORS: dict[str, NDArray[np.float32]] = {
    "weights": np.linspace(-1, 1, 100, dtype=np.float32),
    "momentum": np.array([np.nan, np.inf, -0.0], dtype=np.float32),
}
any_tensors = st.dictionaries(
    st.text("abc._/ü", min_size=1, max_size=8),
    arrays_of.arrays(np.float32, arrays_of.array_shapes(max_dims=2, min_side=0, max_side=5)),
    max_size=4,
)


@given(tensors=any_tensors)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_tensors_come_back_bit_for_bit(
    tmp_path: Path, tensors: dict[str, NDArray[np.float32]]
) -> None:
    path = tmp_path / "file.safetensors"
    sha256 = write_tensors(path, tensors, {})
    found = read_tensors(path, sha256)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == tensor.shape
        assert found[name].tobytes() == tensor.tobytes()


def test_the_safetensors_library_reads_tensors_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    metadata = {"round": "7", "job": 'ü "quoted"\n', "empty": ""}
    assert write_tensors(path, TENSORS, metadata) == sha256_of_file(path)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == metadata
        assert set(file.keys()) == set(TENSORS)
        for name, tensor in TENSORS.items():
            np.testing.assert_array_equal(file.get_tensor(name), tensor)


def test_what_lies_scattered_in_memory_is_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    scattered = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    found = read_tensors(path, write_tensors(path, {"w": scattered}, {}))
    np.testing.assert_array_equal(found["w"], scattered)


def test_the_data_begin_at_a_multiple_of_eight_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    for length in range(9):
        write_tensors(path, TENSORS, {"pad": "x" * length})
        assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0


def test_the_same_tensors_give_the_same_file(tmp_path: Path) -> None:
    hashes = {write_tensors(tmp_path / f"{n}", TENSORS, {"a": "b"}) for n in range(3)}
    assert len(hashes) == 1


def test_none_of_60_flipped_bits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    sha256 = write_tensors(path, TENSORS, {"round": "7"})
    whole = path.read_bytes()
    for bit in random.Random(7).sample(range(8 * len(whole)), 60):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CorruptFileError, match="SHA-256"):
            read_tensors(path, sha256)
    path.write_bytes(whole)
    assert read_tensors(path, sha256).keys() == TENSORS.keys()


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "file.safetensors"
    sha256 = write_tensors(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CorruptFileError):
        read_tensors(path, sha256)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="missing"):
        read_tensors(tmp_path / "none", "0" * 64)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 8, b"\xff" * 64, b"PK\x03\x04" + b"\x00" * 60, (2**40).to_bytes(8, "little")],
    ids=["empty", "zeros", "ones", "zip", "giant header"],
)
def test_a_file_with_the_right_hash_that_is_no_safetensors_file_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "file.safetensors"
    sha256 = write_atomically(path, content)
    with pytest.raises(CorruptFileError, match="no safetensors file"):
        read_tensors(path, sha256)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    sha256 = write_tensors(path, TENSORS, {})
    broken: dict[str, Any] = {"w": np.zeros(3, np.float32), "x": None}
    with pytest.raises(AttributeError):
        write_tensors(path, broken, {})
    assert read_tensors(path, sha256).keys() == load_file(path).keys() == TENSORS.keys()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
