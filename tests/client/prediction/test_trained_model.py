"""A model folder is loaded as it was written, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.client.prediction.tiny_models import write_tiny_model

from fedward_client.prediction.trained_model import load_model
from fedward_common.errors import (
    ConfigurationError,
    CorruptFileError,
    FedwardError,
    WeightsMismatchError,
)
from fedward_common.models.registry import initial_module


def test_a_written_model_answers_as_the_one_that_was_written(tmp_path: Path) -> None:
    job = write_tiny_model(tmp_path, "classification", thresholds={"finding": 0.3})
    model = load_model(tmp_path)
    assert model.job.task == job.task
    assert model.job.data == job.data
    assert model.thresholds == {"finding": 0.3}
    assert not model.module.training
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(model.module(images), initial_module(job, 3).eval()(images))
    assert len(model.name) <= 64


def test_a_multi_label_model_is_loaded(tmp_path: Path) -> None:
    write_tiny_model(
        tmp_path, "classification", "task.multi_label=true", thresholds={"normal": 0.2}
    )
    assert load_model(tmp_path).job.task.multi_label


def change(folder: Path, **values: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_other_weights_than_the_ones_written_down_are_refused(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, "classification")
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        load_model(tmp_path)
    path.unlink()
    with pytest.raises(CorruptFileError):
        load_model(tmp_path)


def test_an_architecture_that_does_not_fit_the_weights_is_refused(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, "classification")
    about = json.loads((tmp_path / "model.json").read_text())
    change(tmp_path, model=about["model"] | {"options": {"width": 16, "blocks": 2}})
    with pytest.raises(WeightsMismatchError):
        load_model(tmp_path)
    change(tmp_path, model=about["model"], parameter_spec={"sha256": "0" * 64})
    with pytest.raises(WeightsMismatchError):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"schema": "fedward-model/2"},
        {"model": None},
        {"task": {"kind": "poetry"}},
        {"model_sha256": 7},
        {"thresholds": ["x"]},
        {"thresholds": {"dog": 0.5}},
        {"thresholds": {"finding": 1.5}},
        {"thresholds": {"finding": True}},
    ],
)
def test_a_description_that_cannot_be_used_is_refused(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    write_tiny_model(tmp_path, "classification")
    change(tmp_path, **values)
    with pytest.raises(FedwardError):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b"{}"])
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.json"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match="no fedward-model/1"):
        load_model(tmp_path)
