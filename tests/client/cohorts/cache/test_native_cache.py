"""Decoded once and for ever: by one builder or two, and after kills."""

import dataclasses
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohorts.cached_cases import (
    GIGABYTE,
    KEY,
    Hospital,
    image_of,
    mask_of,
)

from fedward_client.cohorts.cache.native_cache import NativeCache, pixels_hash
from fedward_client.cohorts.cache.native_decoding import content_of, find_array
from fedward_client.cohorts.cache.native_index import CacheEntry


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


def test_each_image_is_decoded_once_and_read_back_as_it_was(
    hospital: Hospital, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    cache = cache_in(tmp_path)
    outcomes = hospital.decode(cache, lambda done, total: seen.append((done, total)))
    assert [(one.case_id, one.code) for one in outcomes] == [
        (case.case_id, None) for case in hospital.cases
    ]
    assert [one.pixels_sha256 for one in outcomes] == [pixels_hash(image_of(n)) for n in range(6)]
    assert seen[-1] == (6, 6)
    for fresh in (cache, cache_in(tmp_path)):
        again = hospital.decode(fresh)
        assert again == outcomes and len(hospital.decoded) == 6
        for number in range(6):
            entry = entry_of(fresh, hospital, number)
            array = fresh.read(entry)
            np.testing.assert_array_equal(array, image_of(number))
            assert array.dtype == np.int16
            assert entry.facts == {"spacing_mm": [1.0, 0.5]}


def test_an_array_is_a_plain_npy_file_named_by_its_pseudonym(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.decode(cache_in(tmp_path))
    assert {path.name[:32] for path in arrays_of(tmp_path)} == {c.case_id for c in hospital.cases}
    found = [np.load(path, mmap_mode="r", allow_pickle=False) for path in arrays_of(tmp_path)]
    assert sorted(a.tobytes() for a in found) == sorted(image_of(n).tobytes() for n in range(6))


def test_nothing_in_the_cache_tells_a_patient_or_a_file(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path / "data", with_masks=True)
    hospital.decode(cache_in(tmp_path))
    for path in (tmp_path / "cache").rglob("*"):
        assert "SECRET" not in path.name
        if path.is_file():
            assert b"SECRET" not in path.read_bytes()
            assert path.suffix != ".npy" or path.stat().st_mode & 0o077 == 0
        else:
            assert path.stat().st_mode & 0o077 == 0


def test_masks_are_kept_beside_their_images(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path / "data", with_masks=True)
    cache = cache_in(tmp_path)
    assert all(one.code is None for one in hospital.decode(cache))
    for number, case in enumerate(hospital.cases):
        mask = find_array(cache, case, "mask")
        assert mask is not None
        np.testing.assert_array_equal(cache.read(mask), mask_of(number))
    assert len(arrays_of(tmp_path)) == 12


def test_a_bad_file_is_its_own_code_and_stops_nothing(hospital: Hospital, tmp_path: Path) -> None:
    (hospital.folder / "SECRET-1.npy").write_bytes(b"no array")
    (hospital.folder / "SECRET-2.npy").unlink()
    hospital.cases[1] = hospital.case(1)  # indexed as it is now
    hospital.change(3, image_of(99))  # after it was indexed
    codes = [one.code for one in hospital.decode(cache_in(tmp_path))]
    assert codes == [None, "E_IMAGE_UNREADABLE", "E_FILE_NOT_FOUND", "E_FILE_CHANGED", None, None]
    assert hospital.now_open == 0


def test_a_bad_mask_is_the_code_of_its_case(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path / "data", with_masks=True)
    (hospital.folder / "SECRET-mask-4.npy").unlink()
    codes = [one.code for one in hospital.decode(cache_in(tmp_path))]
    assert codes == [None] * 4 + ["E_FILE_NOT_FOUND", None]


def test_a_file_that_changes_while_it_is_decoded_is_not_kept(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.on_decode = lambda path: hospital.change(2, image_of(2)) if "-2" in path else None
    codes = [one.code for one in hospital.decode(cache_in(tmp_path))]
    assert codes == [None, None, "E_FILE_CHANGED", None, None, None]


def test_a_file_that_was_exported_again_is_another_content(
    hospital: Hospital, tmp_path: Path
) -> None:
    cache = cache_in(tmp_path)
    hospital.decode(cache)
    old = hospital.cases[3]
    hospital.change(3, image_of(33))
    hospital.cases[3] = hospital.case(3)
    assert all(one.code is None for one in hospital.decode(cache))
    assert hospital.decoded[6:] == ["SECRET-3.npy"]
    np.testing.assert_array_equal(cache.read(entry_of(cache, hospital, 3)), image_of(33))
    kept = find_array(cache, old, "image")  # an older snapshot still finds its own
    assert kept is not None
    np.testing.assert_array_equal(cache.read(kept), image_of(3))


def test_frame_kind_and_mask_are_part_of_the_content(hospital: Hospital) -> None:
    case = hospital.cases[0]
    others = [
        dataclasses.replace(case, frame=0),
        dataclasses.replace(case, kind="series"),
        dataclasses.replace(case, files=(*case.files, *hospital.cases[1].files)),
    ]
    assert len({content_of(one, "image") for one in (case, *others)}) == 4
    same = dataclasses.replace(case, label=5, split="test", patient="another", line=9)
    assert content_of(same, "image") == content_of(case, "image")


# -- kills -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(6))
def test_an_interrupted_build_goes_on_where_it_was(
    hospital: Hospital, tmp_path: Path, at: int
) -> None:
    def kill(path: str) -> None:
        if path.endswith(f"-{at}.npy"):
            raise KeyboardInterrupt

    hospital.on_decode = kill
    with pytest.raises(KeyboardInterrupt):
        hospital.decode(cache_in(tmp_path))
    assert hospital.now_open == 0
    hospital.on_decode = None
    cache = cache_in(tmp_path)
    assert all(one.code is None for one in hospital.decode(cache))
    assert hospital.decoded == [f"SECRET-{n}.npy" for n in (*range(at + 1), *range(at, 6))]


def test_an_index_cut_anywhere_costs_the_lines_that_are_cut(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.decode(cache_in(tmp_path))
    index = tmp_path / "cache" / "native" / "index.lines"
    whole = index.read_bytes()
    draw = np.random.default_rng(1)
    for length in (0, 1, 50, *draw.integers(60, len(whole), 12).tolist()):
        index.write_bytes(whole[:length])
        hospital.decoded.clear()
        cache = cache_in(tmp_path)
        assert all(one.code is None for one in hospital.decode(cache))
        assert len(hospital.decoded) == 7 - max(1, whole[:length].count(b"\n"))
        assert cache_in(tmp_path).used_bytes == 6 * 4096


def test_a_damaged_line_of_the_index_costs_its_own_array(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.decode(cache_in(tmp_path))
    index = tmp_path / "cache" / "native" / "index.lines"
    content = bytearray(index.read_bytes())
    content[-20] ^= 1
    index.write_bytes(content)
    assert cache_in(tmp_path).used_bytes == 5 * 4096


def _build_until_killed(data: Path, folder: Path, at: int) -> None:
    hospital = Hospital(data, num_cases=0)
    hospital.cases = [hospital.case(n) for n in range(6)]
    hospital.on_decode = lambda path: os._exit(9) if path.endswith(f"-{at}.npy") else None
    hospital.decode(NativeCache(folder, GIGABYTE))


def test_a_killed_process_leaves_its_lock_and_its_work_to_others(
    hospital: Hospital, tmp_path: Path
) -> None:
    folder = tmp_path / "cache" / "native"
    process = multiprocessing.get_context("spawn").Process(
        target=_build_until_killed, args=(hospital.folder, folder, 4)
    )
    process.start()
    process.join()
    assert process.exitcode == 9
    (folder / "writing.tmp").write_bytes(b"half an array")
    hospital.decode(cache_in(tmp_path))
    assert hospital.decoded == ["SECRET-4.npy", "SECRET-5.npy"]
    assert not (folder / "writing.tmp").exists()


def test_two_builders_share_the_work_and_nothing_is_decoded_twice(
    hospital: Hospital, tmp_path: Path
) -> None:
    first, second = cache_in(tmp_path), cache_in(tmp_path)
    other = Hospital(hospital.folder, num_cases=0)
    other.cases = hospital.cases
    finished: list[str] = []

    def let_the_other_wait(path: str) -> None:
        if not finished:
            finished.append(path)
            thread.start()

    import threading

    thread = threading.Thread(
        target=lambda: finished.extend(o.case_id for o in other.decode(second))
    )
    hospital.on_decode = let_the_other_wait
    hospital.decode(first)
    thread.join(timeout=60)
    assert len(finished) == 7
    assert len(hospital.decoded) + len(other.decoded) == 6
