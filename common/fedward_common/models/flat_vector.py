"""A module's weights to and from one flat float32 vector.

All parameters and all buffers belong to the vector, in the module's own order. Copies go tensor by
tensor: nothing of the model's size is allocated besides the vector itself.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedward_common.errors import WeightsMismatchError
from fedward_common.models.parameter_spec import FlatWeights, ParameterSpec, TensorSpec

__all__ = ["FlatWeights", "ModuleWeights", "flat_from_module", "load_flat", "spec_of"]


def spec_of(module: nn.Module, architecture: str) -> ParameterSpec:
    """Describe a module's weights.

    Raises:
        WeightsMismatchError: A parameter or buffer is not float32, for instance the integer
            `num_batches_tracked` of a batch norm.
    """
    tensors = []
    for name, tensor in _named_tensors(module):
        if tensor.dtype != torch.float32:
            raise WeightsMismatchError(
                f"{architecture}: {name} is {tensor.dtype}, torch.float32 is needed",
                hint="a mean of integers over hospitals means nothing; use group norm",
            )
        tensors.append(TensorSpec(name, tuple(tensor.shape)))
    return ParameterSpec(architecture, tuple(tensors))


class ModuleWeights:
    """A module's weights as one vector that its tensors are views of from now on.

    For whoever loads and flattens every round: one copy each, however many tensors there are.

    Args:
        module: Stays on its device and keeps its tensors.
        spec: As `spec_of` gave it for such a module.

    Raises:
        WeightsMismatchError: The module is another than the spec's.
    """

    def __init__(self, module: nn.Module, spec: ParameterSpec) -> None:
        targets = list(_named_tensors(module))
        if [(name, tuple(tensor.shape)) for name, tensor in targets] != [
            (tensor.name, tensor.shape) for tensor in spec.tensors
        ]:
            found = spec_of(module, spec.architecture)
            raise WeightsMismatchError(
                f"the module is no {spec.architecture}: {spec.difference(found)}",
                hint="build it from the same job as the weights",
            )
        self._spec = spec
        self._flat = _joined([tensor for _, tensor in targets])
        self._on_cpu = self._flat.numpy() if self._flat.device.type == "cpu" else None
        self._usable_sha256 = ""

    def load(self, unverified: NDArray[Any]) -> FlatWeights:
        """Overwrite the weights in place, on whatever device they are.

        Args:
            unverified: Shape (spec.num_parameters,); may be read-only.

        Returns:
            The same vector, now known to be usable.

        Raises:
            WeightsMismatchError: The vector is unusable; the module is unchanged.
        """
        vector = self._usable(unverified)
        if self._on_cpu is None:
            # torch warns of read-only arrays, so the tensor is copied once on its way to a device.
            self._flat.copy_(torch.from_numpy(vector.copy()))
        else:
            np.copyto(self._on_cpu, vector)
        return vector

    def _usable(self, unverified: NDArray[Any]) -> FlatWeights:
        """Verify a vector; one whose hash is known, and was when it was verified, needs it once."""
        sha256 = getattr(unverified, "known_sha256", "")  # `HashedArray` of this process
        if sha256 and sha256 == self._usable_sha256:
            return unverified
        vector = self._spec.verify_flat(unverified)
        self._usable_sha256 = sha256
        return vector

    def minus(self, vector: FlatWeights) -> FlatWeights:
        """Give the weights less `vector`, of the same shape, as a new vector on the CPU."""
        mine = self._flat.cpu().numpy() if self._on_cpu is None else self._on_cpu
        difference: FlatWeights = mine - np.asarray(vector)
        return difference


def _joined(tensors: list[Tensor]) -> Tensor:
    """Lay tensors side by side in one vector and make each a view of its part."""
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    begin = 0
    for tensor in tensors:
        end = begin + tensor.numel()
        tensor.data = flat[begin:end].view(tensor.shape)
        begin = end
    return flat


def flat_from_module(module: nn.Module) -> FlatWeights:
    """Copy a module's weights into a new vector on the CPU."""
    return _flat_of([tensor.detach() for _, tensor in _named_tensors(module)])


def load_flat(module: nn.Module, vector: FlatWeights, spec: ParameterSpec) -> None:
    """Overwrite a module's weights, as `ModuleWeights.load` does."""
    ModuleWeights(module, spec).load(vector)


def _flat_of(tensors: list[Tensor]) -> FlatWeights:
    vector = np.empty(sum(tensor.numel() for tensor in tensors), dtype=np.float32)
    begin = 0
    for tensor in tensors:
        end = begin + tensor.numel()
        vector[begin:end] = tensor.cpu().numpy().reshape(-1)
        begin = end
    return vector


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())
