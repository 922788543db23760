"""The figure of some weights on a hold-out set, always reckoned on the CPU and in one order."""

import numpy as np
import torch

from fedward_common.errors import UnusableUpdateError
from fedward_common.job.job_file import Job
from fedward_common.models.catalogue import architecture_of
from fedward_common.models.flat_vector import ModuleWeights, spec_of
from fedward_common.models.network_evaluation import evaluate_cases
from fedward_common.models.registry import initial_module
from fedward_server.coordinator.hold_out_set import HoldOutSet
from fedward_server.coordinator.pooled_evaluation import figures_of, thresholds_of

_CPU = torch.device("cpu")


class HoldOutEvaluation:
    """A network of the job's, kept for the whole run.

    Args:
        job: Model, task and loss.
        held: The set.
        metric: Name of the figure.
    """

    def __init__(self, job: Job, held: HoldOutSet, metric: str) -> None:
        self._job, self._held, self._metric = job, held, metric
        self._module = initial_module(job, 0)
        self._weights = ModuleWeights(self._module, spec_of(self._module, architecture_of(job)))

    def value_of(self, weights: bytes) -> float | None:
        """Evaluate float32 weights; None where what the network gives is not finite."""
        self._weights.load(np.frombuffer(weights, dtype=np.float32))
        held, cases = self._held, np.arange(len(self._held.images))
        try:
            sums = evaluate_cases(self._module, self._job, held, cases, held.patients, _CPU)
        except UnusableUpdateError:
            return None
        figures = figures_of(sums, self._job.task, thresholds_of(sums), split="hold-out")
        value: float | None = figures[self._metric]["value"]
        return value
