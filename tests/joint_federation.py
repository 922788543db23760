"""Jobs with the joint mechanism, and four hospitals, of which any three are enough."""

import dataclasses
from pathlib import Path
from typing import Any

from tests.tiny_federation import (
    SITES,
    Picture,
    TinyFederation,
    make_federation,
    pictures_of,
    tiny_job,
)

from fedward_common.job.job_file import (
    Job,
    OptimizerSection,
    PrivacySection,
    QuorumSection,
    StrategySection,
)

FOUR_SITES = (*SITES, "dogwood")


def joint_job(*, sampling_rate: float = 0.5, frozen: tuple[str, ...] = (), **privacy: Any) -> Job:
    """Give the tiny job with the joint mechanism; `privacy` replaces keys of that section."""
    job = tiny_job()
    section: dict[str, Any] = {
        "mechanism": "joint",
        "noise_multiplier": 1.0,
        "delta": 1e-4,
        "expected_batch_patients": 24.0,
    }
    return dataclasses.replace(
        job,
        model=dataclasses.replace(job.model, frozen=frozen),
        training=dataclasses.replace(
            job.training,
            local_steps=1,
            batch_patients=None,
            sampling_rate=sampling_rate,
            optimizer=OptimizerSection("sgd", learning_rate=0.5),
        ),
        privacy=PrivacySection(**(section | privacy)),
        strategy=StrategySection(weighting="uniform"),
        quorum=QuorumSection(required_sites=3, deadline_seconds=60, attempts=2),
    )


def make_joint_federation(folder: Path, job: Job | None = None) -> TinyFederation:
    """Write four sites; each patient has one image, so that a draw leaves nothing to chance."""
    pictures = {site: _one_a_patient(pictures_of(site)) for site in FOUR_SITES}
    return make_federation(folder, job or joint_job(), pictures=pictures)


def _one_a_patient(pictures: list[Picture]) -> list[Picture]:
    return list({picture.row["patient"]: picture for picture in pictures}.values())
