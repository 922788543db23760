"""The job file as frozen dataclasses, one a section.

A job that was built is valid in itself: ranges and combinations are checked when a section is made.
Settings that change what a hospital is promised (`[privacy]`, `[secure_aggregation]`) have no
default; they stand in every job. Class weights and normalisation constants are part of the job:
nothing is derived from a site's own statistics.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedward_common.errors import ConfigurationError
from fedward_common.job.checks import require
from fedward_common.job.hold_out_section import HoldOutSection, check_hold_out_fits_task
from fedward_common.job.joint_rules import check_joint_fits_job
from fedward_common.job.privacy_section import AdaptiveClippingSection, PrivacySection
from fedward_common.job.scaffold_rules import check_scaffold_fits_job
from fedward_common.job.sections import (
    DataSection,
    EvaluationSection,
    JobSection,
    ModelSection,
    Option,
    QuorumSection,
    SplitFractions,
    StrategySection,
    TaskClass,
    TaskSection,
)
from fedward_common.job.secure_aggregation_rules import check_secure_aggregation_fits_job
from fedward_common.job.secure_aggregation_section import SecureAggregationSection
from fedward_common.job.single_update_rules import check_single_updates_fit_job
from fedward_common.job.training_section import (
    AugmentationSection,
    LossSection,
    OptimizerSection,
    ScheduleSection,
    TrainingSection,
)
from fedward_common.settings import from_table, read_toml, with_overrides

__all__ = [
    "CLASSIFICATION_METRICS",
    "SEGMENTATION_METRICS",
    "AdaptiveClippingSection",
    "AugmentationSection",
    "DataSection",
    "EvaluationSection",
    "HoldOutSection",
    "Job",
    "JobSection",
    "LossSection",
    "ModelSection",
    "OptimizerSection",
    "Option",
    "PrivacySection",
    "QuorumSection",
    "ScheduleSection",
    "SecureAggregationSection",
    "SplitFractions",
    "StrategySection",
    "TaskClass",
    "TaskSection",
    "TrainingSection",
    "job_from_table",
    "read_job",
    "table_of_job",
]

CLASSIFICATION_METRICS = ("auc", "balanced_accuracy", "accuracy", "loss")
SEGMENTATION_METRICS = ("dice", "loss")


@dataclass(frozen=True)
class Job:
    """A whole job; what cannot go together is refused here."""

    job: JobSection
    task: TaskSection
    model: ModelSection
    data: DataSection
    training: TrainingSection
    privacy: PrivacySection
    secure_aggregation: SecureAggregationSection
    strategy: StrategySection = field(default_factory=StrategySection)
    quorum: QuorumSection = field(default_factory=QuorumSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    hold_out: HoldOutSection | None = None

    def __post_init__(self) -> None:
        _check_privacy_fits_training(self)
        check_joint_fits_job(self)
        check_scaffold_fits_job(self)
        check_single_updates_fit_job(self)
        check_secure_aggregation_fits_job(self)
        _check_loss_fits_task(self)
        _check_selection_fits_task(self)
        _check_axes_exist(self)
        require(
            self.training.schedule.warmup_rounds < self.job.rounds,
            "training.schedule.warmup_rounds", "leaves no round after the warm-up",
            f"fewer than job.rounds = {self.job.rounds}",
        )  # fmt: skip

    @property
    def selection_metric(self) -> str:
        """The metric that chooses the best round: `auto` is AUC, or Dice for masks."""
        if self.evaluation.select != "auto":
            return self.evaluation.select
        return "dice" if self.task.kind == "segmentation" else "auc"


def _check_privacy_fits_training(job: Job) -> None:
    require(
        job.privacy.mechanism == "none" or not job.training.mixed_precision,
        "training.mixed_precision", "cannot go with differential privacy",
        "half precision would let a gradient be longer than its bound: leave it out",
    )  # fmt: skip


def _check_loss_fits_task(job: Job) -> None:
    loss, task = job.training.loss, job.task
    require(
        task.kind == "segmentation" or loss.name in ("cross-entropy", "focal"),
        "training.loss.name", f"is {loss.name!r} for {task.kind}",
        "cross-entropy or focal; the Dice losses need masks",
    )  # fmt: skip
    require(
        len(loss.class_weights) in (0, len(task.classes)),
        "training.loss.class_weights", f"has {len(loss.class_weights)} values",
        f"one for each of the {len(task.classes)} classes, or none",
    )  # fmt: skip


def _check_selection_fits_task(job: Job) -> None:
    segmentation = job.task.kind == "segmentation"
    allowed = SEGMENTATION_METRICS if segmentation else CLASSIFICATION_METRICS
    require(
        job.evaluation.select in ("auto", *allowed),
        "evaluation.select", f"is {job.evaluation.select!r} for {job.task.kind}",
        f"one of: auto, {', '.join(allowed)}",
    )  # fmt: skip
    if job.hold_out is not None:
        kind, chosen = job.task.kind, job.selection_metric
        check_hold_out_fits_task(job.hold_out, kind, allowed, chosen)
    require(
        job.evaluation.every <= job.job.rounds,
        "evaluation.every", f"is {job.evaluation.every}",
        f"at most job.rounds = {job.job.rounds}; to try fewer rounds, set both",
    )  # fmt: skip


def _check_axes_exist(job: Job) -> None:
    require(
        "front-back" not in job.training.augmentation.flip or job.data.spatial_dims == 3,
        "training.augmentation.flip", "names 'front-back' for 2-D images",
        "left-right and up-down exist in two dimensions",
    )  # fmt: skip


def job_from_table(table: object) -> Job:
    """Build a job from the parsed file.

    Raises:
        ConfigurationError: One line that names the key, and a hint.
    """
    return from_table(Job, table)


def read_job(path: Path, overrides: list[str] | None = None) -> Job:
    """Read a job file, with `--set key=value` overrides applied before it is checked.

    `model.start`, where it names a file, is taken relative to the job file's folder.

    Raises:
        ConfigurationError: One line that names the file or the key, and a hint.
    """
    job = job_from_table(with_overrides(read_toml(path), overrides or []))
    start = job.model.start
    if start == "random" or Path(start).is_absolute():
        return job
    try:
        resolved = (path.parent / start).resolve()
    # pathlib's words for a loop of links and for a NUL byte.
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"model.start is {start!r}, which is no path", hint='write "random" or a file\'s path'
        ) from error
    return dataclasses.replace(job, model=dataclasses.replace(job.model, start=str(resolved)))


def table_of_job(job: Job) -> dict[str, Any]:
    """Give every key of the job, defaults resolved; `job_from_table` gives the same job back."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(job))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
