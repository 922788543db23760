"""Training and evaluation on views in which some labels or voxels are not annotated."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_client.training.evaluation import evaluate_split
from fedward_client.training.local_training import (
    RoundOfTraining,
    TrainingData,
    train_locally,
)
from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.evaluation.sums import MultiLabelSums, SegmentationSums
from fedward_common.job.job_file import DataSection, Job, TaskClass, TaskSection
from fedward_common.models.registry import initial_module

CPU = torch.device("cpu")
FIRST = RoundOfTraining(round_number=1, total_rounds=4, seed=11)
WORDS: dict[str, str | int] = {"1": 1, "0": 0, "u": "not annotated"}
CELLS = {1: "1", 0: "0", NOT_ANNOTATED: "u"}


def findings(make_job: Any, num_classes: int = 3, **training: Any) -> Job:
    return make_job(num_classes=num_classes, multi_label=True, **training)  # type: ignore[no-any-return]


def view_with(
    folder: Path, task: TaskSection, table: list[dict[str, str]], **arrays: Any
) -> JobView:
    """Build a view of images whose pixels all have the image's number."""
    images = np.ones((len(table), 4, 4), np.float32) * np.arange(len(table))[:, None, None]
    np.savez(folder / "data.npz", images=images, **arrays)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    path, manifest = str(folder / "data.npz"), str(folder / "manifest.csv")
    of_masks: dict[str, str | int] = {"1": 1, "9": "not annotated"}
    labels = WORDS if task.multi_label else of_masks
    data = DataSection("OT", (4, 4), intensity="window", window=(0, len(table)), mean=0, std=1)
    settings = SourceSettings("arrays", path, manifest, labels=labels)
    return prepare_job_view(folder / "cache", [settings], task, data, bytes(32))


class Recited(nn.Module):
    """Gives a fixed answer for each image, which it knows by its pixels."""

    def __init__(self, answers: NDArray[Any]) -> None:
        super().__init__()
        self.answers = torch.from_numpy(answers.astype(np.float32))

    def forward(self, images: Tensor) -> Tensor:
        number = (images.mean(dim=(1, 2, 3)) * len(self.answers)).round().long()
        return self.answers.to(images.device)[number]


@pytest.mark.parametrize(
    "loss", [{"name": "cross-entropy", "label_smoothing": 0.1}, {"name": "focal"}]
)
def test_predictions_of_findings_that_are_not_annotated_change_no_sum(
    tmp_path: Path, make_job: Any, loss: dict[str, Any]
) -> None:
    random = np.random.default_rng(3)
    job = findings(make_job, loss=loss)
    labels = random.integers(NOT_ANNOTATED, 2, (12, 3))
    labels[2] = NOT_ANNOTATED  # a patient whose label nobody gave at all
    rows = [
        {"file": f"images[{n}]", "patient": str(n // 2), "split": "test"}
        | {f"class {k}": CELLS[int(labels[n, k])] for k in range(3)}
        for n in range(12)
    ]
    view = view_with(tmp_path, job.task, rows)
    answers = random.normal(size=(12, 3))
    before = evaluate_split(Recited(answers), job, view, "test")
    answers[labels == NOT_ANNOTATED] = 40.0
    assert evaluate_split(Recited(answers), job, view, "test") == before
    assert isinstance(before, MultiLabelSums)
    for k, one in enumerate(before.findings):
        known = {(n // 2, labels[n, k]) for n in range(12) if labels[n, k] >= 0}
        assert one.count == len(known)
    answers[labels == 1] += 1
    assert evaluate_split(Recited(answers), job, view, "test") != before


def test_predictions_of_voxels_that_are_not_annotated_change_no_sum(
    tmp_path: Path, make_job: Any
) -> None:
    random = np.random.default_rng(3)
    job = make_job(kind="segmentation", loss={"name": "dice-cross-entropy"})
    masks = random.choice(np.array([0, 1, 9]), (6, 4, 4))
    masks[4] = 9
    rows = [
        {"file": f"images[{n}]", "mask": f"masks[{n}]", "patient": str(n), "split": "test"}
        for n in range(6)
    ]
    view = view_with(tmp_path, job.task, rows, masks=masks)
    answers = random.normal(size=(6, 2, 4, 4))
    before = evaluate_split(Recited(answers), job, view, "test")
    np.copyto(answers, 9.0, where=(masks == 9)[:, None] & np.array([True, False])[:, None, None])
    assert evaluate_split(Recited(answers), job, view, "test") == before
    assert isinstance(before, SegmentationSums)
    assert before.patients == 5


def test_a_split_without_any_label_has_empty_sums(tmp_path: Path, make_job: Any) -> None:
    job = findings(make_job)
    row = {"file": "images[0]", "patient": "1", "split": "test"}
    view = view_with(tmp_path, job.task, [row | {f"class {k}": "u" for k in range(3)}])
    assert evaluate_split(Recited(np.zeros((1, 3))), job, view, "test") == MultiLabelSums.empty(3)


def several_findings(num_cases: int = 48) -> TrainingData:
    """Finding k is a bright row k; of the third nothing is annotated."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, (num_cases, 3))
    images = random.normal(0, 0.3, (num_cases, 1, 8, 8)).astype(np.float32)
    for k in range(3):
        images[:, 0, 2 * k + 1] += 2 * truth[:, k, None]
    labels = truth.astype(np.int8)
    labels[::4, 0], labels[1::4, 1], labels[:, 2] = NOT_ANNOTATED, NOT_ANNOTATED, NOT_ANNOTATED
    cases = [np.array([number]) for number in range(num_cases)]
    return TrainingData(images, None, labels, cases, partly_annotated=True)


def test_findings_are_learnt_and_one_that_nobody_annotated_is_left_alone(make_job: Any) -> None:
    job = findings(make_job, local_steps=60, optimizer={"name": "sgd", "learning_rate": 0.3})
    module, data = initial_module(job, 3), several_findings()
    before = module.head.weight.detach().clone()  # type: ignore[operator, union-attr]
    train_locally(module, job, data, FIRST, CPU)
    moved = (module.head.weight.detach() - before).abs().sum(dim=1)  # type: ignore[operator, union-attr]
    assert moved[0] > 0
    assert moved[1] > 0
    assert moved[2] == 0
    with torch.no_grad():
        called = module.eval()(torch.from_numpy(data.images)).numpy() > 0
    known = data.labels != NOT_ANNOTATED
    assert (called == data.labels)[known].mean() > 0.9


def test_voxels_that_are_not_annotated_teach_nothing_and_the_others_do(make_job: Any) -> None:
    """Half of each mask says nothing; what the other half teaches holds there too."""
    random = np.random.default_rng(0)
    images = random.normal(0, 0.2, (16, 1, 8, 8)).astype(np.float32)
    masks = np.zeros((16, 8, 8), np.uint8)
    masks[:, :, 2:6] = 1
    images[:, 0] += 2 * masks
    masks[:, :4] = NOT_ANNOTATED_VOXEL
    job = make_job(
        kind="segmentation",
        local_steps=40,
        optimizer={"name": "adam", "learning_rate": 0.02},
        loss={"name": "dice-cross-entropy"},
        augmentation={"flip": ["up-down"]},
    )
    cases = [np.array([number]) for number in range(16)]
    labels = np.zeros(16, np.int64)
    module = initial_module(job, 3)
    data = TrainingData(images, masks, labels, cases, partly_annotated=True)
    train_locally(module, job, data, FIRST, CPU)
    with torch.no_grad():
        called = module.eval()(torch.from_numpy(images)).argmax(dim=1).numpy()
    assert (called[:, :4] == (images[:, 0, :4] > 1)).mean() > 0.9


def test_one_finding_alone_is_a_task(make_job: Any) -> None:
    job = findings(make_job, num_classes=1)
    assert job.task.classes == (TaskClass(0, "class 0"),)
    data = several_findings()
    one = TrainingData(data.images, None, data.labels[:, :1], data.cases_by_patient)
    train_locally(initial_module(job, 3), job, one, FIRST, CPU)
