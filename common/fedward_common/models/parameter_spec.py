"""What a model's weights look like as one flat vector: names, shapes, order, and a hash of them.

No import of torch. A vector that passed `verify_flat` may be loaded, sent or summed.
"""

import functools
import hashlib
import itertools
import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import WeightsMismatchError

FlatWeights = NDArray[np.float32]

_BLOCK = 1 << 16
_NAMED_AT_MOST = 3


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a model; a scalar has shape ()."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype != "float32" or min(self.shape, default=1) < 1:
            raise WeightsMismatchError(
                f"tensor {self.name} is {self.dtype} {list(self.shape)}",
                hint="weights are float32 and no tensor is empty",
            )

    @property
    def num_parameters(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ParameterSpec:
    """All tensors of a model in the order in which they stand in the flat vector.

    `architecture` is the text of `catalogue.architecture_of`: two specs with the same tensors but
    other architectures are different specs.
    """

    architecture: str
    tensors: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        names = [tensor.name for tensor in self.tensors]
        if not names or len(set(names)) != len(names):
            raise WeightsMismatchError(
                f"{self.architecture} has no tensors, or two of one name",
                hint="each weight needs a name of its own",
            )

    @functools.cached_property
    def num_parameters(self) -> int:
        """Length of the flat vector."""
        return sum(tensor.num_parameters for tensor in self.tensors)

    @functools.cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each tensor begins in the flat vector."""
        sizes = (tensor.num_parameters for tensor in self.tensors[:-1])
        return tuple(itertools.accumulate(sizes, initial=0))

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256, in hex, of the canonical JSON of the architecture and all tensors."""
        tensors = [[t.name, list(t.shape), t.dtype] for t in self.tensors]
        text = json.dumps(
            ["fedward-parameter-spec-v1", self.architecture, tensors], separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def views_of(self, vector: FlatWeights) -> dict[str, FlatWeights]:
        """Cut a vector of the right length into its named tensors, without a copy."""
        return {
            tensor.name: vector[begin : begin + tensor.num_parameters].reshape(tensor.shape)
            for tensor, begin in zip(self.tensors, self.offsets, strict=True)
        }

    def verify_flat(self, vector: NDArray[np.generic]) -> FlatWeights:
        """Accept a vector of these weights; the very same array is returned.

        Raises:
            WeightsMismatchError: Another dtype, shape or length, NaN or infinity.
        """
        needed = f"float32 ({self.num_parameters},)"
        if vector.dtype != np.float32 or vector.shape != (self.num_parameters,):
            raise WeightsMismatchError(
                f"weights are {vector.dtype} {vector.shape}, {self.architecture} needs {needed}",
                hint="they belong to another model, or to this one with other options",
            )
        flat: FlatWeights = vector.astype(np.float32, copy=False)
        for begin in range(0, flat.size, _BLOCK):
            finite = np.isfinite(flat[begin : begin + _BLOCK])
            if not finite.all():
                at = begin + int(np.argmin(finite))
                raise WeightsMismatchError(
                    f"weights of {self.architecture} hold {flat[at]} in {self._name_at(at)}",
                    hint="every weight must be finite; lower the learning rate",
                )
        return flat

    def _name_at(self, position: int) -> str:
        index = int(np.searchsorted(self.offsets, position, side="right")) - 1
        return self.tensors[index].name

    def difference(self, other: "ParameterSpec") -> str:
        """Say how `other` differs, naming the first tensors; empty if it does not.

        Tensors are called missing where only this spec has them and extra where only `other` has.
        """
        mine = {tensor.name: tensor for tensor in self.tensors}
        theirs = {tensor.name: tensor for tensor in other.tensors}
        reshaped = [
            f"{name} {list(theirs[name].shape)} instead of {list(mine[name].shape)}"
            for name in mine
            if name in theirs and theirs[name] != mine[name]
        ]
        parts = [
            _first("missing", [name for name in mine if name not in theirs]),
            _first("extra", [name for name in theirs if name not in mine]),
            _first("of another shape", reshaped),
        ]
        if not any(parts) and self.tensors != other.tensors:
            parts.append("the same tensors in another order")
        if self.architecture != other.architecture:
            parts.insert(0, f"architecture {other.architecture} instead of {self.architecture}")
        return "; ".join(part for part in parts if part)


def _first(kind: str, names: list[str]) -> str:
    if not names:
        return ""
    more = len(names) - _NAMED_AT_MOST
    rest = f" and {more} more" if more > 0 else ""
    return f"{kind}: {', '.join(names[:_NAMED_AT_MOST])}{rest}"
