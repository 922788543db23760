"""The weights a run begins with: drawn from the seed, or read from a file."""

from pathlib import Path

from fedward_common.job.job_file import Job
from fedward_common.models.catalogue import architecture_of
from fedward_common.models.flat_vector import FlatWeights, flat_from_module, spec_of
from fedward_common.models.parameter_spec import ParameterSpec
from fedward_common.models.registry import initial_module
from fedward_common.models.weights_file import read_weights
from fedward_common.randomness import derive_seed


def initial_weights_of(job: Job, seed: int) -> tuple[FlatWeights, ParameterSpec]:
    """Give initial weights and the spec they fit.

    Raises:
        WeightsMismatchError: `model.start` names a file with weights of another architecture.
        CorruptFileError: That file is no safetensors file.
    """
    module = initial_module(job, derive_seed(seed, "initial-weights"))
    spec = spec_of(module, architecture_of(job))
    if job.model.start != "random":
        return read_weights(Path(job.model.start), spec), spec
    return flat_from_module(module), spec


def spec_of_job(job: Job) -> ParameterSpec:
    """Give the spec of a job's weights."""
    return spec_of(initial_module(job, 0), architecture_of(job))
