"""A registered cohort as a source: the same views as from arrays, whatever the files are."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.cohorts.registered.registered_images import SPLITS, columns_of, images_in, view_of
from tests.client.cohorts.registered_cohorts import (
    PoolInProcess,
    home_in,
    random_image,
    register,
    settings_of,
    write_image,
)
from tests.client.cohorts.small_cohorts import CLASSIFY, write_manifest

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.partition import PartitionSection
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decode_pool import DecodePool
from fedward_common.errors import CohortError, ConfigurationError
from fedward_common.job.job_file import TaskClass, TaskSection


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)


def arrays_in(folder: Path, num_images: int = 8) -> SourceSettings:
    """Write the same images as one .npz."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "images.npz", images=np.stack([random_image(n) for n in range(num_images)]))
    rows = [
        {"file": f"images[{n}]", "label": str(n % 2), "split": SPLITS[n % 4]}
        for n in range(num_images)
    ]
    manifest = write_manifest(folder / "manifest.csv", rows)
    path = str(folder / "images.npz")
    return SourceSettings(source="arrays", path=path, manifest=str(manifest), unit="image")


def rows_of(num_images: int) -> list[dict[str, str]]:
    return [
        {
            "file": f"i{n}.dcm",
            "label": str(n % 2),
            "split": SPLITS[n % 4],
            "image_id": f"images[{n}]",
        }
        for n in range(num_images)
    ]


@pytest.mark.parametrize("pool", [DecodePool, PoolInProcess])
def test_images_as_dicom_give_bit_for_bit_the_view_that_arrays_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Any
) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", pool)
    arrays = view_of(tmp_path / "a", arrays_in(tmp_path / "arrays"))
    home = images_in(tmp_path / "site", unit="image")
    dicom = view_of(tmp_path / "b", settings_of(home))
    assert columns_of(dicom) == columns_of(arrays)
    assert dicom.unit == arrays.unit == "image" and dicom.exclusions == {}


def test_so_do_the_parts_of_a_partition(tmp_path: Path) -> None:
    arrays, home = arrays_in(tmp_path / "arrays"), images_in(tmp_path / "site", unit="image")
    for site in range(2):
        part = PartitionSection(site, 2, 1000.0)
        views = [
            view_of(tmp_path / name, dataclasses.replace(one, partition=part))
            for name, one in (("a", arrays), ("b", settings_of(home)))
        ]
        assert columns_of(views[0]) == columns_of(views[1])


def test_the_patient_is_the_unit_where_there_are_patient_ids(tmp_path: Path) -> None:
    home = images_in(tmp_path, unit="patient")
    view = view_of(tmp_path / "cache", settings_of(home))
    assert view.unit == "patient"
    assert [view.num_patients(s) for s in ("train", "validation", "test")] == [4, 2, 2]


def test_a_view_is_opened_again_and_built_anew_for_another_snapshot(tmp_path: Path) -> None:
    home = images_in(tmp_path)
    first = view_of(tmp_path / "cache", settings_of(home, "chest@1"))
    later = (tmp_path / "dicom" / "i3.dcm").stat().st_mtime_ns + 10**9
    write_image(tmp_path / "dicom", 3, random_image(33))
    os.utime(tmp_path / "dicom" / "i3.dcm", ns=(later, later))
    # chest@1 goes on with what was decoded, though the file is another one now
    again = view_of(tmp_path / "other", settings_of(home, "chest@1"))
    assert columns_of(again) == columns_of(first)
    images_in_again = register(home, tmp_path / "dicom", rows_of(8))
    assert images_in_again.number == 2
    second = view_of(tmp_path / "cache", settings_of(home, "chest@2"))
    assert second.folder != first.folder
    assert not np.array_equal(second.images, first.images)
    assert view_of(tmp_path / "cache", settings_of(home, "chest@1")).folder == first.folder


def test_bad_files_are_counted_by_their_line_and_stop_nothing(tmp_path: Path) -> None:
    for number in range(8):
        write_image(tmp_path / "dicom", number, random_image(number))
    path = tmp_path / "dicom" / "i2.dcm"
    path.write_bytes(path.read_bytes()[:-20])
    home = home_in(tmp_path / "home")
    register(
        home, tmp_path / "dicom", [*rows_of(8), {"file": "gone.dcm", "label": "0", "split": "test"}]
    )
    view = view_of(tmp_path / "cache", settings_of(home, max_excluded_share=0.5))
    assert len(view.images) == 7
    assert sum(view.exclusions.values()) == 2 and view.exclusions["E_FILE_NOT_FOUND"] == 1
    assert {line for pairs in view.excluded_lines.values() for _, line in pairs} == {4, 10}
    with pytest.raises(CohortError, match="2 of 9") as raised:
        view_of(tmp_path / "cache", settings_of(home, max_excluded_share=0.2))
    assert raised.value.code == "E_TOO_MANY_EXCLUDED" and "SECRET" not in str(raised.value)


@pytest.mark.parametrize("trouble", ["E_FILE_NOT_FOUND", "E_FILE_CHANGED"])
def test_no_view_is_kept_of_a_moment_in_which_files_are_away(tmp_path: Path, trouble: str) -> None:
    home = images_in(tmp_path)
    paths = [tmp_path / "dicom" / f"i{n}.dcm" for n in (2, 5)]
    contents = [path.read_bytes() for path in paths]
    times = [path.stat().st_mtime_ns for path in paths]
    for path in paths:
        if trouble == "E_FILE_NOT_FOUND":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CohortError, match=f"{trouble} 2") as raised:
        view_of(tmp_path / "cache", settings_of(home, max_excluded_share=0.9))
    assert raised.value.code == "E_SOURCE_UNREADABLE" and "cohort check" in str(raised.value.hint)
    assert not any(path.is_dir() for path in (tmp_path / "cache").iterdir())
    for path, content, time in zip(paths, contents, times, strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(time, time))
    view = view_of(tmp_path / "cache", settings_of(home, max_excluded_share=0.9))
    assert len(view.images) == 8 and view.exclusions == {}


def test_a_server_that_answers_nonsense_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = images_in(tmp_path)

    class Failing(PoolInProcess):
        def map(self, orders: Any) -> Any:
            for _ in orders:
                yield UnusableCaseError("E_SERVER_ANSWER")

    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", Failing)
    with pytest.raises(CohortError, match="E_SERVER_ANSWER 8") as raised:
        view_of(tmp_path / "cache", settings_of(home))
    assert raised.value.code == "E_SOURCE_UNREADABLE"
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)
    assert len(view_of(tmp_path / "cache", settings_of(home)).images) == 8


@pytest.mark.parametrize("code", ["E_DECODER_TIMEOUT", "E_DECODER_MEMORY", "E_DECODER_CRASHED"])
def test_a_file_that_no_decoder_survives_is_left_out_of_the_view_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    home = images_in(tmp_path)

    class Failing(PoolInProcess):
        def map(self, orders: Any) -> Any:
            for operation, arguments in orders:
                if arguments["path"].endswith("i2.dcm"):
                    yield UnusableCaseError(code)
                else:
                    yield from super().map([(operation, arguments)])

    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", Failing)
    view = view_of(tmp_path / "cache", settings_of(home, max_excluded_share=0.5))
    assert view.exclusions == {code: 1} and view.excluded_lines[code] == ((0, 4),)
    with pytest.raises(CohortError) as raised:
        view_of(tmp_path / "strict", settings_of(home, max_excluded_share=0.1))
    assert raised.value.code == "E_TOO_MANY_EXCLUDED"
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)
    whole = view_of(tmp_path / "other", settings_of(home, max_excluded_share=0.5))
    assert len(whole.images) == 8 and whole.folder.name != view.folder.name


def test_a_new_way_of_decoding_is_a_new_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = images_in(tmp_path)
    first = view_of(tmp_path / "cache", settings_of(home))
    for module in ("registered.registered_source", "cache.native_decoding"):
        monkeypatch.setattr(f"fedward_client.cohorts.{module}.DECODING", 1000)
    assert view_of(tmp_path / "cache", settings_of(home)).folder != first.folder


# -- does the job fit ------------------------------------------------------------------------------


def test_classes_may_stand_in_another_order(tmp_path: Path) -> None:
    home = images_in(tmp_path)
    turned = TaskSection("classification", (TaskClass(0, "pneumonia"), TaskClass(1, "normal")))
    view = view_of(tmp_path / "cache", settings_of(home), task=turned)
    assert view.labels.tolist() == [1, 0] * 4


@pytest.mark.parametrize(
    "task",
    [
        TaskSection("classification", (TaskClass(0, "normal"), TaskClass(1, "tumour"))),
        TaskSection("classification", (*CLASSIFY.classes, TaskClass(2, "other"))),
        TaskSection("segmentation", CLASSIFY.classes),
        TaskSection("classification", CLASSIFY.classes, multi_label=True),
    ],
)
def test_a_job_for_another_task_is_refused(task: TaskSection, tmp_path: Path) -> None:
    home = images_in(tmp_path)
    with pytest.raises(CohortError) as raised:
        view_of(tmp_path / "cache", settings_of(home), task=task)
    assert raised.value.code == "E_TASK_MISMATCH"


def test_a_cohort_or_snapshot_that_is_not_there_is_wrong_configuration(tmp_path: Path) -> None:
    home = images_in(tmp_path)
    for cohort in ("brain", "chest@7", "chest@x", "../chest"):
        with pytest.raises(ConfigurationError):
            view_of(tmp_path / "cache", settings_of(home, cohort))
