"""`[hold_out]`: a job names the set by its hash, and only what can be compared is taken."""

import pytest
from tests.common.job.job_tables import MINIMAL, refusal_of, table_with

from fedward_common.job.job_file import Job, job_from_table, table_of_job

HASH = "0123456789abcdef" * 4


def job_with(**section: object) -> Job:
    named = {"sha256": HASH} | section
    return job_from_table(table_with({f"hold_out.{key}": value for key, value in named.items()}))


def test_a_job_without_the_section_is_written_as_it_was_before_there_was_one() -> None:
    job = job_from_table(MINIMAL)
    assert job.hold_out is None
    assert "hold_out" not in table_of_job(job)


def test_the_section_is_resolved_and_comes_back_as_it_was() -> None:
    job = job_with()
    table = {"sha256": HASH, "metric": "auto", "largest_drop": 0.1}
    assert table_of_job(job)["hold_out"] == table
    assert job_from_table(table_of_job(job)) == job


@pytest.mark.parametrize(
    ("metric", "select", "wanted"),
    [("auto", "auto", "auc"), ("auto", "loss", "loss"), ("accuracy", "loss", "accuracy")],
)
def test_auto_is_the_metric_that_chooses_the_best_round(
    metric: str, select: str, wanted: str
) -> None:
    table = table_with(
        {"hold_out.sha256": HASH, "hold_out.metric": metric, "evaluation.select": select}
    )
    job = job_from_table(table)
    assert job.hold_out is not None
    assert job.hold_out.metric_of(job.selection_metric) == wanted


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sha256", ""),
        ("sha256", HASH[:-1]),
        ("sha256", HASH.upper()),
        ("sha256", HASH + "\n"),
        ("metric", "dice"),
        ("metric", "f1"),
        ("largest_drop", -0.1),
        ("largest_drop", 1.0),
        ("largest_drop", 65.0),
        ("file", "set.npz"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_its_name(key: str, value: object) -> None:
    error = refusal_of({"hold_out.sha256": HASH, f"hold_out.{key}": value})
    assert f"hold_out.{key}" in str(error)
    assert error.hint


def test_the_section_needs_the_hash() -> None:
    assert "hold_out.sha256 is missing" in str(refusal_of({"hold_out.largest_drop": 0.2}))


def test_a_loss_may_rise_by_more_than_one() -> None:
    job = job_with(metric="loss", largest_drop=1.5)
    assert job.hold_out is not None
    assert job.hold_out.largest_drop == 1.5
