import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.common.job.job_tables import MINIMAL, MISSING, classes, table_with

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job, job_from_table, read_job, table_of_job

TEXT = """
[job]
name = "Pneumonia"
rounds = 5
[task]
kind = "classification"
classes = [{ id = 0, name = "normal" }, { id = 1, name = "pneumonia" }]
[model]
name = "cnn"
[data]
modality = "CR"
image_size = [28, 28]
[training]
local_steps = 2
batch_patients = 8
[privacy]
mechanism = "none"
[secure_aggregation]
enabled = false
"""


def test_the_smallest_job_has_the_safe_defaults() -> None:
    job = job_from_table(MINIMAL)
    assert job.model.start == "random"
    assert job.strategy.weighting == "bands"
    assert job.training.mixed_precision is False
    assert job.selection_metric == "auc"
    assert job.data.spatial_dims == 2
    assert job.task.class_names == ("normal", "pneumonia")


def test_the_figure_that_chooses_the_best_round_follows_the_task() -> None:
    segmentation = table_with({"task.kind": "segmentation", "training.loss.name": "dice"})
    assert job_from_table(segmentation).selection_metric == "dice"
    assert job_from_table(table_with({"evaluation.select": "loss"})).selection_metric == "loss"


def fractions(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


option_values = st.one_of(
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.integers(0, 99), max_size=3),
)


@st.composite
def job_tables(draw: st.DrawFn) -> dict[str, Any]:
    segmentation = draw(st.booleans())
    momentum = draw(st.just(0.0) | fractions(0.001, 0.9999))
    rounds = draw(st.integers(1, 50))
    amount = draw(
        st.fixed_dictionaries({"sampling_rate": fractions(1e-6, 1)})
        | st.fixed_dictionaries({"batch_patients": st.integers(1, 1000)})
    )
    num_classes = draw(st.integers(2, 5))
    return table_with(
        {
            "job.name": draw(st.text("ab \u00fc'\"", min_size=1, max_size=9)) + ".",
            "job.rounds": rounds,
            "job.purpose": draw(st.text(max_size=20).filter(str.isprintable)),
            "task.kind": "segmentation" if segmentation else "classification",
            "task.classes": classes(*range(num_classes)),
            "model.options": draw(st.dictionaries(st.text(max_size=6), option_values, max_size=3)),
            "model.frozen": draw(st.lists(st.text(max_size=4), max_size=3)),
            "data.image_size": draw(st.lists(st.integers(1, 2048), min_size=2, max_size=3)),
            "data.window": sorted(draw(st.tuples(st.integers(-999, 0), st.integers(1, 999)))),
            "training.batch_patients": MISSING,
            **{f"training.{key}": value for key, value in amount.items()},
            "training.l2": draw(fractions(0, 10)),
            "training.optimizer.learning_rate": draw(fractions(1e-9, 100)),
            "training.loss.name": "dice" if segmentation else "focal",
            "strategy": {"name": "fedavgm" if momentum else "fedavg", "momentum": momentum},
            "evaluation.every": draw(st.integers(1, rounds)),
        }
        if "batch_patients" not in amount
        else {
            "job.rounds": rounds,
            "model.options": draw(st.dictionaries(st.text(max_size=6), option_values, max_size=3)),
            "task.classes": classes(*range(num_classes)),
            "training.batch_patients": amount["batch_patients"],
            "training.loss.class_weights": [draw(fractions(0.01, 9)) for _ in range(num_classes)],
            "training.schedule": {"name": "cosine", "final_fraction": draw(fractions(0, 1))},
            "quorum.minimum_share": draw(fractions(0, 1)),
        }
    )


@given(table=job_tables())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_job_written_out_in_full_gives_the_same_job_back(table: dict[str, Any]) -> None:
    job = job_from_table(table)
    written = table_of_job(job)
    assert job_from_table(written) == job
    assert table_of_job(job_from_table(written)) == written


def test_every_key_is_written_out_and_nothing_but_plain_values() -> None:
    written = table_of_job(job_from_table(MINIMAL))
    assert written.keys() == {field.name for field in dataclasses.fields(Job)} - {"hold_out"}
    assert written["quorum"] == {
        "required_sites": 1, "minimum_share": 0.5, "acceptance_seconds": 300.0,
        "deadline_seconds": 3600.0, "attempts": 3,
    }  # fmt: skip
    assert written["data"]["image_size"] == [28, 28]
    assert "sampling_rate" not in written["training"]


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
paths = st.sampled_from(
    [f"{section}.{key}" for section, keys in table_of_job(job_from_table(MINIMAL)).items()
     for key in keys]
    + list(MINIMAL)
)  # fmt: skip


@given(path=paths, value=junk)
@settings(max_examples=300, deadline=None)
def test_any_value_at_any_key_is_taken_or_refused_by_the_named_error(path: str, value: Any) -> None:
    try:
        job = job_from_table(table_with({path: value}))
    except ConfigurationError as error:
        assert error.hint
        return
    assert job_from_table(table_of_job(job)) == job


@pytest.mark.parametrize(
    "name",
    [
        "examples/pneumonia.toml",
        "examples/hippocampus.toml",
        "server/fedward_server/job_templates/classification.toml",
        "server/fedward_server/job_templates/segmentation.toml",
    ],
)
def test_an_example_or_template_is_a_valid_job(project_root: Path, name: str) -> None:
    job = read_job(project_root / name)
    assert job_from_table(table_of_job(job)) == job
    assert job.privacy.mechanism == "none"


def test_every_example_and_template_is_a_valid_job(project_root: Path) -> None:
    files = [
        *(project_root / "examples").glob("*.toml"),
        *(project_root / "server/fedward_server/job_templates").glob("*.toml"),
    ]
    jobs = [read_job(file) for file in files if not file.name.endswith(".cohorts.toml")]
    assert len(jobs) >= 4


@pytest.fixture
def job_path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs" / "job.toml"
    path.parent.mkdir()
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_file_gives_the_same_job_as_its_table(job_path: Path) -> None:
    assert read_job(job_path) == job_from_table(MINIMAL)


def test_overrides_are_applied_before_the_job_is_checked(job_path: Path) -> None:
    job = read_job(
        job_path,
        ["job.rounds=9", "model.name=resnet18", 'training.augmentation.flip=["up-down"]'],
    )
    assert (job.job.rounds, job.model.name) == (9, "resnet18")
    assert job.training.augmentation.flip == ("up-down",)
    with pytest.raises(ConfigurationError, match=r"job\.rounds"):
        read_job(job_path, ["job.rounds=0"])
    with pytest.raises(ConfigurationError, match=r"privacy\.expected_batch_patients"):
        read_job(job_path, ["privacy.mechanism=joint", "privacy.epsilon=8.0", "privacy.delta=1e-5"])


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("model.safetensors", "jobs/model.safetensors"),
        ("../weights/a b.safetensors", "weights/a b.safetensors"),
        ("./x/../model.safetensors", "jobs/model.safetensors"),
    ],
)
def test_where_training_starts_is_relative_to_the_job_file(
    job_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    job = read_job(job_path, [f"model.start={start}"])
    assert Path(job.model.start) == tmp_path.resolve() / expected


def test_an_absolute_or_random_start_stays_as_it_is(job_path: Path) -> None:
    assert read_job(job_path).model.start == "random"
    absolute = str(job_path.parent / "model.safetensors")
    assert read_job(job_path, [f"model.start={absolute}"]).model.start == absolute


@pytest.mark.parametrize("start", ["loop", '"a\\u0000b"'])
def test_a_start_that_is_no_path_is_refused(job_path: Path, start: str) -> None:
    (job_path.parent / "loop").symlink_to("loop")
    with pytest.raises(ConfigurationError, match=r"model\.start") as caught:
        read_job(job_path, [f"model.start={start}"])
    assert caught.value.hint
