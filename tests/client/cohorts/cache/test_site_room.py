"""What a site's cache keeps, and what goes when there is no need or no room."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from tests.client.cohorts.cached_cases import cached_case_ids
from tests.client.cohorts.registered_cohorts import (
    PoolInProcess,
    home_in,
    random_image,
    register,
    settings_of,
    write_image,
)
from tests.client.cohorts.small_cohorts import CLASSIFY, DATA, KEY

from fedward_client.cohorts.cache.native_cache import open_native_cache
from fedward_client.cohorts.cache.needed_snapshots import UNUSED_AFTER_SECONDS
from fedward_client.cohorts.cache.site_room import Freed, free_cache
from fedward_client.cohorts.registered.excluded_patients import add_excluded_patients
from fedward_client.cohorts.registered.registered_source import RegisteredSource
from fedward_client.cohorts.source import Case, UnusableCaseError
from fedward_client.cohorts.views.job_view import JobView, open_job_view, prepare_job_view
from fedward_client.cohorts.views.view_folders import bytes_of_views
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome
from fedward_common.errors import CohortError, CorruptFileError

BLOCK = 4096


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)


@pytest.fixture
def home(tmp_path: Path) -> SiteHome:
    return home_in(tmp_path / "home")


def snapshot_in(home: SiteHome, *, changed: int | None = None) -> str:
    """Register six images, or make the next snapshot in which one of them is another."""
    dicom = home.folder.parent / "dicom"
    rows = []
    for number in range(6):
        path = dicom / f"i{number}.dcm"
        if number == changed or not path.exists():
            write_image(dicom, number, random_image(number + 50 * (number == changed)))
            later = path.stat().st_mtime_ns + 10**9 * (number == changed)
            os.utime(path, ns=(later, later))
        rows.append({"file": path.name, "label": str(number % 2), "split": "train"})
    return register(home, dicom, rows).full_name


def view_of(home: SiteHome, snapshot: str, size: int = 8) -> JobView:
    data = dataclasses.replace(DATA, image_size=(size, size))
    return prepare_job_view(
        home.cache,
        [settings_of(home, snapshot)],
        CLASSIFY,
        data,
        KEY,
        require_room=open_native_cache(home).require_room,
    )


def built(home: SiteHome, snapshot: str, size: int = 8) -> Path:
    """Build a view that nobody has open; give its folder."""
    return view_of(home, snapshot, size).folder


def pin(home: SiteHome, run: str, snapshot: str, view: Path) -> Path:
    folder = home.run_folder(run)
    folder.mkdir()
    (folder / "snapshots.json").write_text(json.dumps([snapshot]))
    (folder / "view").write_text(view.name)
    return folder


def exclude(home: SiteHome, patient: str) -> None:
    add_excluded_patients(home, [pseudonym(home.pseudonym_key(), "patient", patient)], "consent")


def arrays_in(home: SiteHome) -> int:
    return len(list(home.cache.rglob("native/*/*.npy")))


def test_what_the_newest_snapshot_needs_stays_and_the_rest_goes(home: SiteHome) -> None:
    old = snapshot_in(home)
    old_view = built(home, old)
    assert free_cache(home) == Freed(arrays=0, views=0)
    new = snapshot_in(home, changed=3)
    new_view = built(home, new)
    assert arrays_in(home) == 7
    assert free_cache(home) == Freed(arrays=1, views=1)
    assert (old_view.exists(), new_view.exists(), arrays_in(home)) == (False, True, 6)


@pytest.mark.parametrize("end", ["tested", "forgotten"])
def test_a_run_keeps_its_snapshot_and_view_until_it_is_over(home: SiteHome, end: str) -> None:
    old = snapshot_in(home)
    old_view = built(home, old)
    run = pin(home, "ab12", old, old_view)
    built(home, snapshot_in(home, changed=3))
    assert free_cache(home) == Freed(0, 0) and old_view.exists() and arrays_in(home) == 7
    if end == "tested":
        (run / "test-sums.npy").write_bytes(b"")
    else:
        then = run.stat().st_mtime - UNUSED_AFTER_SECONDS - 60
        for path in (*run.iterdir(), run):
            os.utime(path, (then, then))
    assert free_cache(home) == Freed(1, 1) and not old_view.exists()


def test_a_view_that_is_open_stays_until_it_is_closed(home: SiteHome) -> None:
    old = snapshot_in(home)
    view = view_of(home, old)
    folder = view.folder
    changed = view.without(frozenset())
    del view
    built(home, snapshot_in(home, changed=3))
    assert free_cache(home).views == 0 and open_job_view(folder).num_cases("train") == 6
    del changed
    assert free_cache(home).views == 1 and not folder.exists()


def test_a_view_with_an_excluded_patient_is_built_again_without(home: SiteHome) -> None:
    snapshot = snapshot_in(home)
    folder = built(home, snapshot)
    pin(home, "ab12", snapshot, folder)
    exclude(home, "SECRET-ID-4")
    assert free_cache(home).views == 1
    with pytest.raises(CorruptFileError):
        open_job_view(folder)
    again = view_of(home, snapshot)
    assert again.folder == folder and len(again.images) == 5
    del again
    assert free_cache(home).views == 0


def test_a_view_that_lacks_cases_is_kept_for_its_run_alone(
    home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_in(home)
    read_image = RegisteredSource.read_image

    def read(source: RegisteredSource, case: Case) -> object:
        if case.line == 3:
            raise UnusableCaseError("E_DECODER_CRASHED")
        return read_image(source, case)

    with monkeypatch.context() as patched:
        patched.setattr(RegisteredSource, "read_image", read)
        lacking = built(home, snapshot)
    run = pin(home, "ab12", snapshot, lacking)
    assert free_cache(home).views == 0 and built(home, snapshot) == lacking
    (run / "test-sums.npy").write_bytes(b"")
    assert free_cache(home).views == 1
    assert built(home, snapshot) != lacking and free_cache(home).views == 0


def test_views_count_in_the_quota_and_go_before_it_is_passed(home: SiteHome) -> None:
    """Two views of the newest snapshot do not fit beside its arrays: the one nobody uses goes."""
    snapshot = snapshot_in(home)
    first = built(home, snapshot)
    used = open_native_cache(home).used_bytes + bytes_of_views(home.cache)
    assert used == (6 + 6) * BLOCK  # six arrays, and six small files of the view
    home.settings_file.write_text(f"cache_quota_gigabytes = {(used + 2 * BLOCK) / 1e9}")
    second = built(home, snapshot, size=7)
    assert not first.exists() and second.exists() and arrays_in(home) == 6
    pin(home, "ab12", snapshot, second)
    with pytest.raises(CohortError) as raised:
        view_of(home, snapshot)
    assert raised.value.code == "E_CACHE_FULL" and second.exists() and not first.exists()


def test_arrays_of_old_snapshots_go_before_the_quota_is_passed(home: SiteHome) -> None:
    built(home, snapshot_in(home))
    used = open_native_cache(home).used_bytes + bytes_of_views(home.cache)
    home.settings_file.write_text(f"cache_quota_gigabytes = {(used + BLOCK) / 1e9}")
    new = snapshot_in(home, changed=3)
    assert len(view_of(home, new).images) == 6
    assert arrays_in(home) == 6 and len(cached_case_ids(home.cache)) == 6


def test_what_a_kill_left_of_views_is_swept_but_not_what_is_being_built(home: SiteHome) -> None:
    snapshot_in(home)
    for name in (".{}.removed", ".{}.building"):
        (home.cache / name.format("a" * 64)).mkdir(parents=True)
    free_cache(home)
    assert not list(home.cache.glob(".*.removed")) and not list(home.cache.glob(".*.building"))


def test_a_damaged_snapshot_costs_no_array(home: SiteHome) -> None:
    snapshot_in(home)
    built(home, "chest@1")
    path = next((home.cohorts / "chest" / "snapshots").iterdir())
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-9])
    assert free_cache(home).arrays == 0 and arrays_in(home) == 6
