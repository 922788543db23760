"""Models by name, and whether a job's model fits its task and its images.

No import of torch or MONAI: the job checker reads this at start-up. A builder is named as
"module:function" and imported only when a model is built.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job
from fedward_common.models.model_options import (
    CnnOptions,
    DenseNet121Options,
    GaborOptions,
    ModelOptions,
    ResNet18Options,
    UNetOptions,
)
from fedward_common.settings import from_table

_OF_NO_WEIGHT = {"dropout"}
_NAMED_WHERE_ON = {"weight_standardisation"}


@dataclass(frozen=True)
class ModelEntry:
    """One model that a job can name.

    `builder` takes `(options, spatial_dims, channels, num_classes)` and gives a module that maps
    images (n, channels, *image_size) to logits (n, num_classes), or (n, num_classes, *image_size)
    in segmentation.
    """

    name: str
    task_kind: Literal["classification", "segmentation"]
    spatial_dims: tuple[int, ...]
    options: type[Any]
    builder: str


def _entries(*entries: ModelEntry) -> Mapping[str, ModelEntry]:
    return MappingProxyType({entry.name: entry for entry in entries})


_HERE = "fedward_common.models"

MODELS: Mapping[str, ModelEntry] = _entries(
    ModelEntry("cnn", "classification", (2, 3), CnnOptions, f"{_HERE}.cnn:build_cnn"),
    ModelEntry(
        "resnet18", "classification", (2, 3), ResNet18Options, f"{_HERE}.resnet:build_resnet18"
    ),
    ModelEntry(
        "densenet121", "classification", (2, 3), DenseNet121Options,
        f"{_HERE}.monai_networks:build_densenet121",
    ),
    ModelEntry("gabor", "classification", (2,), GaborOptions, f"{_HERE}.gabor:build_gabor"),
    ModelEntry("unet", "segmentation", (2, 3), UNetOptions, f"{_HERE}.monai_networks:build_unet"),
)  # fmt: skip


def check_model(job: Job) -> None:
    """Check that the job's model exists and fits its options, task and image size.

    Raises:
        ConfigurationError: With the key, what came and what was needed; the nearest name of an
            unknown model or option.
    """
    entry = entry_of(job.model.name)
    if entry.task_kind != job.task.kind:
        fitting = ", ".join(name for name, e in MODELS.items() if e.task_kind == job.task.kind)
        raise ConfigurationError(
            f"model.name is {entry.name!r}, a model for {entry.task_kind}; "
            f"task.kind is {job.task.kind!r}",
            hint=f"models for {job.task.kind}: {fitting}",
        )
    if job.data.spatial_dims not in entry.spatial_dims:
        raise ConfigurationError(
            f"model.name is {entry.name!r}, which takes no {job.data.spatial_dims}-D images",
            hint=f"it takes {' or '.join(f'{dims}-D' for dims in entry.spatial_dims)}",
        )
    options_of(job).check_image_size(job.data.image_size)


def entry_of(name: str) -> ModelEntry:
    """Look a model up.

    Raises:
        ConfigurationError: No such model; the hint has the nearest name.
    """
    if name in MODELS:
        return MODELS[name]
    near = difflib.get_close_matches(name, MODELS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigurationError(
        f"model.name is {name!r}, which is no known model",
        hint=f"{hint}one of: {', '.join(MODELS)}",
    )


def options_of(job: Job) -> ModelOptions:
    """Give the model's options with every default resolved.

    Raises:
        ConfigurationError: An unknown key, a wrong type, or a value out of range.
    """
    kind = entry_of(job.model.name).options
    options: ModelOptions = from_table(kind, job.model.options, where="model.options")
    return options


def architecture_of(job: Job) -> str:
    """Name all that decides what a weight means, for the parameter spec and for weights files.

    For instance `cnn/2d/1-channel/2-classes/blocks=3,groups=8,width=32`. Dropout is left out: it
    changes no weight's meaning, so weights may be trained on with another. Weight standardisation
    is named where it is on: weights from before there was any keep their name.
    """
    options = dataclasses.asdict(options_of(job))  # type: ignore[call-overload]  # a dataclass
    shown = ",".join(
        f"{key}={'-'.join(map(str, value)) if isinstance(value, tuple) else value}"
        for key, value in sorted(options.items())
        if key not in _OF_NO_WEIGHT and (value or key not in _NAMED_WHERE_ON)
    )
    return (
        f"{job.model.name}/{job.data.spatial_dims}d/{job.data.channels}-channel/"
        f"{len(job.task.classes)}-classes/{shown}"
    )
