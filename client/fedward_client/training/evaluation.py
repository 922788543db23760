"""Evaluation of a network on one split of a job view, as sums that merge."""

import numpy as np
import torch
from numpy.typing import NDArray

from fedward_client.cohorts.source import Split
from fedward_client.cohorts.views.job_view import JobView
from fedward_client.training.local_training import pick_device
from fedward_common.evaluation.sums import Sums, empty_sums
from fedward_common.job.job_file import Job
from fedward_common.models.network_evaluation import evaluate_cases, logits_of


def evaluate_split(module: torch.nn.Module, job: Job, view: JobView, split: Split) -> Sums:
    """Evaluate on every annotated case of a split; no augmentation, no dropout.

    Returns:
        Sums over patients; empty sums where the split has none.

    Raises:
        UnusableUpdateError: The network's output is not finite.
    """
    groups = view.cases_by_patient(split)
    if not groups:
        return empty_sums(job.task)
    cases = np.concatenate(groups)
    patients = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return evaluate_cases(module, job, view, cases, patients, pick_device())


def predict(
    module: torch.nn.Module, view: JobView, cases: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.device]:
    """Give logits of some cases, on the device they were computed on."""
    device = pick_device()
    return logits_of(module, view, cases, device), device
