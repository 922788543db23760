"""What becomes of damaged arrays, of a full cache or disk, and of what nobody needs any more."""

import dataclasses
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tests.client.cohorts.cached_cases import (
    GIGABYTE,
    KEY,
    Hospital,
    cached_case_ids,
    image_of,
)

from fedward_client.cohorts.cache.native_cache import NativeCache, open_native_cache
from fedward_client.cohorts.cache.native_decoding import find_array, names_of_case
from fedward_client.cohorts.cache.native_index import CacheEntry
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.pseudonyms import pseudonym
from fedward_client.site_home import create_site_home
from fedward_common.errors import (
    CohortError,
    ConfigurationError,
    CorruptFileError,
    DiskFullError,
)


def cache_in(tmp_path: Path, quota_bytes: int = GIGABYTE) -> NativeCache:
    return NativeCache(tmp_path / "cache" / "native", quota_bytes, pseudonym_key=KEY)


def arrays_of(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.npy"))


def entry_of(cache: NativeCache, hospital: Hospital, number: int) -> CacheEntry:
    entry = find_array(cache, hospital.cases[number], "image")
    assert entry is not None
    return entry


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path / "data")


# -- damage ----------------------------------------------------------------------------------------


def flip_a_bit(path: Path, *, unnoticed: bool = False) -> None:
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-7] ^= 4
    path.write_bytes(content)
    if unnoticed:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("unnoticed", [False, True])
def test_a_flipped_bit_is_found_and_the_array_is_decoded_again(
    hospital: Hospital, tmp_path: Path, unnoticed: bool
) -> None:
    cache = cache_in(tmp_path)
    hospital.decode(cache)
    before = entry_of(cache, hospital, 0)
    path = next(p for p in arrays_of(tmp_path) if p.name.startswith(before.name))
    flip_a_bit(path, unnoticed=unnoticed)
    with pytest.raises(CorruptFileError):
        cache.read(before)
    assert all(one.code is None for one in hospital.decode(cache_in(tmp_path)))
    assert hospital.decoded[6:] == ["SECRET-0.npy"]
    np.testing.assert_array_equal(cache.read(entry_of(cache, hospital, 0)), image_of(0))


def test_damage_that_leaves_no_trace_in_the_file_system_is_found_when_it_is_read(
    hospital: Hospital, tmp_path: Path
) -> None:
    """As a failing disk does: size, times and inode are those that were written."""
    cache = cache_in(tmp_path)
    hospital.decode(cache)
    entry = entry_of(cache, hospital, 0)
    path = next(p for p in arrays_of(tmp_path) if p.name.startswith(entry.name))
    flip_a_bit(path)
    status = path.stat()
    stamp = dataclasses.replace(
        entry.stamp, modified_ns=status.st_mtime_ns, changed_ns=status.st_ctime_ns
    )
    with cache.only_writer():
        cache._index.append(dataclasses.replace(entry, stamp=stamp))
    trusted = entry_of(cache, hospital, 0)
    with pytest.raises(CorruptFileError):
        cache.read(trusted)
    cache.forget(trusted)
    assert not path.exists()
    hospital.decode(cache)
    np.testing.assert_array_equal(cache.read(entry_of(cache, hospital, 0)), image_of(0))


@pytest.mark.parametrize("length", [0, 10, 128, 200])
def test_a_cut_or_lost_array_is_decoded_again(
    hospital: Hospital, tmp_path: Path, length: int
) -> None:
    hospital.decode(cache_in(tmp_path))
    first, second, *_ = arrays_of(tmp_path)
    first.write_bytes(first.read_bytes()[:length])
    second.unlink()
    hospital.decode(cache_in(tmp_path))
    assert len(hospital.decoded) == 8


def test_a_cache_restored_from_a_backup_is_hashed_and_believed(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.decode(cache_in(tmp_path))
    shutil.copytree(tmp_path / "cache", tmp_path / "backup")
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "backup").rename(tmp_path / "cache")
    hospital.decode(cache_in(tmp_path))
    assert len(hospital.decoded) == 6


def test_a_restored_array_is_hashed_once(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.decode(cache_in(tmp_path))
    for path in arrays_of(tmp_path):
        os.utime(path, ns=(1, 1))
    reads: list[str] = []
    read = NativeCache.read

    def noted(cache: NativeCache, entry: CacheEntry) -> Any:
        reads.append(entry.name)
        return read(cache, entry)

    monkeypatch.setattr(NativeCache, "read", noted)
    for _ in range(3):
        hospital.decode(cache_in(tmp_path))
    assert sorted(reads) == sorted(path.name.removesuffix(".npy") for path in arrays_of(tmp_path))


# -- room ------------------------------------------------------------------------------------------


def test_the_quota_is_kept_and_what_was_decoded_stays(hospital: Hospital, tmp_path: Path) -> None:
    size = 4096  # a block of the disk, though an array has 288 bytes
    small = cache_in(tmp_path, quota_bytes=4 * size)
    with pytest.raises(CohortError) as raised:
        hospital.decode(small)
    assert raised.value.code == "E_CACHE_FULL"
    assert len(arrays_of(tmp_path)) == 4 and small.used_bytes == 4 * size
    hospital.decode(cache_in(tmp_path))
    assert len(hospital.decoded) == 7  # four, the one that did not fit, and the last two again
    assert len(arrays_of(tmp_path)) == 6


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("num_bytes", [10, 200, 700, 1500])
def test_a_full_disk_is_named_and_leaves_only_whole_arrays(
    hospital: Hospital, tmp_path: Path, num_bytes: int
) -> None:
    cache = cache_in(tmp_path)
    with files_of_at_most(num_bytes), pytest.raises(DiskFullError):
        hospital.decode(cache)
    assert hospital.now_open == 0
    for path in arrays_of(tmp_path):
        np.load(path, allow_pickle=False)
    again = cache_in(tmp_path)
    assert all(one.code is None for one in hospital.decode(again))
    for number in range(6):
        np.testing.assert_array_equal(
            again.read(entry_of(again, hospital, number)), image_of(number)
        )


def test_a_sites_quota_stands_in_its_settings(tmp_path: Path) -> None:
    home = create_site_home(tmp_path, split_key=KEY)
    assert open_native_cache(home).used_bytes == 0
    home.settings_file.write_text("cache_quota_gigabytes = 1e-6")
    hospital = Hospital(tmp_path / "data", key=home.pseudonym_key())
    with pytest.raises(CohortError) as raised:
        hospital.decode(open_native_cache(home))
    assert raised.value.code == "E_CACHE_FULL"
    for bad in ("true", '"much"', "0", "-1"):
        home.settings_file.write_text(f"cache_quota_gigabytes = {bad}")
        with pytest.raises(ConfigurationError):
            open_native_cache(home)


# -- taking away -----------------------------------------------------------------------------------


def test_excluded_patients_are_removed_images_and_masks(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path / "data", with_masks=True)
    cache = cache_in(tmp_path)
    hospital.decode(cache)
    gone = [hospital.cases[n].case_id for n in (1, 4)]
    assert cache.remove(gone) == 4
    assert cache.remove(gone) == 0
    assert len(arrays_of(tmp_path)) == 8
    assert cached_case_ids(tmp_path / "cache").isdisjoint(gone)
    assert cache.used_bytes == 8 * 4096


def test_what_no_snapshot_needs_is_pruned(hospital: Hospital, tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    hospital.decode(cache)
    hospital.change(3, image_of(33))
    newer = [*hospital.cases[:3], hospital.case(3)]
    hospital.cases = newer
    hospital.decode(cache)
    orphan = arrays_of(tmp_path)[0].with_name("orphan.npy")
    orphan.write_bytes(b"left by a kill")
    assert cache.prune({name for one in newer for name in names_of_case(one)}) == 3
    assert not orphan.exists() and len(arrays_of(tmp_path)) == 4
    hospital.decoded.clear()
    hospital.decode(cache_in(tmp_path))
    assert hospital.decoded == []


def test_an_index_of_mostly_dead_lines_is_written_anew(hospital: Hospital, tmp_path: Path) -> None:
    cache, other = cache_in(tmp_path), cache_in(tmp_path)
    hospital.decode(cache)
    entries = [entry_of(cache, hospital, n) for n in range(6)]
    entry_of(other, hospital, 0)
    with cache.only_writer():
        cache._index.append(*(entries * 200))
        cache.settle()
    index = tmp_path / "cache" / "native" / "index.lines"
    assert index.read_bytes().count(b"\n") == 7
    removed = hospital.cases[5].case_id
    other.remove([removed])
    for one in (cache, other, cache_in(tmp_path)):
        assert find_array(one, hospital.cases[4], "image") == entries[4]
    assert removed not in cached_case_ids(tmp_path / "cache")


def test_files_that_must_go_before_others_can_come_are_given_back(tmp_path: Path) -> None:
    """As a server's do, which pass through bounded space."""
    hospital = Hospital(tmp_path / "data", with_masks=True, most_allowed=3)
    pool = ThreeAhead()
    cache = cache_in(tmp_path)
    found = list(cache.decode_cases(hospital.snapshot, hospital, cast(DecodePool, pool)))
    assert [one.code for one in found] == [None] * 6
    assert (hospital.most_open, hospital.now_open) == (3, 0)
    none_fits = Hospital(tmp_path / "data", most_allowed=0)
    with pytest.raises(CohortError) as raised:
        none_fits.decode(cache_in(tmp_path / "other"))
    assert raised.value.code == "E_CACHE_FULL"


class ThreeAhead(Hospital):
    """A pool that takes orders ahead, as one with several workers does."""

    def __init__(self) -> None:
        self.decoded = []
        self.on_decode = None

    def map(self, orders: Any) -> Any:
        ahead: list[Any] = []
        for order in orders:
            ahead.append(order)
            if len(ahead) > 8:
                yield from super().map([ahead.pop(0)])
        while ahead:
            yield from super().map([ahead.pop(0)])


def test_files_are_at_hand_only_while_they_are_decoded(hospital: Hospital, tmp_path: Path) -> None:
    hospital.decode(cache_in(tmp_path))
    assert (hospital.most_open, hospital.now_open) == (1, 0)


def test_a_file_of_many_frames_is_fetched_once_for_all_of_them(tmp_path: Path) -> None:
    """Its lines need not stand one after the other, and no file is kept beside the next one."""
    hospital = Hospital(tmp_path / "data", num_cases=2, most_allowed=1)
    hospital.cases = [
        hospital.case(file, case_id=pseudonym(KEY, "case", f"{file}#{frame}"), frame=frame)
        for frame in range(4)
        for file in range(2)
    ]
    assert [one.code for one in hospital.decode(cache_in(tmp_path))] == [None] * 8
    assert (hospital.num_fetched, hospital.most_open, hospital.now_open) == (2, 1, 0)
