"""A `model/` folder, as a simulation or a run leaves it, checked and ready to run.

What is loaded is exactly what was trained: the network of the registry by its name and options, the
parameter spec's hash, the file's SHA-256. Nothing is unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_common.atomic_files import verify_file
from fedward_common.errors import ConfigurationError, WeightsMismatchError
from fedward_common.job.job_file import Job, job_from_table

if TYPE_CHECKING:
    from torch import nn

_SCHEMA = "fedward-model/1"
_MAX_JSON_BYTES = 16 << 20


@dataclass(frozen=True)
class TrainedModel:
    """One model and what one must know to use it.

    Args:
        job: Its task, data and model sections are the trained ones; the others mean nothing.
        module: In evaluation mode, on the CPU.
        thresholds: Class name -> from which probability on the class is called.
        sha256: Of `model.safetensors`.
    """

    job: Job
    module: "nn.Module"
    thresholds: Mapping[str, float]
    sha256: str

    @property
    def name(self) -> str:
        """For a person: the architecture and the beginning of the hash, 64 characters at most."""
        return f"fedward {self.job.model.name[:38]} {self.sha256[:16]}"


def load_model(folder: Path) -> TrainedModel:
    """Read a model folder.

    Raises:
        ConfigurationError: `model.json` is missing, no such file, or names what does not exist.
        CorruptFileError: The weights are missing or not the ones that `model.json` is about.
        WeightsMismatchError: They are of another model.
    """
    from fedward_common.models.catalogue import architecture_of
    from fedward_common.models.flat_vector import load_flat, spec_of
    from fedward_common.models.registry import initial_module
    from fedward_common.models.weights_file import read_weights

    about = _read_about(folder / "model.json")
    job = _job_of(about)
    weights_file = folder / "model.safetensors"
    verify_file(weights_file, str(about["model_sha256"]))
    module = initial_module(job, 0)
    spec = spec_of(module, architecture_of(job))
    if about["parameter_spec"].get("sha256") != spec.hash:
        raise WeightsMismatchError(
            f"{folder / 'model.json'} has another parameter spec than its architecture",
            hint="it was made by another version, or changed by hand",
        )
    load_flat(module, read_weights(weights_file, spec), spec)
    return TrainedModel(job, module.eval(), _thresholds_of(about, job), str(about["model_sha256"]))


def _read_about(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_JSON_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror or type(error).__name__}",
            hint="--model names the model folder that a simulation or a run left",
        ) from None
    try:
        about = json.loads(content) if len(content) <= _MAX_JSON_BYTES else None
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or about.get("schema") != _SCHEMA:
        raise ConfigurationError(f"{path} is no {_SCHEMA}", hint="is it the right folder?")
    wanted = {"model": dict, "preprocessing": dict, "task": dict, "parameter_spec": dict}
    for key, kind in {**wanted, "model_sha256": str}.items():
        if not isinstance(about.get(key), kind):
            raise ConfigurationError(f"{path}: {key} is missing", hint="copy the folder again")
    return about


def _job_of(about: Mapping[str, Any]) -> Job:
    """Make a job around the sections that decide what the model is."""
    task = about["task"]
    training: dict[str, Any] = {"local_steps": 1, "batch_patients": 1}
    return job_from_table(
        {
            "job": {"name": "prediction", "rounds": 1},
            "task": task,
            "model": {**about["model"], "start": "random", "frozen": []},
            "data": about["preprocessing"],
            "training": training,
            "privacy": {"mechanism": "none"},
            "secure_aggregation": {"enabled": False},
        }
    )


def _thresholds_of(about: Mapping[str, Any], job: Job) -> dict[str, float]:
    """Give a threshold for each class that has one; a class unknown to the task is an error."""
    given = about.get("thresholds") or {}
    if not isinstance(given, Mapping):
        raise ConfigurationError("model.json: thresholds is no table", hint="copy it again")
    for name, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in job.task.class_names or not number or not 0 <= value <= 1:
            raise ConfigurationError(
                "model.json: thresholds names no class, or no probability", hint="copy it again"
            )
    return {name: float(value) for name, value in given.items()}
