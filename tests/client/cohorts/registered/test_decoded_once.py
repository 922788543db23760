"""What is decoded of a registered cohort: each image once, no excluded patient, and no name."""

import dataclasses
from pathlib import Path

import pytest
from tests.client.cohorts.cached_cases import cached_case_ids
from tests.client.cohorts.registered.registered_images import columns_of, images_in, view_of
from tests.client.cohorts.registered_cohorts import PoolInProcess, settings_of
from tests.client.cohorts.small_cohorts import DATA

from fedward_client.cohorts.registered.excluded_patients import add_excluded_patients
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import SiteHome


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedward_client.dicom.decode_pool.DecodePool", PoolInProcess)


# -- decoded once, and no longer than wanted -------------------------------------------------------


def test_a_second_job_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = images_in(tmp_path)
    view_of(tmp_path / "cache", settings_of(home))
    for path in (tmp_path / "dicom").iterdir():
        path.unlink()
    other = dataclasses.replace(DATA, image_size=(4, 4))
    assert len(view_of(tmp_path / "cache", settings_of(home), data=other).images) == 8


def test_damage_of_the_disk_is_found_when_a_view_is_built_and_decoded_again(tmp_path: Path) -> None:
    home = images_in(tmp_path)
    view = view_of(tmp_path / "cache", settings_of(home))
    for path in (home.cache / "native").rglob("*.image.npy"):
        content = bytearray(path.read_bytes())
        content[-3] ^= 2
        path.write_bytes(content)
    again = view_of(tmp_path / "other", settings_of(home))
    assert columns_of(again) == columns_of(view)


def exclude(home: SiteHome, *patients: str) -> list[str]:
    key = home.pseudonym_key()
    names = [pseudonym(key, "patient", one) for one in patients]
    add_excluded_patients(home, names, "consent withdrawn")
    return names


def test_an_excluded_patient_is_no_case_and_is_not_decoded(tmp_path: Path) -> None:
    home = images_in(tmp_path)
    exclude(home, "SECRET-ID-0", "SECRET-ID-5")
    view = view_of(tmp_path / "cache", settings_of(home, max_excluded_share=0.0))
    assert view.exclusions == {"EXCLUDED_BY_REQUEST": 2}
    assert len(view.images) == 6 and len(cached_case_ids(home.cache)) == 6


def test_a_view_that_was_built_before_leaves_the_patient_out_and_changes_no_other(
    tmp_path: Path,
) -> None:
    home = images_in(tmp_path)
    view = view_of(tmp_path / "cache", settings_of(home))
    names = exclude(home, "SECRET-ID-0", "SECRET-ID-3")
    left = view.without(frozenset(map(bytes.fromhex, names)))
    assert [left.num_patients(s) for s in ("train", "validation", "test")] == [3, 2, 1]
    kept = [g.tolist() for g in view.cases_by_patient("train") if g.tolist() != [0]]
    assert [g.tolist() for g in left.cases_by_patient("train")] == kept
    assert left.without(frozenset()).num_patients("train") == 4
    fresh = view_of(tmp_path / "other", settings_of(home))
    before = [left.images[g[0]].tobytes() for g in left.cases_by_patient("train")]
    assert [fresh.images[g[0]].tobytes() for g in fresh.cases_by_patient("train")] == before


def test_nothing_that_names_a_patient_is_in_view_or_cache(tmp_path: Path) -> None:
    home = images_in(tmp_path)
    view_of(home.cache, settings_of(home))
    for path in home.cache.rglob("*"):
        assert "SECRET" not in path.name and "i1" not in path.name
        content = path.read_bytes() if path.is_file() else b""
        assert b"SECRET" not in content and b"1.2.826" not in content
