"""The smallest job as a table, and ways to change it."""

import copy
from typing import Any

import pytest

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import job_from_table


class _Missing:
    def __repr__(self) -> str:  # the same in every process, as the ids of tests must be
        return "MISSING"


MISSING = _Missing()
MINIMAL: dict[str, Any] = {
    "job": {"name": "Pneumonia", "rounds": 5},
    "task": {
        "kind": "classification",
        "classes": [{"id": 0, "name": "normal"}, {"id": 1, "name": "pneumonia"}],
    },
    "model": {"name": "cnn"},
    "data": {"modality": "CR", "image_size": [28, 28]},
    "training": {"local_steps": 2, "batch_patients": 8},
    "privacy": {"mechanism": "none"},
    "secure_aggregation": {"enabled": False},
}


def table_with(changes: dict[str, Any]) -> dict[str, Any]:
    """The smallest job with `section.key` values set, or left out where MISSING."""
    table = copy.deepcopy(MINIMAL)
    for path, value in changes.items():
        *sections, key = path.split(".")
        target = table
        for section in sections:
            target = target.setdefault(section, {})
        if value is MISSING:
            del target[key]
        else:
            target[key] = value
    return table


def refusal_of(changes: dict[str, Any]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        job_from_table(table_with(changes))
    return caught.value


def classes(*ids: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"class {number}"} for number in ids]
