"""A module's weights to and from one flat float32 vector.

All parameters and all buffers belong to the vector, in the module's own order. Copies go tensor by
tensor: nothing of the model's size is allocated besides the vector itself.
"""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from fedward_common.errors import WeightsMismatchError
from fedward_common.models.parameter_spec import FlatWeights, ParameterSpec, TensorSpec

__all__ = ["FlatWeights", "flat_from_module", "load_flat", "spec_of"]


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


def flat_from_module(module: nn.Module) -> FlatWeights:
    """Copy a module's weights into a new vector on the CPU."""
    tensors = [tensor.detach() for _, tensor in _named_tensors(module)]
    vector = np.empty(sum(tensor.numel() for tensor in tensors), dtype=np.float32)
    begin = 0
    for tensor in tensors:
        end = begin + tensor.numel()
        vector[begin:end] = tensor.cpu().numpy().reshape(-1)
        begin = end
    return vector


def load_flat(module: nn.Module, vector: FlatWeights, spec: ParameterSpec) -> None:
    """Overwrite a module's weights in place, on whatever device they are.

    Args:
        module: A module of this spec.
        vector: Shape (spec.num_parameters,); may be read-only.
        spec: As `spec_of` gave it for such a module.

    Raises:
        WeightsMismatchError: The vector is unusable or the module is another; it is unchanged.
    """
    spec.verify_flat(vector)
    targets = list(_named_tensors(module))
    if [(name, tuple(tensor.shape)) for name, tensor in targets] != [
        (tensor.name, tensor.shape) for tensor in spec.tensors
    ]:
        found = spec_of(module, spec.architecture)
        raise WeightsMismatchError(
            f"the module is no {spec.architecture}: {spec.difference(found)}",
            hint="build it from the same job as the weights",
        )
    views = spec.views_of(vector)
    for name, target in targets:
        _overwrite(target.detach(), views[name])


def _overwrite(target: Tensor, values: FlatWeights) -> None:
    if target.device.type == "cpu":
        np.copyto(target.numpy(), values)
    else:
        # torch warns of read-only arrays, so the tensor is copied once on its way to the device.
        target.copy_(torch.from_numpy(values.copy()))


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())
