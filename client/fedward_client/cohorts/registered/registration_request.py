"""What `fedward-site cohort add` and `update` were asked, and the registration it becomes."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fedward_client.cohorts.registered.registration import (
    DEFAULT_MAX_EXCLUDED_SHARE,
    DEFAULT_MIN_PATIENTS,
    CasesAre,
    CohortRegistration,
    LabelColumns,
)
from fedward_client.cohorts.source import Unit
from fedward_client.dicomweb.settings import DicomWebSettings, read_dicomweb_settings
from fedward_common.errors import ConfigurationError
from fedward_common.job.sections import TaskSection
from fedward_common.settings import from_table, read_toml

_COLUMN_KEYS = tuple(one.name for one in dataclasses.fields(LabelColumns))


@dataclass(frozen=True)
class RegistrationRequest:
    """Arguments of the command, as they came; see `CohortRegistration` for their meaning."""

    name: str
    labels: Path
    task: Path
    dicom: Path | None = None
    dicomweb: Path | None = None
    label_values: Mapping[str, str] = field(default_factory=dict)
    split_values: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    unit: Unit = "patient"
    cases: CasesAre | None = None
    spacing_mm: tuple[float, float, float] | None = None
    max_excluded_share: float = DEFAULT_MAX_EXCLUDED_SHARE
    min_patients: int = DEFAULT_MIN_PATIENTS
    burned_in: Literal["refuse", "allow"] = "refuse"


@dataclass(frozen=True)
class UpdateRequest:
    """What `cohort update` was asked.

    Args:
        name: The cohort's.
        labels: Another label file from now on, or None.
        label_values: Local values whose meaning changes; the others keep theirs.
    """

    name: str
    labels: Path | None = None
    label_values: Mapping[str, str] = field(default_factory=dict)


def key_value_pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """Take `VALUE=MEANING` apart; the last '=' counts, so that a value may hold one.

    Raises:
        ConfigurationError: One has no '=', or a value stands there twice.
    """
    pairs: dict[str, str] = {}
    for text in texts or ():
        value, equals, meaning = text.rpartition("=")
        if not equals:
            raise ConfigurationError(f"{option} {text!r} has no '='", hint=f"{option} VALUE=NAME")
        if pairs.setdefault(value.strip(), meaning.strip()) != meaning.strip():
            raise ConfigurationError(
                f"{option} says two things of {value.strip()!r}", hint="keep one of them"
            )
    return pairs


def spacing_of(text: str | None) -> tuple[float, float, float] | None:
    """Read three numbers with commas between them.

    Raises:
        ConfigurationError: It is something else.
    """
    if text is None:
        return None
    try:
        slices, rows, columns = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigurationError(
            f"--spacing-mm is {text!r}", hint="three numbers: slices,rows,columns, as 2.5,1,1"
        ) from None
    return slices, rows, columns


def registration_of(request: RegistrationRequest) -> CohortRegistration:
    """Turn a request into a registration whose `cases` are a first guess where none is given.

    Raises:
        ConfigurationError: A file, a class, a column or a combination cannot be used.
    """
    task, spatial_dims = _task_in(request.task)
    columns, class_columns = _columns_of(request.columns, task)
    return CohortRegistration(
        name=request.name,
        labels_file=_absolute(request.labels),
        task=task,
        cases=request.cases or ("series" if spatial_dims == 3 else "images"),
        dicom_folder=_folder(request.dicom),
        dicomweb=None if request.dicomweb is None else _server(request.dicomweb),
        unit=request.unit,
        burned_in=request.burned_in,
        max_excluded_share=request.max_excluded_share,
        min_patients=request.min_patients,
        spacing_mm=request.spacing_mm,
        columns=columns,
        class_columns=class_columns,
        label_values=dict(request.label_values),
        split_values=from_table(_Splits, {"splits": dict(request.split_values)}).splits,
    )


def updated_registration(
    registration: CohortRegistration, request: UpdateRequest
) -> CohortRegistration:
    """Change a registration as asked.

    Raises:
        ConfigurationError: A value is given a meaning that the task does not have.
    """
    changes: dict[str, Any] = {}
    if request.labels is not None:
        changes["labels_file"] = _absolute(request.labels)
    if request.label_values:
        changes["label_values"] = {**registration.label_values, **request.label_values}
    return dataclasses.replace(registration, **changes)


def says_dimensions(task_file: Path) -> bool:
    """Say whether the job file itself decides between images and volumes."""
    return _task_in(task_file)[1] is not None


@dataclass(frozen=True)
class _Splits:
    splits: Mapping[str, Literal["train", "validation", "test"]]


def _task_in(path: Path) -> tuple[TaskSection, int | None]:
    """Read `[task]` of a job file, and the dimensions of its images if it says so."""
    table = read_toml(path)
    if "task" not in table:
        raise ConfigurationError(
            f"{path} has no section [task]", hint="name the job file that the coordinator sent"
        )
    task = from_table(TaskSection, table["task"], where="task")
    data: Any = table.get("data")
    size = data.get("image_size") if isinstance(data, Mapping) else None
    return task, len(size) if isinstance(size, list) and len(size) in (2, 3) else None


def _columns_of(given: Mapping[str, str], task: TaskSection) -> tuple[LabelColumns, dict[str, str]]:
    classes = {k: v for k, v in given.items() if task.multi_label and k in task.class_names}
    columns = {key: name for key, name in given.items() if key not in classes}
    for key in columns:
        if key not in _COLUMN_KEYS:
            near = difflib.get_close_matches(key, _COLUMN_KEYS, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(_COLUMN_KEYS)}"
            raise ConfigurationError(f"--column {key}=... is no column", hint=known)
    return LabelColumns(**columns), classes


def _absolute(path: Path) -> str:
    return str(path.expanduser().absolute())


def _folder(path: Path | None) -> str:
    if path is None:
        return ""
    if not path.is_dir():
        raise ConfigurationError(f"{path} is no folder", hint="--dicom names the images' folder")
    return _absolute(path)


def _server(path: Path) -> DicomWebSettings:
    return read_dicomweb_settings(path)
