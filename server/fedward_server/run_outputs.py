"""Files that a person takes away from a finished run, of hospitals or of a simulation."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.atomic_files import write_atomically
from fedward_common.job.job_file import Job
from fedward_server.model_store import write_model
from fedward_server.reports.examples import ExamplePrediction
from fedward_server.reports.html_report import write_html_report
from fedward_server.reports.model_card import model_card_text


def write_run_outputs(
    folder: Path,
    job: Job,
    result: dict[str, Any],
    *,
    best: NDArray[np.float32],
    last: NDArray[np.float32],
    pictures: Sequence[ExamplePrediction] = (),
) -> None:
    """Write model, result, report and model card of one run.

    Args:
        folder: Where to.
        job: Of the run.
        result: Of the run; it gets the model's hash.
        best: Weights of the selected round, shape (num_parameters,).
        last: Weights of the last round, of the same shape.
        pictures: Test images for the report.
    """
    from fedward_server.initial_weights import spec_of_job

    result["model_sha256"] = write_model(
        folder / "model", job, spec_of_job(job), best=best, last=last, result=result
    )
    write_json(folder / "result.json", result)
    write_atomically(folder / "model_card.md", model_card_text(result).encode())
    write_html_report(folder / "report.html", result, pictures)


def write_json(path: Path, content: object) -> None:
    """Write strict JSON, whole or not at all."""
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False).encode())
