from collections.abc import Callable
from typing import Any

import pytest

from fedward_common.job.job_file import Job, job_from_table

MakeJob = Callable[..., Job]


@pytest.fixture(scope="session")
def make_job() -> MakeJob:
    def make(
        image_size: tuple[int, ...] = (8, 8),
        *,
        kind: str = "classification",
        options: dict[str, Any] | None = None,
        frozen: tuple[str, ...] = (),
        num_classes: int = 2,
        multi_label: bool = False,
        **training: Any,
    ) -> Job:
        small = {"width": 8, "blocks": 2} if kind == "classification" else {"channels": (4, 8)}
        name, loss = ("cnn", "cross-entropy") if kind == "classification" else ("unet", "dice")
        classes = [{"id": i, "name": f"class {i}"} for i in range(num_classes)]
        defaults = {"local_steps": 3, "batch_patients": 8, "loss": {"name": loss}}
        return job_from_table(
            {
                "job": {"name": "test", "rounds": 4},
                "task": {"kind": kind, "classes": classes, "multi_label": multi_label},
                "model": {"name": name, "options": options or small, "frozen": frozen},
                "data": {"modality": "CT", "image_size": image_size},
                "training": defaults | training,
                "privacy": {"mechanism": "none"},
                "secure_aggregation": {"enabled": False},
            }
        )

    return make
