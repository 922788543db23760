"""From a job to a module whose first weights depend on a seed alone."""

import importlib
from collections.abc import Callable

import torch
from torch import nn

from fedward_common.job.job_file import Job
from fedward_common.models.catalogue import check_model, entry_of, options_of
from fedward_common.models.model_options import ModelOptions

_Builder = Callable[[ModelOptions, int, int, int], nn.Module]


def build_model(job: Job) -> nn.Module:
    """Build the job's model: classes from its task, channels and dimensions from its images.

    The weights are drawn from torch's global generator; to fill them from elsewhere is the usual
    case, `initial_module` the other.

    Raises:
        ConfigurationError: As `check_model` says.
    """
    check_model(job)
    module_name, _, function_name = entry_of(job.model.name).builder.partition(":")
    build: _Builder = getattr(importlib.import_module(module_name), function_name)
    return build(options_of(job), job.data.spatial_dims, job.data.channels, len(job.task.classes))


def initial_module(job: Job, seed: int) -> nn.Module:
    """Build the job's model with weights that follow from the seed.

    The global generators are left as they were. The same seed gives the same bytes on machines with
    the same version of torch.

    Args:
        job: What to build.
        seed: 0 to 2^63 - 1; torch's CPU generator takes its lower 32 bits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build_model(job)
