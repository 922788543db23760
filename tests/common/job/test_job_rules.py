import math
from typing import Any

import pytest
from tests.common.job.job_tables import MISSING, classes, refusal_of, table_with

from fedward_common.job.job_file import job_from_table, table_of_job

PRIVATE = {"privacy.mechanism": "per-site", "privacy.epsilon": 8.0, "privacy.delta": 1e-5}
SEGMENTATION = {"task.kind": "segmentation", "training.loss.name": "dice"}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("job.name", {"job.name": ""}),
    ("job.name", {"job.name": "  \n"}),
    ("job.name", {"job.name": "x" * 101}),
    ("job.rounds", {"job.rounds": 0}),
    ("job.rounds", {"job.rounds": -1}),
    ("job.rounds", {"job.rounds": 100_001}),
    ("job.rounds", {"job.rounds": True}),
    ("job.rounds", {"job.rounds": 5.0}),
    ("task.kind", {"task.kind": "detection"}),
    ("task.classes", {"task.classes": []}),
    ("task.classes", {"task.classes": classes(0)}),
    ("task.classes", {"task.classes": classes(1, 2)}),
    ("task.classes", {"task.classes": classes(1, 0)}),
    ("task.classes", {"task.classes": classes(0, 0)}),
    ("task.classes", {"task.classes": classes(0, 2)}),
    ("task.classes", {"task.classes": classes(*range(257))}),
    ("task.classes", {"task.classes": [{"id": 0, "name": "a"}, {"id": 1, "name": "a"}]}),
    ("task.classes", {"task.multi_label": True, "task.classes": []}),
    ("task.classes", {"task.multi_label": True, "task.classes": classes(*range(257))}),
    ("task.multi_label", {"task.multi_label": 1}),
    ("task.multi_label", {"task.multi_label": True, **SEGMENTATION}),
    ("task.classes", {**SEGMENTATION, "task.classes": classes(*range(256))}),
    ("training.loss.name", {"task.multi_label": True, "training.loss.name": "dice"}),
    (
        "training.loss.class_weights",
        {"task.multi_label": True, "training.loss.class_weights": [1, 2, 3]},
    ),
    ("task.classes[1].name", {"task.classes": [{"id": 0, "name": "a"}, {"id": 1}]}),
    ("task.split", {"task.split": {"train": 0.5}}),
    ("task.split", {"task.split": {"train": 1.2, "validation": -0.2, "test": 0.0}}),
    ("model.name", {"model.name": MISSING}),
    ("model.nmae", {"model.nmae": "cnn"}),
    ("model.options.width", {"model.options": {"width": {"a": 1}}}),
    ("data.image_size", {"data.image_size": []}),
    ("data.image_size", {"data.image_size": [28]}),
    ("data.image_size", {"data.image_size": [1, 2, 3, 4]}),
    ("data.image_size", {"data.image_size": [0, 28]}),
    ("data.image_size", {"data.image_size": [28, -28]}),
    ("data.image_size", {"data.image_size": [28, 2049]}),
    ("data.image_size", {"data.image_size": [28, True]}),
    ("data.channels", {"data.channels": 0}),
    ("data.channels", {"data.channels": 2}),
    ("data.channels", {"data.channels": 4}),
    ("data.fit", {"data.fit": "stretch"}),
    ("data.intensity", {"data.intensity": "z-score"}),
    ("data.window", {"data.window": [255, 0]}),
    ("data.window", {"data.window": [1, 1]}),
    ("data.std", {"data.std": 0}),
    ("data.std", {"data.std": -0.25}),
    ("data.std", {"data.std": 10**400}),
    ("data.mean", {"data.mean": math.nan}),
    ("training.local_steps", {"training.local_steps": 0}),
    ("training.local_steps", {"training.local_steps": 100_001}),
    ("training", {"training.batch_patients": MISSING}),
    ("training", {"training.sampling_rate": 0.1}),
    ("training.sampling_rate", {"training.batch_patients": MISSING, "training.sampling_rate": 0}),
    ("training.sampling_rate", {"training.batch_patients": MISSING, "training.sampling_rate": 1.1}),
    ("training.sampling_rate", {"training.batch_patients": MISSING, "training.sampling_rate": -1}),
    ("training.batch_patients", {"training.batch_patients": 0}),
    ("training.batch_patients", {"training.batch_patients": 100_001}),
    ("training.batch_patients", {"training.batch_patients": 2.5}),
    ("training.l1", {"training.l1": -1e-9}),
    ("training.l1", {"training.l1": 11}),
    ("training.l2", {"training.l2": -1}),
    ("training.l2", {"training.l2": 10.5}),
    ("training.mixed_precision", {"training.mixed_precision": 1}),
    ("training.optimizer.name", {"training.optimizer.name": "adamm"}),
    ("training.optimizer.learning_rate", {"training.optimizer.learning_rate": 0}),
    ("training.optimizer.learning_rate", {"training.optimizer.learning_rate": 101}),
    ("training.optimizer.learning_rate", {"training.optimizer.learning_rate": math.inf}),
    ("training.optimizer.momentum", {"training.optimizer.momentum": 1.0}),
    ("training.optimizer.momentum", {"training.optimizer.momentum": -0.1}),
    ("training.optimizer.momentum", {"training.optimizer": {"name": "adam", "momentum": 0.9}}),
    ("training.optimizer.weight_decay", {"training.optimizer.weight_decay": 0.1}),
    ("training.optimizer.weight_decay",
     {"training.optimizer": {"name": "adam", "weight_decay": 0.1}}),
    ("training.optimizer.weight_decay",
     {"training.optimizer": {"name": "adamw", "weight_decay": 11}}),
    ("training.schedule.name", {"training.schedule.name": "cosin"}),
    ("training.schedule.final_fraction", {"training.schedule.final_fraction": 1.5}),
    ("training.schedule.final_fraction",
     {"training.schedule": {"name": "exponential", "final_fraction": 0}}),
    ("training.schedule.warmup_rounds", {"training.schedule.warmup_rounds": -1}),
    ("training.schedule.warmup_rounds", {"training.schedule.warmup_rounds": 5}),
    ("training.loss.name", {"training.loss.name": "dice"}),
    ("training.loss.name", {"training.loss.name": "dice-cross-entropy"}),
    ("training.loss.name", {"training.loss.name": "mse"}),
    ("training.loss.label_smoothing", {"training.loss.label_smoothing": 0.6}),
    ("training.loss.label_smoothing",
     {"training.loss": {"name": "focal", "label_smoothing": 0.1}}),
    ("training.loss.gamma", {"training.loss.gamma": -1}),
    ("training.loss.gamma", {"training.loss.gamma": 10.1}),
    ("training.loss.class_weights", {"training.loss.class_weights": [1, 0]}),
    ("training.loss.class_weights", {"training.loss.class_weights": [1]}),
    ("training.loss.class_weights", {"training.loss.class_weights": [1, 2, 3]}),
    ("training.loss.class_weights",
     {"task.kind": "segmentation", "training.loss": {"name": "dice", "class_weights": [1, 1]}}),
    ("training.augmentation.flip", {"training.augmentation.flip": ["front-back"]}),
    ("training.augmentation.flip[0]", {"training.augmentation.flip": ["left"]}),
    ("training.augmentation.shift", {"training.augmentation.shift": 0.6}),
    ("training.augmentation.rotate_degrees", {"training.augmentation.rotate_degrees": 181}),
    ("training.augmentation.scale", {"training.augmentation.scale": 0.95}),
    ("training.augmentation.intensity", {"training.augmentation.intensity": -0.1}),
    ("training.augmentation.noise", {"training.augmentation.noise": 10.1}),
    ("strategy.name", {"strategy.name": "fedprox"}),
    ("strategy.learning_rate", {"strategy.learning_rate": 0}),
    ("strategy.momentum", {"strategy.momentum": 0.9}),
    ("strategy.momentum", {"strategy.name": "fedavgm"}),
    ("strategy.momentum", {"strategy": {"name": "fedavgm", "momentum": 1.0}}),
    ("strategy.weighting", {"strategy.weighting": "counts"}),
    ("strategy.weight_cap_patients", {"strategy.weight_cap_patients": 0}),
    ("strategy.ema_decay", {"strategy.ema_decay": 1.0}),
    ("quorum.required_sites", {"quorum.required_sites": 0}),
    ("quorum.minimum_share", {"quorum.minimum_share": 1.01}),
    ("quorum.minimum_share", {"quorum.minimum_share": -0.01}),
    ("quorum.acceptance_seconds", {"quorum.acceptance_seconds": -1}),
    ("quorum.acceptance_seconds", {"quorum.acceptance_seconds": 1e8}),
    ("quorum.deadline_seconds", {"quorum.deadline_seconds": 0}),
    ("quorum.deadline_seconds", {"quorum.deadline_seconds": 1e400}),
    ("quorum.attempts", {"quorum.attempts": 0}),
    ("evaluation.every", {"evaluation.every": 0}),
    ("evaluation.every", {"evaluation.every": 6}),
    ("evaluation.select", {"evaluation.select": "dice"}),
    ("evaluation.select", SEGMENTATION | {"evaluation.select": "auc"}),
    ("evaluation.select", {"evaluation.select": "f1"}),
    ("evaluation.early_stopping_evaluations", {"evaluation.early_stopping_evaluations": -1}),
    ("code", {"code": "import os"}),
    ("job.name", {"job.name": "a\nforged line"}),
    ("job.purpose", {"job.purpose": "\x1b]0;title\x07"}),
    ("task.classes.name",
     {"task.classes": [{"id": 0, "name": "no"}, {"id": 1, "name": "\u202eyes"}]}),
    ("task.classes.name", {"task.classes": [{"id": 0, "name": "no"}, {"id": 1, "name": ""}]}),
    ("task.classes.definition",
     {"task.classes": [{"id": 0, "name": "a", "definition": "\x1b[31m"}, {"id": 1, "name": "b"}]}),
    ("training", {"training": []}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "changes"), REFUSED, ids=[f"{ascii(changes)[1:60]}" for _, changes in REFUSED]
)
def test_a_rule_is_refused_by_the_keys_name_with_a_hint(key: str, changes: dict[str, Any]) -> None:
    error = refusal_of(changes)
    assert key in str(error)
    assert error.hint
    assert error.exit_code == 2
    assert "\n" not in str(error) + error.hint


AT_THE_EDGE: list[dict[str, Any]] = [
    {"job.rounds": 100_000, "evaluation.every": 100_000},
    {"job.name": "x" * 100},
    {"task.classes": classes(*range(256))},
    {"task.multi_label": True, "task.classes": classes(0), "training.loss.class_weights": [2]},
    {"task.multi_label": True, "task.classes": classes(*range(256))},
    SEGMENTATION | {"task.classes": classes(*range(255))},
    {"task.split": {"train": 1, "validation": 0, "test": 0}},
    {"data.image_size": [1, 2048]},
    {"data.image_size": [1, 1, 1], "training.augmentation.flip": ["front-back"]},
    {"training.batch_patients": MISSING, "training.sampling_rate": 1},
    {"training.schedule.warmup_rounds": 4},
    {"training.optimizer": {"name": "adamw", "weight_decay": 10}},
    {"training.schedule": {"name": "cosine", "final_fraction": 0}},
    {"training.loss.class_weights": [0.001, 1]},
    {"strategy": {"name": "fedavgm", "momentum": 0.9999}},
    {"evaluation.every": 5},
    SEGMENTATION | {"evaluation.select": "dice"},
    SEGMENTATION | {"training.loss.name": "dice-cross-entropy"},
    SEGMENTATION | {"training.loss.name": "cross-entropy"},
]


@pytest.mark.parametrize("changes", AT_THE_EDGE, ids=repr)
def test_a_value_at_the_edge_of_its_range_is_taken(changes: dict[str, Any]) -> None:
    job = job_from_table(table_with(changes))
    assert job_from_table(table_of_job(job)) == job


JOINT: dict[str, Any] = {
    "privacy.mechanism": "joint", "privacy.epsilon": 8.0, "privacy.delta": 1e-5,
    "privacy.expected_batch_patients": 512, "training.batch_patients": MISSING,
    "training.sampling_rate": 0.1, "training.local_steps": 1, "strategy.weighting": "uniform",
}  # fmt: skip


def test_a_job_with_the_joint_mechanism_is_taken() -> None:
    job = job_from_table(table_with(JOINT))
    assert job_from_table(table_of_job(job)) == job
    assert (job.privacy.fraction_bits, job.privacy.ring_bits) == (16, 32)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"privacy.expected_batch_patients": MISSING}, "privacy.expected_batch_patients"),
        ({"privacy.expected_batch_patients": 0.0}, "privacy.expected_batch_patients"),
        ({"privacy.fraction_bits": 41}, "privacy.fraction_bits"),
        ({"privacy.ring_bits": 65}, "privacy.ring_bits"),
        ({"privacy.adaptive_clipping.enabled": True}, "privacy.adaptive_clipping"),
        (
            {"training.sampling_rate": MISSING, "training.batch_patients": 8},
            "training.sampling_rate",
        ),
        ({"training.local_steps": 2}, "training.local_steps"),
        ({"training.l1": 1e-6}, "training.l1"),
        ({"training.l2": 1e-6}, "training.l2"),
        ({"training.proximal_mu": 1e-6}, "training.proximal_mu"),
        ({"strategy.name": "scaffold"}, "strategy.name"),
        ({"strategy.name": "median"}, "privacy.mechanism"),
        ({"training.optimizer.name": "adam"}, "training.optimizer.name"),
        ({"training.optimizer.momentum": 0.9}, "training.optimizer.momentum"),
        ({"training.mixed_precision": True}, "training.mixed_precision"),
        ({"strategy.weighting": "bands"}, "strategy.weighting"),
    ],
)
def test_what_cannot_go_with_the_joint_mechanism_is_refused_with_its_key(
    settings: dict[str, Any], key: str
) -> None:
    error = refusal_of(
        {path: value for path, value in (JOINT | settings).items() if value is not MISSING}
        | ({} if "training.batch_patients" in settings else {"training.batch_patients": MISSING})
    )
    assert str(error).startswith(f"{key} ")
    assert error.hint


@pytest.mark.parametrize("mechanism", ["none", "per-site"])
def test_the_joint_divisor_is_refused_with_another_mechanism(mechanism: str) -> None:
    private = PRIVATE if mechanism == "per-site" else {}
    error = refusal_of(private | {"privacy.expected_batch_patients": 512})
    assert str(error).startswith("privacy.expected_batch_patients ")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"privacy.epsilon": 8.0}, "privacy.epsilon"),
        ({"privacy.delta": 1e-5}, "privacy.delta"),
        ({"privacy.mechanism": "per-site", "privacy.delta": 1e-5}, "privacy"),
        ({"privacy.mechanism": "per-site", "privacy.epsilon": 8.0}, "privacy.delta"),
        (PRIVATE | {"privacy.noise_multiplier": 1.0}, "privacy"),
        (PRIVATE | {"privacy.epsilon": 0.0}, "privacy.epsilon"),
        (PRIVATE | {"privacy.epsilon": -1.0}, "privacy.epsilon"),
        (PRIVATE | {"privacy.epsilon": float("nan")}, "privacy.epsilon"),
        (PRIVATE | {"privacy.delta": 0.0}, "privacy.delta"),
        (PRIVATE | {"privacy.delta": -1e-5}, "privacy.delta"),
        (PRIVATE | {"privacy.delta": 0.5}, "privacy.delta"),
        (PRIVATE | {"privacy.clipping_norm": 0.0}, "privacy.clipping_norm"),
        (PRIVATE | {"privacy.augmentation_multiplicity": 0}, "privacy.augmentation_multiplicity"),
        (PRIVATE | {"training.mixed_precision": True}, "training.mixed_precision"),
    ],
)
def test_privacy_that_cannot_be_meant_is_refused_with_its_key(
    settings: dict[str, object], key: str
) -> None:
    error = refusal_of(settings)
    assert str(error).startswith(f"{key} ")
    assert error.hint


def test_noise_may_be_given_instead_of_epsilon() -> None:
    table = table_with(
        {
            "privacy.mechanism": "per-site",
            "privacy.noise_multiplier": 1.5,
            "privacy.delta": 1e-5,
        }
    )
    assert job_from_table(table).privacy.noise_multiplier == 1.5


@pytest.mark.parametrize(
    "path", ["privacy", "secure_aggregation", "privacy.mechanism", "secure_aggregation.enabled"]
)
def test_what_changes_the_guarantee_stands_in_every_job(path: str) -> None:
    error = refusal_of({path: MISSING})
    assert f"{path} is missing" in str(error)
    assert path in error.hint


@pytest.mark.parametrize("key", ["epsilon", "noise_multiplier", "delta"])
def test_a_privacy_setting_that_would_do_nothing_is_refused(key: str) -> None:
    assert f"privacy.{key}" in str(refusal_of({f"privacy.{key}": 1.0}))


@pytest.mark.parametrize("section", ["job", "task", "model", "data", "training"])
def test_a_job_without_a_section_it_needs_is_refused(section: str) -> None:
    error = refusal_of({section: MISSING})
    assert f"{section} is missing" in str(error)
    assert f"[{section}]" in error.hint


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("job.round", "rounds"),
        ("training.batch_patient", "batch_patients"),
        ("training.optimiser", "optimizer"),
        ("secure_agregation", "secure_aggregation"),
        ("training.optimizer.lr_rate", "learning_rate"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(written: str, meant: str) -> None:
    error = refusal_of({written: 1})
    assert f"unknown key '{written}'" in str(error)
    assert error.hint == f"did you mean '{meant}'?"
