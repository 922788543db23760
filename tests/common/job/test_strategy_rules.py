"""Settings of the strategies: each that cannot be meant is refused by its name."""

from typing import Any

import pytest
from tests.common.job.job_tables import refusal_of, table_with

from fedward_common.job.job_file import job_from_table, table_of_job

SCAFFOLD: dict[str, Any] = {"strategy.name": "scaffold", "strategy.weighting": "uniform"}
FEDADAM: dict[str, Any] = {"strategy.name": "fedadam", "strategy.learning_rate": 0.01}
MEDIAN: dict[str, Any] = {
    "strategy.name": "median", "strategy.weighting": "uniform", "quorum.required_sites": 3,
}  # fmt: skip
PRIVATE = {"privacy.mechanism": "per-site", "privacy.epsilon": 8.0, "privacy.delta": 1e-5}
TAKEN: list[dict[str, Any]] = [
    SCAFFOLD,
    FEDADAM,
    SCAFFOLD | PRIVATE,
    FEDADAM | PRIVATE,
    MEDIAN,
    MEDIAN | PRIVATE,
    MEDIAN | {"training.proximal_mu": 0.1, "strategy.learning_rate": 0.5},
    SCAFFOLD | {"training.schedule.name": "cosine", "training.l2": 0.1},
    {"strategy": {"name": "fedadam", "learning_rate": 0.5, "beta1": 0.0, "beta2": 0.0, "tau": 1}},
    {"training.proximal_mu": 0},
    {"training.proximal_mu": 1000, "training.optimizer.name": "adam"},
    {"training.proximal_mu": 0.1} | PRIVATE,
    FEDADAM | {"training.proximal_mu": 0.1},
]


@pytest.mark.parametrize("changes", TAKEN, ids=repr)
def test_a_strategy_is_taken_with_what_it_goes_with(changes: dict[str, Any]) -> None:
    job = job_from_table(table_with(changes))
    assert job_from_table(table_of_job(job)) == job


def fedadam(**settings: Any) -> dict[str, Any]:
    return FEDADAM | {f"strategy.{key}": value for key, value in settings.items()}


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("training.proximal_mu", {"training.proximal_mu": -1e-9}),
    ("training.proximal_mu", {"training.proximal_mu": 1001}),
    ("training.proximal_mu", {"training.proximal_mu": "0.1"}),
    ("strategy.learning_rate", {"strategy.name": "fedadam"}),
    ("strategy.learning_rate", fedadam(learning_rate=1.0)),
    ("strategy.momentum", fedadam(momentum=0.9)),
    ("strategy.beta1", fedadam(beta1=1.0)),
    ("strategy.beta1", fedadam(beta1=-0.1)),
    ("strategy.beta2", fedadam(beta2=1.0)),
    ("strategy.tau", fedadam(tau=0)),
    ("strategy.tau", fedadam(tau=1.1)),
    ("strategy.beta1", {"strategy.beta1": 0.8}),
    ("strategy.beta2", {"strategy.beta2": 0.9}),
    ("strategy.tau", SCAFFOLD | {"strategy.tau": 0.1}),
    ("strategy.momentum", SCAFFOLD | {"strategy.momentum": 0.9}),
    ("strategy.weighting", {"strategy.name": "scaffold"}),
    ("training.optimizer.name", SCAFFOLD | {"training.optimizer.name": "adam"}),
    ("training.optimizer.name", SCAFFOLD | {"training.optimizer.name": "adamw"}),
    ("training.optimizer.momentum", SCAFFOLD | {"training.optimizer.momentum": 0.9}),
    ("training.mixed_precision", SCAFFOLD | {"training.mixed_precision": True}),
    ("training.proximal_mu", SCAFFOLD | {"training.proximal_mu": 0.1}),
    ("strategy.name", MEDIAN | {"secure_aggregation.enabled": True}),
    ("strategy.weighting", MEDIAN | {"strategy.weighting": "bands"}),
    ("quorum.required_sites", MEDIAN | {"quorum.required_sites": 2}),
    ("strategy.momentum", MEDIAN | {"strategy.momentum": 0.9}),
]


@pytest.mark.parametrize(("key", "changes"), REFUSED, ids=[repr(c)[:60] for _, c in REFUSED])
def test_what_a_strategy_cannot_go_with_is_refused_with_its_key(
    key: str, changes: dict[str, Any]
) -> None:
    error = refusal_of(changes)
    assert str(error).startswith(f"{key} ")
    assert error.hint


def test_a_strategy_of_single_updates_says_so_and_asks_for_the_switch() -> None:
    error = refusal_of(MEDIAN | {"secure_aggregation.enabled": True})
    assert "which needs each site's own update" in str(error)
    assert "set secure_aggregation.enabled = false" in str(error.hint)
    assert "each site's policy must allow" in str(error.hint)


def test_without_a_word_of_it_there_is_no_proximal_term() -> None:
    assert job_from_table(table_with({})).training.proximal_mu == 0
