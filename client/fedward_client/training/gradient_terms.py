"""What is added to a step's gradient besides that of the loss.

Penalties, FedProx's proximal term and SCAFFOLD's correction know no patient of the step. Private
training adds them after clipping and noise, so none of them costs privacy or is clipped away.

Source: Li et al. 2020, arXiv:1812.06127, algorithm 2; Karimireddy et al. 2020, arXiv:1910.06378,
algorithm 1.
"""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from fedward_client.training.optimizers import add_penalty_gradients
from fedward_common.job.training_section import TrainingSection
from fedward_common.models.flat_vector import FlatWeights


class GradientTerms:
    """The terms of one round, made when its training begins.

    Args:
        module: With the round's global weights.
        trainable: Parameters that get the terms.
        section: Penalties, and `proximal_mu`: mu times (weights - global weights).
        correction: Global control variate minus the site's own, as one vector of the whole model.
    """

    def __init__(
        self,
        module: nn.Module,
        trainable: list[Parameter],
        section: TrainingSection,
        correction: FlatWeights | None,
    ) -> None:
        self._trainable, self._section = trainable, section
        held = trainable if section.proximal_mu else []
        self._held = [(parameter, parameter.detach().clone()) for parameter in held]
        self._corrected: list[tuple[Parameter, Tensor]] = []
        if correction is not None:
            parts = dict(_parts_of(correction, module))
            self._corrected = [(parameter, parts[id(parameter)]) for parameter in trainable]

    def add(self) -> None:
        """Add all terms to the gradients that are there."""
        add_penalty_gradients(self._trainable, self._section.l1, self._section.l2)
        with torch.no_grad():
            for parameter, anchor in self._held:
                if parameter.grad is not None:
                    parameter.grad.add_(parameter - anchor, alpha=self._section.proximal_mu)
            for parameter, part in self._corrected:
                if parameter.grad is not None:
                    parameter.grad.add_(part)


def _parts_of(vector: FlatWeights, module: nn.Module) -> Iterator[tuple[int, Tensor]]:
    """Cut a vector as `ModuleWeights` lays weights side by side: parameters, then buffers."""
    begin = 0
    for tensor in chain(module.parameters(), module.buffers()):
        part = torch.from_numpy(vector[begin : begin + tensor.numel()])
        begin += tensor.numel()
        yield id(tensor), part.view(tensor.shape).to(tensor.device)
