"""Volumes and masks of a registered cohort, in the job's classes and spacing."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.cohorts.cached_cases import cached_case_ids
from tests.client.cohorts.registered.registered_images import SPLITS, view_of
from tests.client.cohorts.registered_cohorts import (
    PoolInProcess,
    home_in,
    random_image,
    register,
    settings_of,
    write_image,
    write_series,
)
from tests.client.cohorts.small_cohorts import CLASSIFY, DATA, SEGMENT, png_bytes

from fedward_client.cohorts.open_source import open_source
from fedward_client.site_home import SiteHome
from fedward_common.errors import CohortError
from fedward_common.job.job_file import DataSection, TaskClass, TaskSection


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)


VOLUMES = DataSection(modality="CT", image_size=(6, 8, 10), intensity="window", window=(0, 255))


def volume(number: int) -> Any:
    return np.random.default_rng(number).integers(0, 255, (6, 8, 10)).astype(np.int16)


def volumes_in(folder: Path, **settings: Any) -> SiteHome:
    rows = []
    (folder / "dicom").mkdir(parents=True)
    for number in range(4):
        uid = write_series(folder / "dicom", number + 1, volume(number))
        rows.append({"series_instance_uid": uid, "label": str(number % 2), "split": SPLITS[number]})
    home = home_in(folder / "home")
    register(home, folder / "dicom", rows, **{"cases": "series", **settings})
    return home


def test_a_series_is_a_volume_from_feet_to_head(tmp_path: Path) -> None:
    view = view_of(tmp_path / "cache", settings_of(volumes_in(tmp_path)), data=VOLUMES)
    assert view.images.shape == (4, 1, 6, 8, 10) and view.exclusions == {}
    for number in range(4):
        expected = (volume(number) / np.float32(255) - VOLUMES.mean) / VOLUMES.std
        np.testing.assert_allclose(view.images[number, 0], expected, atol=1e-5)


def test_volumes_are_resampled_where_the_cohort_was_registered_so(tmp_path: Path) -> None:
    home = volumes_in(tmp_path, spacing_mm=(1.0, 1.0, 1.0))  # slices are 2 mm apart
    source = open_source(settings_of(home), CLASSIFY, VOLUMES)
    try:
        image = source.read_image(source.cases().cases[0])
    finally:
        source.close()
    assert image.shape == (1, 12, 8, 10) and image.dtype == np.float32
    assert len(cached_case_ids(home.cache)) == 4  # the cache keeps them as they came


def test_a_job_of_other_dimensions_excludes_every_case_by_code(tmp_path: Path) -> None:
    home = volumes_in(tmp_path)
    with pytest.raises(CohortError, match="E_IMAGE_SHAPE 4"):
        view_of(tmp_path / "cache", settings_of(home), data=DATA)


def test_masks_come_in_the_jobs_classes(tmp_path: Path) -> None:
    rows = []
    for number in range(4):
        write_image(tmp_path / "dicom", number, random_image(number))
        mask = np.where(random_image(number) > 128, 7, 0).astype(np.uint8)
        mask[0, :3] = 9
        (tmp_path / f"m{number}.png").write_bytes(png_bytes(mask))
        rows.append(
            {"file": f"i{number}.dcm", "mask_path": f"m{number}.png", "split": SPLITS[number]}
        )
    home = home_in(tmp_path / "home")
    task = TaskSection("segmentation", (TaskClass(0, "background"), TaskClass(1, "organ")))
    register(
        home, tmp_path / "dicom", rows, task=task,
        label_values={"7": "organ", "9": "not annotated"},
    )  # fmt: skip
    view = view_of(tmp_path / "cache", settings_of(home), task=SEGMENT)
    assert view.masks is not None and view.exclusions == {}
    for number in range(4):
        expected = np.where(random_image(number) > 128, 1, 0)
        expected[0, :3] = 255
        np.testing.assert_array_equal(view.masks[number], expected)


def test_a_snapshot_keeps_the_masks_of_the_label_file_it_was_made_from(tmp_path: Path) -> None:
    """Two label files name masks of one name, size and time in folders of their own."""
    task = TaskSection("segmentation", (TaskClass(0, "background"), TaskClass(1, "organ")))
    masks = [np.repeat(np.eye(8, dtype=np.uint8)[:, [row]], 10, axis=1) for row in (2, 3)]
    home = home_in(tmp_path / "home")
    rows = []
    for number in range(4):
        locator = write_image(tmp_path / "dicom", number, random_image(number))
        rows.append({"file": locator, "mask_path": f"m{number}.png", "split": SPLITS[number]})
    for place, mask in zip(("a", "b"), masks, strict=True):
        (tmp_path / place).mkdir()
        for number in range(4):
            (tmp_path / place / f"m{number}.png").write_bytes(png_bytes(mask))
            os.utime(tmp_path / place / f"m{number}.png", ns=(1, 1))
    assert len({path.stat().st_size for path in tmp_path.glob("[ab]/m*.png")}) == 1
    for place in ("a", "b"):
        register(home, tmp_path / "dicom", rows, labels_in=tmp_path / place, task=task)
    for number, mask in ((2, masks[1]), (1, masks[0])):
        view = view_of(tmp_path / "cache", settings_of(home, f"chest@{number}"), task=SEGMENT)
        assert view.masks is not None
        np.testing.assert_array_equal(view.masks, [mask] * 4)
