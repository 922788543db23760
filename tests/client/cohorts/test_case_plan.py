import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.partition import PartitionSection
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_common.job.job_file import DataSection, TaskClass, TaskSection

TASK = TaskSection("classification", (TaskClass(0, "no"), TaskClass(1, "yes")))
DATA = DataSection(modality="CR", image_size=(4, 4))
KEY = bytes(range(32))


def images_in(folder: Path, *, bad_labels: int = 0) -> SourceSettings:
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images)
    lines = ["file,label,split"]
    lines += [
        f"images[{n}],{'odd' if n < bad_labels else n % 2},{('train', 'test')[n % 3 == 0]}"
        for n in range(60)
    ]
    (folder / "list.csv").write_text("\n".join(lines))
    return SourceSettings(
        source="arrays",
        path=str(folder / "images.npz"),
        manifest=str(folder / "list.csv"),
        unit="image",
    )


def view_of(cache: Path, source: SourceSettings) -> JobView:
    return prepare_job_view(cache, [source], TASK, DATA, KEY)


def order_of(view: JobView) -> list[bytes]:
    return [view.images[cases[0]].tobytes() for cases in view.cases_by_patient("train")]


def test_moved_data_is_trained_on_in_the_same_order(tmp_path: Path) -> None:
    source = images_in(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    moved = replace(
        source,
        path=str(tmp_path / "there" / "images.npz"),
        manifest=str(tmp_path / "there" / "list.csv"),
    )
    assert order_of(view_of(tmp_path / "a", source)) == order_of(view_of(tmp_path / "b", moved))


def test_the_parts_of_a_partition_add_up_to_the_whole(tmp_path: Path) -> None:
    source = replace(images_in(tmp_path / "data", bad_labels=4), max_excluded_share=1.0)
    parts = [
        view_of(tmp_path / "cache", replace(source, partition=PartitionSection(n, 3, 1000.0)))
        for n in range(3)
    ]
    whole = view_of(tmp_path / "cache", source)
    assert sum((Counter(part.exclusions) for part in parts), Counter()) == whole.exclusions
    images = sorted(image.tobytes() for part in parts for image in part.images)
    assert images == sorted(image.tobytes() for image in whole.images)
