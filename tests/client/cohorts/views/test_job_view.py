import dataclasses
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.cohorts.small_cohorts import (
    CLASSIFY,
    DATA,
    KEY,
    KINDS,
    SEGMENT,
    Format,
    mask,
    write_cohort,
)

from fedward_client.cohorts.cohort_file import SourceKind, SourceSettings
from fedward_client.cohorts.cohort_report import cohort_report
from fedward_client.cohorts.views.job_view import JobView, open_job_view, prepare_job_view
from fedward_common.errors import CohortError, CorruptFileError, DiskFullError
from fedward_common.job.job_file import TaskSection


def view_of(
    cache: Path, *sources: SourceSettings, task: TaskSection = CLASSIFY, **others: Any
) -> JobView:
    return prepare_job_view(cache, sources, task, DATA, others.pop("key", KEY), **others)


class Builds:
    """Counts the cases that were decoded."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_becomes_the_same_view(kind: SourceKind, tmp_path: Path) -> None:
    builds = Builds()
    view = view_of(tmp_path / "cache", write_cohort(kind, tmp_path), progress=builds)
    assert view.images.shape == (6, 1, 8, 10) and view.images.dtype == np.float32
    assert isinstance(view.images, np.memmap) and not view.images.flags.writeable
    np.testing.assert_allclose(view.images.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    assert view.labels.tolist() == [0, 1, 0, 1, 0, 1] and view.labels.dtype == np.int64
    assert view.masks is None
    assert [view.num_cases(s) for s in ("train", "validation", "test")] == [4, 1, 1]
    assert builds.seen == [(n, 6) for n in range(1, 7)]


@pytest.mark.parametrize("kind", KINDS)
def test_masks_stand_beside_their_images(kind: SourceKind, tmp_path: Path) -> None:
    view = view_of(tmp_path / "cache", write_cohort(kind, tmp_path), task=SEGMENT)
    assert view.masks is not None and view.masks.dtype == np.uint8
    np.testing.assert_array_equal(view.masks, [mask(n) for n in range(6)])
    assert view.labels.tolist() == [0] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_bad_cases_are_counted_and_leave_no_hole(kind: SourceKind, tmp_path: Path) -> None:
    made = Format(kind, tmp_path)
    wide = np.zeros((8, 11), dtype=np.uint8)
    extra = {
        made.name("m1"): made.encode(wide, is_mask=True),
        made.name("m2"): made.encode(mask(2) + 3, is_mask=True),
        made.name("i3"): made.encode(mask(3))[:60],
    }
    settings = write_cohort(
        kind, tmp_path, extra_files=extra, changes={4: {"mask": "gone"}}, max_excluded_share=0.9
    )
    view = view_of(tmp_path / "cache", settings, task=SEGMENT)
    cut_short = "E_NOT_DICOM" if kind == "dicom-folder" else "E_IMAGE_UNREADABLE"
    assert view.exclusions == {
        "E_FILE_NOT_FOUND": 1, cut_short: 1, "E_MASK_SHAPE": 1, "E_MASK_VALUE": 1
    }  # fmt: skip
    assert view.excluded_lines["E_MASK_SHAPE"] == ((0, 3),)
    assert view.masks is not None and len(view.images) == 2
    np.testing.assert_array_equal(view.masks, [mask(0), mask(5)])


def test_a_patients_cases_stay_together_in_a_stable_order(tmp_path: Path) -> None:
    extra = [{"patient": f"SECRET-{n}", "split": "train"} for n in (4, 0, 1, 4)]
    settings = write_cohort("arrays", tmp_path, extra_rows=extra)
    view = view_of(tmp_path / "cache", settings)
    groups = view.cases_by_patient("train")
    assert sorted(g.tolist() for g in groups) == [[0, 7], [1, 8], [4, 6, 9], [5]]
    assert view.num_patients("train") == 4 and view.num_cases("train") == 8
    again = view_of(tmp_path / "cache", settings).cases_by_patient("train")
    assert [g.tolist() for g in again] == [g.tolist() for g in groups]


def test_a_patient_in_two_splits_is_left_out_whole(tmp_path: Path) -> None:
    extra = [{"patient": "SECRET-0", "split": "test"}]
    settings = write_cohort("volumes", tmp_path, extra_rows=extra, max_excluded_share=0.5)
    view = view_of(tmp_path / "cache", settings)
    assert view.exclusions == {"E_PATIENT_IN_TWO_SPLITS": 2}
    assert len(view.images) == 5
    images = dataclasses.replace(settings, unit="image")
    assert view_of(tmp_path / "cache", images).exclusions == {}


def test_without_a_split_column_the_key_decides_and_its_patient_stays(tmp_path: Path) -> None:
    extra = [{"patient": "SECRET-1", "split": "test"}]
    columns = dataclasses.replace(write_cohort("arrays", tmp_path).columns, split="")
    settings = write_cohort("arrays", tmp_path, extra_rows=extra, columns=columns)
    views = [view_of(tmp_path / "cache", settings, key=bytes([n]) * 32) for n in range(4)]
    assert all(view.exclusions == {} for view in views)
    assert all(view.splits[1] == view.splits[6] for view in views)
    assert len({view.splits.tobytes() for view in views}) > 1


def test_the_same_patient_id_of_two_hospitals_is_two_patients(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    sources = [write_cohort("arrays", f, num_cases=2) for f in folders]
    one_hospital = view_of(tmp_path / "cache", *sources)
    assert (one_hospital.num_patients("train"), one_hospital.num_cases("train")) == (2, 4)
    named = [dataclasses.replace(s, patient_namespace=s.path) for s in sources]
    assert view_of(tmp_path / "cache", *named).num_patients("train") == 4


def test_the_unit_of_pooled_sources_is_the_weakest(tmp_path: Path) -> None:
    settings = write_cohort("arrays", tmp_path)
    units = [dataclasses.replace(settings, unit=u) for u in ("patient", "lesion", "image")]
    assert view_of(tmp_path / "cache", *units[:2]).unit == "lesion"
    assert view_of(tmp_path / "cache", *units).unit == "image"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_names_a_patient_or_file_is_in_the_cache(
    kind: SourceKind, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    view_of(cache, write_cohort(kind, tmp_path))
    for path in cache.rglob("*"):
        assert "SECRET" not in path.name and path.stat().st_uid >= 0
        content = path.read_bytes() if path.is_file() else b""
        assert b"SECRET" not in content and str(tmp_path).encode() not in content
    assert all(p.stat().st_mode & 0o077 == 0 for p in cache.iterdir() if p.is_dir())


def test_nothing_is_written_outside_the_cache(tmp_path: Path) -> None:
    def others() -> dict[Path, int]:
        files = (p for p in tmp_path.rglob("*") if cache not in p.parents and p != cache)
        return {path: path.stat().st_mtime_ns for path in files if path.is_file()}

    cache = tmp_path / "deep" / "cache"
    settings = write_cohort("volumes", tmp_path)
    before = others()
    view_of(cache, settings)
    assert others() == before


def test_an_unchanged_view_is_opened_and_any_change_builds_anew(tmp_path: Path) -> None:
    cache, settings = tmp_path / "cache", write_cohort("volumes", tmp_path)

    def built(**changes: Any) -> bool:
        builds = Builds()
        given = {"sources": [settings], "task": CLASSIFY, "data": DATA, "split_key": KEY, **changes}
        prepare_job_view(cache, progress=builds, **given)
        return bool(builds.seen)

    assert built()
    assert not built()
    assert built(split_key=bytes(32))
    assert built(data=dataclasses.replace(DATA, image_size=(4, 4)))
    assert built(task=SEGMENT)
    assert built(sources=[dataclasses.replace(settings, max_excluded_share=0.3)])
    image = Path(settings.path) / "i0.mha"
    image.write_bytes(Format("volumes", tmp_path).encode(mask(0)))
    assert built()
    assert not built()


def damage_bit(folder: Path) -> None:
    path = folder / "images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_labels(folder: Path) -> None:
    content = (folder / "labels.npy").read_bytes()
    (folder / "labels.npy").write_bytes(content[:-8])


def lose_index(folder: Path) -> None:
    (folder / "index.json").unlink()


def spoil_index(folder: Path) -> None:
    (folder / "index.json").write_text("[1]")


def lie_about_version(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "version": 0}))


@pytest.mark.parametrize(
    "damage", [damage_bit, cut_labels, lose_index, spoil_index, lie_about_version]
)
def test_a_damaged_view_is_noticed_and_built_anew(damage: Any, tmp_path: Path) -> None:
    settings = write_cohort("arrays", tmp_path)
    view = view_of(tmp_path / "cache", settings)
    expected = np.array(view.images)
    damage(view.folder)
    with pytest.raises(CorruptFileError):
        open_job_view(view.folder)
    np.testing.assert_array_equal(view_of(tmp_path / "cache", settings).images, expected)


def test_what_a_crash_left_is_built_anew(tmp_path: Path) -> None:
    cache, settings = tmp_path / "cache", write_cohort("arrays", tmp_path)

    def crash(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        view_of(cache, settings, progress=crash)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    view = view_of(cache, settings)
    half = view.folder.rename(cache / f".{view.folder.name}.building")  # as after a power cut
    (half / "index.json").unlink()
    assert len(view_of(cache, settings).images) == 6
    assert not half.exists()


def test_builders_of_one_view_do_not_disturb_each_other(tmp_path: Path) -> None:
    settings = write_cohort("volumes", tmp_path)
    views: list[JobView] = []
    builds = Builds()

    def build() -> None:
        views.append(view_of(tmp_path / "cache", settings, progress=builds))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(views) == 4 and len(builds.seen) == 6  # decoded once
    assert all(np.array_equal(v.images, views[0].images) for v in views)


def test_a_full_disk_is_named_and_leaves_nothing_half_built(tmp_path: Path) -> None:
    settings = write_cohort("arrays", tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    try:
        with pytest.raises(DiskFullError):
            view_of(tmp_path / "cache", settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    assert len(view_of(tmp_path / "cache", settings).images) == 6


def refused(tmp_path: Path, sources: Sequence[SourceSettings]) -> CohortError:
    with pytest.raises(CohortError) as raised:
        view_of(tmp_path / "cache", *sources)
    assert "SECRET" not in str(raised.value)
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]
    return raised.value


def test_a_cohort_without_a_usable_case_is_refused(tmp_path: Path) -> None:
    nobody = write_cohort("arrays", tmp_path, filter={"patient": "nobody"})
    assert refused(tmp_path, [nobody]).code == "E_COHORT_EMPTY"
    unmapped = write_cohort("arrays", tmp_path, labels={"7": "normal"})
    error = refused(tmp_path, [unmapped])
    assert error.code == "E_COHORT_EMPTY"
    assert "E_LABEL_UNMAPPED 6 (lines 2, 3, 4, 5, 6, ...)" in str(error)


def test_too_many_bad_cases_refuse_the_cohort_also_when_decoding_finds_them(tmp_path: Path) -> None:
    made = Format("volumes", tmp_path)
    bad = {made.name(f"i{n}"): b"no volume" for n in (1, 2)}
    settings = write_cohort("volumes", tmp_path, extra_files=bad)  # 2 of 6 are above 0.2
    error = refused(tmp_path, [settings])
    assert error.code == "E_TOO_MANY_EXCLUDED"
    assert "2 of 6" in str(error) and "lines 3, 4" in str(error)
    tolerant = dataclasses.replace(settings, max_excluded_share=0.34)
    assert len(view_of(tmp_path / "cache", tolerant).images) == 4


def test_labels_that_are_excluded_on_purpose_do_not_count_as_bad(tmp_path: Path) -> None:
    settings = write_cohort("arrays", tmp_path, labels={"0": 0, "1": "exclude"})
    view = view_of(tmp_path / "cache", settings)
    assert len(view.images) == 3
    assert view.exclusions == {"EXCLUDED_BY_LABEL": 3}


def test_the_report_counts_by_split_and_class(tmp_path: Path) -> None:
    settings = write_cohort("arrays", tmp_path, labels={"0": 0, "1": 1})
    report = cohort_report(view_of(tmp_path / "cache", settings), CLASSIFY)
    assert report["cases"] == {"train": 4, "validation": 1, "test": 1}
    assert report["classes"]["train"] == {"normal": 2, "pneumonia": 2}
    assert report["classes"]["test"] == {"normal": 0, "pneumonia": 1}
    masks = cohort_report(view_of(tmp_path / "cache", settings, task=SEGMENT), SEGMENT)
    assert masks["classes"]["validation"] == {"background": 1, "organ": 1}
    assert masks["exclusions"] == {} and masks["unit"] == "patient"
    json.dumps(report)


def test_importing_a_cohorts_interface_imports_no_decoder() -> None:
    program = (
        "import sys\n"
        "from fedward_client.cohorts import cohort_file, cohort_report, open_source\n"
        "from fedward_client.cohorts.views import job_view\n"
        "heavy = {'numpy', 'SimpleITK', 'pydicom', 'PIL', 'torch', 'flwr'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
