from collections.abc import Callable
from typing import Any

import pytest

from fedward_common.job.job_file import Job, job_from_table

MakeJob = Callable[..., Job]


@pytest.fixture(scope="session")
def make_job() -> MakeJob:
    def make(
        name: str = "cnn",
        image_size: tuple[int, ...] = (16, 16),
        *,
        kind: str = "",
        num_classes: int = 2,
        image_channels: int = 1,
        frozen: tuple[str, ...] = (),
        **options: Any,
    ) -> Job:
        kind = kind or ("segmentation" if name == "unet" else "classification")
        loss = "dice" if kind == "segmentation" else "cross-entropy"
        classes = [{"id": i, "name": f"class {i}"} for i in range(num_classes)]
        return job_from_table(
            {
                "job": {"name": "test", "rounds": 2},
                "task": {"kind": kind, "classes": classes},
                "model": {"name": name, "options": options, "frozen": frozen},
                "data": {"modality": "CT", "image_size": image_size, "channels": image_channels},
                "training": {"local_steps": 2, "batch_patients": 4, "loss": {"name": loss}},
                "privacy": {"mechanism": "none"},
                "secure_aggregation": {"enabled": False},
            }
        )

    return make
