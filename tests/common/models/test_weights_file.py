import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from fedward_common.atomic_files import sha256_of_file
from fedward_common.errors import CorruptFileError, WeightsMismatchError
from fedward_common.models.catalogue import architecture_of
from fedward_common.models.flat_vector import flat_from_module, spec_of
from fedward_common.models.parameter_spec import ParameterSpec, TensorSpec
from fedward_common.models.registry import initial_module
from fedward_common.models.weights_file import read_weights, write_weights

SPEC = ParameterSpec("toy", (TensorSpec("b", (2, 3)), TensorSpec("a", ()), TensorSpec("c", (4,))))
VECTOR = np.arange(11, dtype=np.float32)
REFUSED = (WeightsMismatchError, CorruptFileError)


@functools.cache
def written() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        write_weights(path, SPEC, VECTOR)
        return path.read_bytes()


def read_back(content: bytes) -> np.ndarray[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        path.write_bytes(content)
        return read_weights(path, SPEC)


def test_weights_come_back_bit_for_bit_with_the_hash_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = write_weights(path, SPEC, VECTOR)
    assert digest == sha256_of_file(path)
    np.testing.assert_array_equal(read_weights(path, SPEC), VECTOR)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_whole_model_goes_there_and_back(make_job: Any, tmp_path: Path) -> None:
    job = make_job("cnn", width=8)
    module = initial_module(job, 1)
    spec = spec_of(module, architecture_of(job))
    write_weights(tmp_path / "w", spec, flat_from_module(module))
    np.testing.assert_array_equal(read_weights(tmp_path / "w", spec), flat_from_module(module))


@pytest.mark.parametrize("options", [{"groups": 4}, {"width": 16}, {"blocks": 2}])
def test_weights_of_another_architecture_are_refused_by_name(
    make_job: Any, tmp_path: Path, options: dict[str, int]
) -> None:
    specs = []
    for job in (make_job("cnn", width=8), make_job("cnn", **{"width": 8, **options})):
        specs.append(spec_of(initial_module(job, 1), architecture_of(job)))
    write_weights(tmp_path / "w", specs[1], np.zeros(specs[1].num_parameters, np.float32))
    with pytest.raises(WeightsMismatchError) as caught:
        read_weights(tmp_path / "w", specs[0])
    assert specs[1].architecture in str(caught.value)


def test_a_vector_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatchError):
        write_weights(tmp_path / "w", SPEC, VECTOR[:5])
    assert not list(tmp_path.iterdir())


TENSORS = SPEC.views_of(VECTOR)
METADATA = {"architecture": "toy", "parameter_spec_sha256": SPEC.hash}


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({k: v for k, v in TENSORS.items() if k != "a"}, "missing: a"),
        (TENSORS | {"z": VECTOR}, "extra: z"),
        (TENSORS | {"c": VECTOR[:3]}, r"c \[3\] instead of \[4\]"),
        (TENSORS | {"c": VECTOR[:0]}, r"holds c F32 \[0\]"),
        (TENSORS | {"c": VECTOR[:4].astype(np.float16)}, "holds c F16"),
        (TENSORS | {"c": VECTOR[:4].astype(np.complex64)}, "holds c C64"),
        (TENSORS | {"c": np.arange(4)}, "holds c I64"),
        ({}, "no tensors"),
    ],
)
def test_other_tensors_are_refused_by_name(
    tmp_path: Path, tensors: dict[str, np.ndarray[Any, Any]], expected: str
) -> None:
    save_file(tensors, tmp_path / "w", metadata=METADATA)
    with pytest.raises(WeightsMismatchError, match=expected):
        read_weights(tmp_path / "w", SPEC)


def test_a_safetensors_file_of_unknown_origin_is_refused() -> None:
    with pytest.raises(WeightsMismatchError, match="architecture unnamed instead of toy"):
        read_back(save(TENSORS))


@given(length=st.integers(0, len(written()) - 1))
@settings(max_examples=150, deadline=None)
def test_a_file_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(CorruptFileError):
        read_back(written()[:length])


@given(bit=st.integers(0, 8 * len(written()) - 1))
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_anywhere_is_refused(bit: int) -> None:
    content = bytearray(written())
    content[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(REFUSED):
        read_back(bytes(content))


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(CorruptFileError):
        read_back(written() + b"\0")


@pytest.mark.parametrize("header_bytes", [4_000_001, 2**40, 2**64 - 1])
def test_a_huge_header_is_refused_before_it_is_parsed(header_bytes: int) -> None:
    with pytest.raises(CorruptFileError, match=f"header of {header_bytes} bytes"):
        read_back(header_bytes.to_bytes(8, "little") + bytes(4_000_100))


def test_deeply_nested_json_is_refused() -> None:
    header = b'{"a":' * 50_000
    with pytest.raises(CorruptFileError):
        read_back(len(header).to_bytes(8, "little") + header)


def test_tensors_that_share_bytes_are_refused() -> None:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    with pytest.raises(REFUSED):
        read_back(len(header).to_bytes(8, "little") + header + bytes(16))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pytorch_pickle_is_refused_by_name_and_never_loaded(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsMismatchError, match="PyTorch pickle, which is never read"):
        read_weights(tmp_path / "w.pt", SPEC)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="No such file"):
        read_weights(tmp_path / "none", SPEC)
    with pytest.raises(CorruptFileError, match="directory"):
        read_weights(tmp_path, SPEC)


def test_non_finite_weights_are_refused_on_the_way_in() -> None:
    values = VECTOR.copy()
    values[3] = np.nan
    with pytest.raises(CorruptFileError):
        read_back(save(SPEC.views_of(values), metadata=METADATA))
