"""The coordinator reckons the figure that a hospital with the same images would have."""

from pathlib import Path

import numpy as np
import pytest
from tests.hold_out_sets import Arrays, public_arrays, saved
from tests.multi_label_pictures import findings_job, findings_of
from tests.tiny_federation import changed, pictures_of, tiny_job, write_site

from fedward_client.cohorts.cohort_file import read_cohort_tables
from fedward_client.cohorts.public_cases import public_cases
from fedward_client.cohorts.views.job_view import prepare_job_view
from fedward_client.training.evaluation import evaluate_split
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.models.flat_vector import flat_from_module
from fedward_common.models.registry import initial_module
from fedward_server.coordinator.hold_out_evaluation import HoldOutEvaluation
from fedward_server.coordinator.hold_out_set import read_hold_out
from fedward_server.coordinator.pooled_evaluation import figures_of, thresholds_of

CASES = {
    "classification": (tiny_job(), ("auc", "accuracy", "balanced_accuracy", "loss")),
    "segmentation": (tiny_job("segmentation"), ("dice", "loss")),
    "findings": (findings_job(), ("auc", "loss")),
}


def evaluation_of(folder: Path, job: Job, arrays: Arrays, metric: str) -> HoldOutEvaluation:
    file, sha256 = saved(folder, arrays)
    named = changed(job, f"hold_out.sha256={sha256}", f"hold_out.metric={metric}")
    return HoldOutEvaluation(named, read_hold_out(file, named), metric)


@pytest.mark.parametrize(("job", "metrics"), CASES.values(), ids=CASES)
def test_the_figure_is_that_of_a_hospital_with_the_same_images(
    tmp_path: Path, job: Job, metrics: tuple[str, ...]
) -> None:
    drawn = findings_of("alder") if job.task.multi_label else pictures_of("public")
    table = {"sites": {"public": write_site(tmp_path, "public", drawn)}}
    sources = read_cohort_tables(table, tmp_path)[SiteId("public")]
    view = prepare_job_view(tmp_path / "cache", sources, job.task, job.data, bytes(32))
    arrays = public_cases(
        table,
        tmp_path,
        job,
        site="public",
        split="train",
        split_key=bytes(32),
        progress=lambda done, total: None,
    )
    module = initial_module(job, 3)
    sums = evaluate_split(module, job, view, "train")
    figures = figures_of(sums, job.task, thresholds_of(sums), split="train")
    weights = flat_from_module(module).tobytes()
    for metric in metrics:
        evaluation = evaluation_of(tmp_path, job, arrays, metric)
        assert evaluation.value_of(weights) == figures[metric]["value"] is not None


def test_the_figure_follows_from_the_weights_alone(tmp_path: Path) -> None:
    job = tiny_job()
    evaluation = evaluation_of(tmp_path, job, public_arrays(tmp_path / "public", job), "loss")
    first, second = (flat_from_module(initial_module(job, seed)).tobytes() for seed in (1, 2))
    values = [evaluation.value_of(weights) for weights in (first, second, first)]
    assert values[0] == values[2] != values[1]


def test_weights_that_give_nothing_finite_have_no_figure(tmp_path: Path) -> None:
    job = tiny_job()
    evaluation = evaluation_of(tmp_path, job, public_arrays(tmp_path / "public", job), "auc")
    huge = np.full_like(flat_from_module(initial_module(job, 1)), 3e38)
    assert evaluation.value_of(huge.tobytes()) is None
