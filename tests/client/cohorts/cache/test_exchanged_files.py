"""Files that others took the place of, with the very size and time that the index has."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.client.cohorts.cached_cases import cached_case_ids
from tests.client.cohorts.registered_cohorts import (
    PoolInProcess,
    home_in,
    random_image,
    register,
    settings_of,
    write_image,
    write_series,
)
from tests.client.cohorts.small_cohorts import CLASSIFY, DATA, KEY

from fedward_client.cohorts.cache.native_cache import open_native_cache
from fedward_client.cohorts.cache.native_decoding import CaseOutcome, decode_cases
from fedward_client.cohorts.index.folder_scan import FolderStore
from fedward_client.cohorts.registered.snapshot import Snapshot
from fedward_client.cohorts.views.job_view import prepare_job_view
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.site_home import SiteHome
from fedward_common.errors import CohortError


def exchange(path: Path, other: Path) -> None:
    """Put another file in a file's place, and make size and time what they were."""
    before, content = path.stat(), other.read_bytes()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def outcomes_of(home: SiteHome, snapshot: Snapshot, dicom: Path) -> list[CaseOutcome]:
    with DecodePool() as pool:
        cache = open_native_cache(home)
        return list(decode_cases(cache, snapshot.cases, FolderStore(dicom), pool))


def images_in(folder: Path, num_images: int = 3) -> tuple[SiteHome, Snapshot]:
    rows = [
        {"file": write_image(folder / "dicom", n, random_image(n)), "label": "0", "split": "train"}
        for n in range(num_images)
    ]
    home = home_in(folder / "home")
    return home, register(home, folder / "dicom", rows)


def test_an_image_of_another_patient_is_not_decoded_under_the_old_ones_name(tmp_path: Path) -> None:
    home, snapshot = images_in(tmp_path)
    dicom = tmp_path / "dicom"
    write_image(tmp_path / "elsewhere", 7, random_image(7))
    exchange(dicom / "i1.dcm", tmp_path / "elsewhere" / "i7.dcm")
    assert [one.code for one in outcomes_of(home, snapshot, dicom)] == [
        None, "E_FILE_CHANGED", None,
    ]  # fmt: skip
    stays = {one.case_id for one in snapshot.cases if one.patient != "SECRET-ID-1"}
    assert cached_case_ids(home.cache) == stays


def test_no_view_is_made_while_the_index_is_stale_and_update_makes_it_true_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)
    home, snapshot = images_in(tmp_path)
    write_image(tmp_path / "elsewhere", 7, random_image(7))
    exchange(tmp_path / "dicom" / "i1.dcm", tmp_path / "elsewhere" / "i7.dcm")
    with pytest.raises(CohortError, match="E_FILE_CHANGED 1") as raised:
        prepare_job_view(tmp_path / "views", [settings_of(home)], CLASSIFY, DATA, KEY)
    assert "cohort check" in str(raised.value.hint) and "SECRET" not in str(raised.value)
    rows = [{"file": f"i{n}.dcm", "label": "0", "split": "train"} for n in range(3)]
    again = register(home, tmp_path / "dicom", rows)
    assert again.number == snapshot.number + 1
    assert [one.patient for one in again.cases] == [f"SECRET-ID-{n}" for n in (0, 7, 2)]
    view = prepare_job_view(tmp_path / "views", [settings_of(home)], CLASSIFY, DATA, KEY)
    assert view.exclusions == {} and len(view.images) == 3


def test_a_frame_is_known_by_its_file_and_number(tmp_path: Path) -> None:
    frames = np.stack([random_image(n) for n in range(3)])
    for name, number in (("dicom", 1), ("elsewhere", 2)):
        write_image(tmp_path / name, number, frames, NumberOfFrames=3)
    home = home_in(tmp_path / "home")
    rows = [{"file": "i1.dcm", "label": "0", "split": "train"}]
    snapshot = register(home, tmp_path / "dicom", rows)
    exchange(tmp_path / "dicom" / "i1.dcm", tmp_path / "elsewhere" / "i2.dcm")
    codes = [one.code for one in outcomes_of(home, snapshot, tmp_path / "dicom")]
    assert codes == ["E_FILE_CHANGED"] * 3
    exchange(tmp_path / "dicom" / "i1.dcm", _written_again(tmp_path, frames))
    codes = [one.code for one in outcomes_of(home, snapshot, tmp_path / "dicom")]
    assert codes == [None] * 3


def _written_again(folder: Path, frames: NDArray[Any]) -> Path:
    write_image(folder / "again", 1, frames, NumberOfFrames=3)
    return folder / "again" / "i1.dcm"


@pytest.mark.parametrize(("num_slices", "code"), [(1, "E_SERIES_MIXED"), (3, "E_FILE_CHANGED")])
def test_a_series_of_which_slices_are_anothers_is_not_decoded(
    tmp_path: Path, num_slices: int, code: str
) -> None:
    draw = np.random.default_rng(4)
    volumes = draw.integers(0, 255, (2, 3, 8, 10)).astype(np.int16)
    uid = write_series(tmp_path / "dicom", 1, volumes[0])
    write_series(tmp_path / "elsewhere", 2, volumes[1])
    home = home_in(tmp_path / "home")
    rows = [{"series_instance_uid": uid, "label": "0", "split": "train"}]
    snapshot = register(home, tmp_path / "dicom", rows, cases="series")
    for number in range(num_slices):
        exchange(
            tmp_path / "dicom" / "s1" / f"i{100 + number}.dcm",
            tmp_path / "elsewhere" / "s2" / f"i{200 + number}.dcm",
        )
    [outcome] = outcomes_of(home, snapshot, tmp_path / "dicom")
    assert outcome.code == code
    assert cached_case_ids(home.cache) == set()
