"""Eight small images as a registered cohort, and the views that jobs make of them."""

from pathlib import Path
from typing import Any

import numpy as np
from tests.client.cohorts.registered_cohorts import home_in, random_image, register, write_image
from tests.client.cohorts.small_cohorts import CLASSIFY, DATA, KEY

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_client.site_home import SiteHome
from fedward_common.job.job_file import DataSection, TaskSection

SPLITS = ("train", "train", "val", "test")


def images_in(folder: Path, num_images: int = 8, **settings: Any) -> SiteHome:
    """Register images with labels and splits; give the home."""
    rows = []
    for number in range(num_images):
        locator = write_image(folder / "dicom", number, random_image(number))
        label, split = str(number % 2), SPLITS[number % 4]
        rows.append(
            {"file": locator, "label": label, "split": split, "image_id": f"images[{number}]"}
        )
    home = home_in(folder / "home")
    register(home, folder / "dicom", rows, **settings)
    return home


def view_of(
    cache: Path, *sources: SourceSettings, task: TaskSection = CLASSIFY, data: DataSection = DATA
) -> JobView:
    return prepare_job_view(cache, sources, task, data, KEY)


def columns_of(view: JobView) -> dict[str, bytes]:
    names = ("images", "labels", "patients", "splits")
    return {name: np.ascontiguousarray(getattr(view, name)).tobytes() for name in names}
