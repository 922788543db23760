"""What a run gave this hospital: pooled figures, those of its own test patients, and the cost.

All of it is read from this home. Own figures are for the hospital's own eyes; with few patients
they are wide guesses, and their intervals say how wide. They are measured at the thresholds of the
pooled ones, where the coordinator told these.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_client.daemon.privacy_plan import has_plan, read_plan
from fedward_client.jobs.job_store import KeptJob
from fedward_client.jobs.told_result import told_result
from fedward_client.ledger.ledger_folder import ledger_folder
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.utc_clock import SystemUtcClock
from fedward_client.site_home import SiteHome
from fedward_common.errors import CorruptFileError, MalformedMessageError
from fedward_common.evaluation.checked_counts import NUM_SCORE_BINS
from fedward_common.evaluation.figures import Figure, classification_figures, segmentation_figures
from fedward_common.evaluation.multi_label_figures import multi_label_figures
from fedward_common.evaluation.operating_points import Threshold
from fedward_common.evaluation.sums import (
    MultiLabelSums,
    SegmentationSums,
    sums_from_vector,
    thresholded_names,
)
from fedward_common.job.sections import TaskSection
from fedward_common.wire.run_result import RunResult


@dataclass(frozen=True)
class Spent:
    """What a run cost each of its training patients here.

    Attributes:
        epsilon: None where nothing bounds it.
        delta: Of this epsilon.
        attempts_begun: Each is spent.
        is_over: Whether nothing more can be spent.
    """

    epsilon: float | None
    delta: float | None
    num_patients: int
    attempts_begun: int
    is_over: bool


@dataclass(frozen=True)
class OwnResult:
    """What a run gave this site.

    Attributes:
        own: Figures of the site's own test patients by name; None before they were tested.
        spent: None where the run has no place in the ledger.
        told: By the coordinator, of all sites together; None before the run's end.
    """

    own: dict[str, Figure] | None
    spent: Spent | None
    told: RunResult | None


def own_result(home: SiteHome, kept: KeptJob) -> OwnResult:
    """Give what a run left at this site.

    Raises:
        CorruptFileError: A file of the run is damaged.
        LedgerDamagedError: The ledger cannot be believed.
    """
    path = home.run_folder(kept.run) / "test-sums.npy"
    kept_result = told_result(home, kept.run)
    told = kept_result.message if kept_result else None
    if not path.exists():
        return OwnResult(None, _spent(home, kept.run), told)
    task = kept.manifest.job.task
    thresholds = own_thresholds(told, task) if told else ()
    try:
        vector = np.load(path, allow_pickle=False)
        figures = _figures(vector, task, thresholds)
    except (OSError, ValueError, MalformedMessageError) as error:
        raise CorruptFileError(f"{path} is damaged", hint="restore it from the backup") from error
    return OwnResult(figures, _spent(home, kept.run), told)


def own_thresholds(told: RunResult, task: TaskSection) -> tuple[Threshold, ...]:
    """Give the thresholds that the coordinator told, in the order of the task's findings.

    Args:
        told: Of a run of this task.
        task: The job's.

    Returns:
        One a finding of a multi-label task, one for two classes, or none.

    Raises:
        MalformedMessageError: They are not those of this task.
    """
    edges = told.threshold_bin_edges
    if not edges:
        return ()
    names = thresholded_names(task)
    in_range = all(0 <= edge <= NUM_SCORE_BINS for edge in edges.values())
    if set(edges) != set(names) or not in_range:
        raise MalformedMessageError("the thresholds are not those of the run's task")
    return tuple(Threshold(edges[name]) for name in names)


def _figures(
    vector: NDArray[np.int64], task: TaskSection, thresholds: tuple[Threshold, ...]
) -> dict[str, Figure]:
    """Give every figure; without thresholds those that need one are at probability 0.5."""
    sums = sums_from_vector(vector, task)
    if isinstance(sums, SegmentationSums):
        return segmentation_figures(sums, task.class_names)
    if isinstance(sums, MultiLabelSums):
        return multi_label_figures(sums, task.class_names, thresholds)
    return classification_figures(sums, task.class_names, thresholds[0] if thresholds else None)


def _spent(home: SiteHome, run: str) -> Spent | None:
    from fedward_common.privacy.accountant import PLD

    if ledger_folder(home).is_unused():
        return None
    with open_ledger(home, SystemUtcClock(), wait=True) as ledger:
        account = ledger.accounts.runs.get(run)
    if account is None:
        return None
    plan = read_plan(home.run_folder(run)) if has_plan(home.run_folder(run)) else None
    epsilon = delta = None
    if plan is not None and plan.is_private and plan.delta is not None:
        epsilon, delta = PLD.epsilon_of(account.spent, plan.delta), plan.delta
    begun = len(account.begun)
    return Spent(epsilon, delta, account.reserved.num_patients, begun, account.is_released)
