"""What a site sends for a round, as the one list that all go by."""

from typing import Any

import pytest
from tests.common.job.job_tables import table_with
from tests.joint_federation import joint_job

from fedward_common.job.job_file import job_from_table
from fedward_common.wire.contribution import ContributionVector, contribution_vectors

SCAFFOLD = {"strategy.name": "scaffold", "strategy.weighting": "uniform"}
PRIVATE = {"privacy.mechanism": "per-site", "privacy.epsilon": 8.0, "privacy.delta": 1e-5}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        PRIVATE,
        {"training.proximal_mu": 0.1},
        {"strategy": {"name": "fedavgm", "momentum": 0.9}},
        {"strategy.name": "fedadam", "strategy.learning_rate": 0.01},
    ],
    ids=repr,
)
def test_a_contribution_is_an_update(changes: dict[str, Any]) -> None:
    vectors = contribution_vectors(job_from_table(table_with(changes)), 7)
    assert vectors == (ContributionVector("update", 7, "float32"),)


@pytest.mark.parametrize("changes", [SCAFFOLD, SCAFFOLD | PRIVATE], ids=["open", "private"])
def test_with_scaffold_the_change_of_the_control_variate_comes_second(
    changes: dict[str, Any],
) -> None:
    assert contribution_vectors(job_from_table(table_with(changes)), 7) == (
        ContributionVector("update", 7, "float32"),
        ContributionVector("control-variate-change", 7, "float32"),
    )


def test_with_the_joint_mechanism_it_is_a_share() -> None:
    assert contribution_vectors(joint_job(), 7) == (ContributionVector("shares", 7, "int64"),)
