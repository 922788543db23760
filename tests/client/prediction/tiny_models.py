"""Models whose answer is known, and small series to ask them about."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from tests.client.dicomweb.pacs_server import bytes_of, ct_slice
from tests.tiny_federation import tiny_job

from fedward_client.prediction.trained_model import TrainedModel
from fedward_common.job.job_file import Job
from fedward_common.models.catalogue import architecture_of
from fedward_common.models.flat_vector import flat_from_module, spec_of
from fedward_common.models.registry import initial_module
from fedward_server.model_store import write_model

SHA256 = "ab" * 32
BRIGHT = 500.0  # from here on `brightness_model` sees class 1


def write_tiny_model(
    folder: Path, kind: str, *overrides: str, thresholds: Mapping[str, float] | None = None
) -> Job:
    """Write a model folder of random weights, as a simulation does."""
    job = tiny_job(kind, overrides)
    module = initial_module(job, 3)
    spec, weights = spec_of(module, architecture_of(job)), flat_from_module(module)
    result = {"thresholds": thresholds, "selected": {}, "privacy": {}, "versions": {}}
    write_model(folder, job, spec, best=weights, last=weights, result=result)
    return job


class Brightness(torch.nn.Module):
    """Logits that are above 0 for class 1 where the image is; of a whole image, its mean."""

    def __init__(self, *, pooled: bool) -> None:
        super().__init__()
        self.pooled = pooled
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        brightness = images[:, 0] * 1000
        if self.pooled:
            brightness = brightness.flatten(1).mean(dim=1)
        return torch.stack([-brightness, brightness], dim=1)


def brightness_model(
    image_size: Sequence[int], *overrides: str, kind: str = "segmentation"
) -> TrainedModel:
    """A model that calls class 1 where a voxel is at least about `BRIGHT`."""
    sides = ",".join(map(str, image_size))
    window = f"data.window=[0.0,{2 * BRIGHT}]"
    job = tiny_job(
        kind, [f"data.image_size=[{sides}]", "data.intensity=window", window, *overrides]
    )
    return TrainedModel(job, Brightness(pooled=kind == "classification"), {}, SHA256)


def with_thresholds(model: TrainedModel, **thresholds: float) -> TrainedModel:
    return dataclasses.replace(model, thresholds=thresholds)


PLANES = {
    "axial": ([1, 0, 0, 0, 1, 0], [0, 0, 1]),
    "axial, upside down": ([1, 0, 0, 0, 1, 0], [0, 0, -1]),
    "axial, turned": ([0, 1, 0, 1, 0, 0], [0, 0, 1]),
    "axial, mirrored": ([-1, 0, 0, 0, 1, 0], [0, 0, 1]),
    "sagittal": ([0, 1, 0, 0, 0, -1], [1, 0, 0]),
    "coronal": ([1, 0, 0, 0, 0, -1], [0, -1, 0]),
}


def blob(shape: Sequence[int], seed: int) -> NDArray[np.int16]:
    """Noise around 300 with a box of 700 off the middle: no symmetry hides a wrong turn."""
    draw = np.random.default_rng(seed)
    volume = draw.integers(250, 350, shape).astype(np.int16)
    volume[1:3, 2:5, 1:6] = 700
    volume[2, 3, 1] = 300
    return volume


def series_datasets(plane: str = "axial", shape: Sequence[int] = (5, 8, 10)) -> list[Dataset]:
    """A series of one bright box, slices in no particular order."""
    directions, step = PLANES[plane]
    volume = blob(shape, seed=len(plane))
    study, series = generate_uid(), generate_uid()[:60]
    datasets = []
    for number, pixels in enumerate(volume):
        dataset = ct_slice(study, series, number)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData = pixels.tobytes()
        dataset.ImageOrientationPatient = directions
        dataset.ImagePositionPatient = [20.0 + 2.5 * number * s for s in step]
        dataset.SliceThickness = 2.5
        dataset.PixelSpacing = [1.0, 1.25]
        datasets.append(dataset)
    return datasets[1:] + datasets[:1]


def write_series(folder: Path, datasets: Sequence[Dataset]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(datasets):
        (folder / f"{number}.dcm").write_bytes(bytes_of(dataset))
    return folder


def bright_pixels(dataset: Dataset) -> NDArray[Any]:
    """What `brightness_model` must find in one image, from the file itself."""
    bright: NDArray[Any] = (dataset.pixel_array >= BRIGHT).astype(np.uint8)
    return bright
