"""Rounds read the job's memory-mapped view alone, which the limit of the input pipeline is of."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohorts.registered_cohorts import PoolInProcess
from tests.client.daemon.test_registered_cohort import coordinator_of, home_of, opened_run


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)


def test_training_reads_the_memory_mapped_arrays_of_the_job_view(tmp_path: Path) -> None:
    coordinator = coordinator_of(tmp_path)
    images = opened_run(coordinator).training_data.images
    assert isinstance(images, np.memmap)
    folder = Path(images.filename or "").parent
    assert folder == opened_run(coordinator).view.folder
    assert folder.parent == home_of(coordinator.federation).cache


def test_a_round_needs_neither_the_native_cache_nor_the_dicom_files(tmp_path: Path) -> None:
    expected = coordinator_of(tmp_path, registered=False).train().arrays["update"]
    coordinator = coordinator_of(tmp_path)
    shutil.rmtree(home_of(coordinator.federation).cache / "native")
    shutil.rmtree(coordinator.federation.data / "dicom")
    assert coordinator.train().arrays["update"].tobytes() == expected.tobytes()
