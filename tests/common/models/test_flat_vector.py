from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedward_common.errors import WeightsMismatchError
from fedward_common.models.flat_vector import (
    ModuleWeights,
    flat_from_module,
    load_flat,
    spec_of,
)
from fedward_common.models.parameter_spec import ParameterSpec, TensorSpec
from fedward_common.wire.envelope import hashed

SPEC = ParameterSpec("toy", (TensorSpec("a", (2, 3)), TensorSpec("b", ()), TensorSpec("c", (4,))))


class WithBuffer(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("scale", torch.tensor(2, dtype=dtype))


def test_offsets_and_size_of_a_toy_spec() -> None:
    assert SPEC.offsets == (0, 6, 7)
    assert SPEC.num_parameters == 11


def test_the_hash_is_the_sha256_of_the_canonical_text() -> None:
    # printf '["fedward-parameter-spec-v1","toy",[["w",[2],"float32"]]]' | sha256sum
    spec = ParameterSpec("toy", (TensorSpec("w", (2,)),))
    assert spec.hash == "f6c0eb1e8c36257ea702322a69b24553b1e94e45637e1d23778d2dc6cf8ede98"


@pytest.mark.parametrize(
    "other",
    [
        ParameterSpec("other", SPEC.tensors),
        ParameterSpec("toy", SPEC.tensors[:2]),
        ParameterSpec("toy", (*SPEC.tensors[1:], SPEC.tensors[0])),
        ParameterSpec("toy", (TensorSpec("a", (3, 2)), *SPEC.tensors[1:])),
    ],
)
def test_any_difference_changes_the_hash_and_is_told(other: ParameterSpec) -> None:
    assert other.hash != SPEC.hash
    assert SPEC.difference(other)
    assert SPEC.difference(SPEC) == ""


def test_a_difference_names_the_first_tensors() -> None:
    others = tuple(TensorSpec(f"x{i}", (1,)) for i in range(5))
    other = ParameterSpec("toy", (TensorSpec("a", (3, 2)), *others))
    assert SPEC.difference(other) == (
        "missing: b, c; extra: x0, x1, x2 and 2 more; of another shape: a [3, 2] instead of [2, 3]"
    )


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (np.zeros(10, np.float32), "(10,)"),
        (np.zeros((11, 1), np.float32), "(11, 1)"),
        (np.zeros(11, np.float64), "float64"),
        (np.zeros(11, np.float16), "float16"),
        (np.zeros(11, np.complex64), "complex64"),
        (np.zeros(11, ">f4"), ">f4"),
    ],
)
def test_another_dtype_or_shape_is_refused_by_name(
    vector: np.ndarray[Any, Any], expected: str
) -> None:
    with pytest.raises(WeightsMismatchError, match="toy needs float32") as caught:
        SPEC.verify_flat(vector)
    assert expected in str(caught.value)


@given(at=st.integers(0, 10), value=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_non_finite_value_is_refused_with_its_tensor(at: int, value: float) -> None:
    vector = np.zeros(11, np.float32)
    vector[at] = value
    name = "a" if at < 6 else "b" if at < 7 else "c"
    with pytest.raises(WeightsMismatchError, match=f"in {name}$"):
        SPEC.verify_flat(vector)


def test_a_usable_vector_comes_back_as_the_same_array() -> None:
    vector = np.arange(11, dtype=np.float32)
    assert SPEC.verify_flat(vector) is vector


def test_empty_tensors_and_doubled_names_make_no_spec() -> None:
    with pytest.raises(WeightsMismatchError):
        TensorSpec("a", (2, 0))
    with pytest.raises(WeightsMismatchError):
        TensorSpec("a", (2,), "float16")
    with pytest.raises(WeightsMismatchError):
        ParameterSpec("toy", (TensorSpec("a", (1,)), TensorSpec("a", (2,))))
    with pytest.raises(WeightsMismatchError):
        ParameterSpec("toy", ())


def test_parameters_and_buffers_go_there_and_back_even_from_read_only_memory() -> None:
    module = WithBuffer()
    spec = spec_of(module, "toy")
    assert [t.name for t in spec.tensors] == ["layer.weight", "layer.bias", "scale"]
    vector = np.frombuffer(np.arange(9, dtype=np.float32).tobytes(), dtype=np.float32)
    load_flat(module, vector, spec)
    np.testing.assert_array_equal(flat_from_module(module), vector)
    assert module.layer.bias.tolist() == [6.0, 7.0]
    assert module.layer.weight.requires_grad


def test_weights_are_the_last_that_were_loaded_however_often() -> None:
    module = WithBuffer()
    weights = ModuleWeights(module, spec_of(module, "toy"))
    first, second = np.zeros(9, np.float32), np.arange(9, dtype=np.float32)
    known = hashed({"first": first, "second": second})
    for vector in (known["first"], known["second"], known["first"], known["second"], first):
        weights.load(vector)
        np.testing.assert_array_equal(flat_from_module(module), vector)
        np.testing.assert_array_equal(weights.minus(second), vector - second)


def test_a_vector_without_a_known_hash_is_verified_each_time() -> None:
    module = WithBuffer()
    weights = ModuleWeights(module, spec_of(module, "toy"))
    vector = np.arange(9, dtype=np.float32)
    for usable in (vector, hashed({"known": vector})["known"]):
        weights.load(usable)
    vector[4] = np.nan
    with pytest.raises(WeightsMismatchError, match="hold nan"):
        weights.load(vector)


def test_a_vector_that_was_refused_is_refused_again() -> None:
    module = WithBuffer()
    weights = ModuleWeights(module, spec_of(module, "toy"))
    unusable = hashed({"known": np.full(9, np.inf, np.float32)})["known"]
    for _ in range(2):
        with pytest.raises(WeightsMismatchError, match="hold inf"):
            weights.load(unusable)


def test_memory_order_of_a_module_does_not_matter() -> None:
    module = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    vector = np.arange(112, dtype=np.float32)
    load_flat(module, vector, spec_of(module, "conv"))
    np.testing.assert_array_equal(flat_from_module(module), vector)
    assert module.weight[0, 0].flatten().tolist() == list(range(9))


def test_a_vector_of_another_length_leaves_the_module_as_it_was() -> None:
    module = WithBuffer()
    before = flat_from_module(module)
    with pytest.raises(WeightsMismatchError, match=r"\(8,\)"):
        load_flat(module, np.zeros(8, np.float32), spec_of(module, "toy"))
    np.testing.assert_array_equal(flat_from_module(module), before)


def test_a_module_of_another_architecture_is_refused_by_name() -> None:
    spec = spec_of(nn.Linear(2, 4), "linear")  # 12 values, as below
    with pytest.raises(WeightsMismatchError, match=r"weight \[3, 4\] instead of \[4, 2\]"):
        load_flat(nn.Linear(4, 3, bias=False), np.zeros(12, np.float32), spec)


@pytest.mark.parametrize(
    "module", [nn.BatchNorm2d(3), WithBuffer(torch.int64), WithBuffer(torch.float64)]
)
def test_buffers_that_cannot_be_averaged_are_refused(module: nn.Module) -> None:
    with pytest.raises(WeightsMismatchError, match=r"num_batches_tracked|scale"):
        spec_of(module, "toy")
