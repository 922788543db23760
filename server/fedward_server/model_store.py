"""The `model/` folder: weights to use elsewhere, and what one must know to use them.

`model.safetensors` holds the weights that were best on pooled validation, `last.safetensors` those
after the last round, `model.json` architecture, preprocessing, classes and thresholds.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedward_common.atomic_files import write_atomically
from fedward_common.job.job_file import Job, table_of_job
from fedward_common.models.parameter_spec import FlatWeights, ParameterSpec
from fedward_common.models.weights_file import write_weights


def write_model(
    folder: Path,
    job: Job,
    spec: ParameterSpec,
    *,
    best: FlatWeights,
    last: FlatWeights,
    result: Mapping[str, Any],
) -> str:
    """Write the model folder; give the SHA-256 of `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = write_weights(folder / "model.safetensors", spec, best)
    write_weights(folder / "last.safetensors", spec, last)
    table = table_of_job(job)
    about = {
        "schema": "fedward-model/1",
        "architecture": spec.architecture,
        "model": table["model"],
        "parameter_spec": {
            "sha256": spec.hash,
            "num_parameters": spec.num_parameters,
            "tensors": [[tensor.name, list(tensor.shape)] for tensor in spec.tensors],
        },
        "preprocessing": table["data"],
        "task": table["task"],
        "thresholds": result["thresholds"],
        "selected": result["selected"],
        "model_sha256": digest,
        "privacy": result["privacy"],
        "versions": result["versions"],
    }
    write_atomically(folder / "model.json", json.dumps(about, indent=1).encode())
    return digest
