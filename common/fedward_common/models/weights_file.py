"""Weights at rest: a safetensors file that is either exactly the expected weights or refused.

The metadata holds the architecture, the hash of the parameter spec and the hash of the values, so
a changed bit anywhere in the file is found. Nothing is ever unpickled. No import of torch.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fedward_common.errors import CorruptFileError, WeightsMismatchError
from fedward_common.models.parameter_spec import FlatWeights, ParameterSpec, TensorSpec
from fedward_common.tensor_file import write_tensors

_MAX_HEADER_BYTES = 4_000_000
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x04")  # torch.save: zip, legacy, pickle itself


def write_weights(path: Path, spec: ParameterSpec, vector: FlatWeights) -> str:
    """Write a model's weights atomically.

    Args:
        path: Where; its folder exists.
        spec: What the vector means.
        vector: Shape (spec.num_parameters,).

    Returns:
        SHA-256 of the file, in hex.

    Raises:
        WeightsMismatchError: The vector does not fit the spec; nothing was written.
        DiskFullError: No space; the old file is untouched.
    """
    flat = np.ascontiguousarray(spec.verify_flat(vector))
    return write_tensors(path, spec.views_of(flat), _metadata(spec, flat))


def read_weights(path: Path, spec: ParameterSpec) -> FlatWeights:
    """Read weights of this spec, shape (spec.num_parameters,), finite.

    Raises:
        CorruptFileError: The file is missing, cut short, changed, or no safetensors file.
        WeightsMismatchError: It holds another model's weights, or is a PyTorch pickle.
    """
    _verify_header_length(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            _verify_architecture(path, spec, metadata, _tensors_of(file))
            vector = np.empty(spec.num_parameters, dtype=np.float32)
            for name, target in spec.views_of(vector).items():
                np.copyto(target, file.get_tensor(name))
    except (SafetensorError, OSError) as error:
        raise CorruptFileError(
            f"{path} is no whole safetensors file: {error}", hint="copy it again from its source"
        ) from error
    if metadata != _metadata(spec, vector):
        raise CorruptFileError(
            f"{path} holds other values than were written", hint="copy it again from its source"
        )
    return spec.verify_flat(vector)


def _metadata(spec: ParameterSpec, vector: FlatWeights) -> dict[str, str]:
    return {
        "architecture": spec.architecture,
        "parameter_spec_sha256": spec.hash,
        "values_sha256": hashlib.sha256(vector.data).hexdigest(),
    }


def _verify_header_length(path: Path) -> None:
    """Refuse, before a parser sees it, what is no safetensors file of a sensible header."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
        size = path.stat().st_size
    except OSError as error:
        raise CorruptFileError(
            f"{path}: {error.strerror or type(error).__name__}", hint="check the path"
        ) from error
    header_bytes = int.from_bytes(start, "little")
    if len(start) == 8 and header_bytes <= min(_MAX_HEADER_BYTES, size - 8):
        return
    if start.startswith(_PICKLES):
        raise WeightsMismatchError(
            f"{path} is a PyTorch pickle, which is never read: loading one can run any code",
            hint="save its tensors with safetensors",
        )
    raise CorruptFileError(
        f"{path} names a header of {header_bytes} bytes in a file of {size}",
        hint=f"a weights file has a header of at most {_MAX_HEADER_BYTES} bytes; copy it again",
    )


def _tensors_of(file: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Give dtype and shape by name, from the header alone."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    return {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}


def _verify_architecture(
    path: Path,
    spec: ParameterSpec,
    metadata: dict[str, str],
    tensors: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    unusable = [
        f"{name} {dtype} {list(shape)}"
        for name, (dtype, shape) in sorted(tensors.items())
        if dtype != "F32" or 0 in shape
    ]
    if unusable:
        raise WeightsMismatchError(
            f"{path} holds {unusable[0]}", hint="weights are F32 and no tensor is empty"
        )
    in_spec_order = [t.name for t in spec.tensors if t.name in tensors]
    others = [name for name in tensors if name not in set(in_spec_order)]
    found = ParameterSpec(
        metadata.get("architecture", "unnamed"),
        tuple(TensorSpec(name, tensors[name][1]) for name in in_spec_order + others),
    ) if tensors else None  # fmt: skip
    if found is None or found != spec:
        how = spec.difference(found) if found else "no tensors"
        raise WeightsMismatchError(
            f"{path} holds weights of another model: {how}",
            hint=f"weights of {spec.architecture} are needed",
        )
