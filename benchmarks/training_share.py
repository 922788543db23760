"""Which share of the time training on phantom DICOM computes, and does not wait for images."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import FEDWARD, run_child
from fedward_client.cohorts.registered.pinned_snapshots import (
    offered_sources,
    with_newest_snapshots,
)
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_client.daemon.site_state import network_of
from fedward_client.site_home import SiteHome
from fedward_client.training.local_training import (
    RoundOfTraining,
    TrainingData,
    pick_device,
    train_locally,
)
from fedward_common.job.job_file import Job, read_job

_PATIENTS = 60
_PICTURE_SIZE = 512
_BATCH_PATIENTS = 8
_JOB = """
[job]
name = "Busy"
rounds = {rounds}
[task]
kind = "classification"
classes = [{{ id = 0, name = "no-lesion" }}, {{ id = 1, name = "lesion" }}]
[model]
name = "cnn"
options = {{ width = 16, blocks = 3 }}
[data]
modality = "DX"
image_size = [128, 128]
[training]
local_steps = {steps}
batch_patients = {batch}
[strategy]
name = "fedavg"
[privacy]
mechanism = "none"
[secure_aggregation]
enabled = false
"""


class TimedImages:
    """A view's images that note how long it takes to get them."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._images = images
        self.seconds = 0.0

    def __getitem__(self, cases: Any) -> Any:
        begin = time.perf_counter()
        batch = self._images[cases]
        self.seconds += time.perf_counter() - begin
        return batch


def busy_share(folder: Path, epochs: int) -> dict[str, float]:
    """Train one hospital of phantoms; the first epoch, with decoding, stands beside the others."""
    job, home = _registered_phantoms(folder, epochs)
    begin = time.perf_counter()
    view = _view_of(home, job)
    prepared = time.perf_counter() - begin
    images = TimedImages(view.images)
    seconds, processor, loading = [], [], []
    for epoch in range(1, epochs + 1):
        before = (time.perf_counter(), time.process_time(), images.seconds)
        _train_epoch(job, view, images, epoch, epochs)
        seconds.append(time.perf_counter() - before[0])
        processor.append(time.process_time() - before[1])
        loading.append(images.seconds - before[2])
    return {
        "first_epoch_seconds": prepared + seconds[0],
        "later_epoch_seconds": sum(seconds[1:]) / (epochs - 1),
        "busy_share_after_the_first_epoch": 1 - sum(loading[1:]) / sum(seconds[1:]),
        "processor_share_after_the_first_epoch": sum(processor[1:]) / sum(seconds[1:]),
    }


def _registered_phantoms(folder: Path, epochs: int) -> tuple[Job, SiteHome]:
    size = ["--patients", str(_PATIENTS), "--image-size", str(_PICTURE_SIZE)]
    run_child([FEDWARD, "phantom", "--hospitals", "1", *size, "--out", str(folder)])
    hospital = next(path for path in folder.iterdir() if path.is_dir())
    steps = -(-_PATIENTS // _BATCH_PATIENTS)
    job_file = folder / "job.toml"
    job_file.write_text(_JOB.format(rounds=epochs, steps=steps, batch=_BATCH_PATIENTS))
    arguments = [sys.executable, "-m", "fedward_client", "cohort", "add", "chest"]
    paths = {"--home": folder / "home", "--dicom": hospital / "dicom", "--task": job_file}
    named = [text for option, path in paths.items() for text in (option, str(path))]
    run_child([*arguments, *named, "--labels", str(hospital / "labels.csv"), "--json"])
    return read_job(job_file), SiteHome(folder / "home")


def _view_of(home: SiteHome, job: Job) -> JobView:
    sources = with_newest_snapshots(offered_sources(home, "chest"))
    return prepare_job_view(home.cache, sources, job.task, job.data, home.split_key())


def _train_epoch(job: Job, view: JobView, images: TimedImages, epoch: int, epochs: int) -> None:
    data = TrainingData(
        images,  # type: ignore[arg-type]  # indexed by training as an array is
        view.masks,
        view.labels,
        view.cases_by_patient("train"),
    )
    round_ = RoundOfTraining(round_number=epoch, total_rounds=epochs, seed=0)
    train_locally(network_of(job).module, job, data, round_, pick_device())
