import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohorts.small_cohorts import CLASSIFY, npy_bytes, write_manifest

from fedward_client.cohorts.array_source import ArraySource
from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.source import UnusableCaseError
from fedward_common.errors import CohortError
from fedward_common.job.job_file import DataSection


def source_of(folder: Path, locators: list[str], size: tuple[int, ...] = (4, 5)) -> ArraySource:
    rows = [{"file": locator, "label": "0"} for locator in locators]
    settings = SourceSettings(
        source="arrays",
        path=str(folder / "a.npz"),
        manifest=str(write_manifest(folder / "m.csv", rows)),
        unit="image",
    )
    return ArraySource(settings, CLASSIFY, DataSection(modality="CT", image_size=size))


def test_every_form_of_locator_finds_its_array(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    np.savez(tmp_path / "a.npz", images=images, lone=images[2])
    source = source_of(tmp_path, ["a.npz:images[1]", "images[0]", "lone", "2"])
    listed = source.cases()
    assert listed.exclusions == ()
    found = [source.read_image(case)[0] for case in listed.cases]
    for image, number in zip(found, (1, 0, 2, 2), strict=True):
        np.testing.assert_array_equal(image, images[number])
    source.close()


def test_another_archive_an_unknown_key_and_nonsense_are_not_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 5)))
    source = source_of(tmp_path, ["b.npz:images[1]", "other", "images[-1]", "images[1", "aa:b:c"])
    assert {e.code for e in source.cases().exclusions} == {"E_FILE_NOT_FOUND"}
    source.close()


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((4, 5, 2)), "E_IMAGE_SHAPE"),
        (np.zeros(4), "E_IMAGE_SHAPE"),
        (np.zeros((0, 5)), "E_IMAGE_SHAPE"),
        (np.full((4, 5), np.nan), "E_NON_FINITE_PIXELS"),
        (np.full((4, 5), 1e300), "E_NON_FINITE_PIXELS"),
        (np.zeros((4, 5), dtype=complex), "E_IMAGE_UNREADABLE"),
        (np.full((4, 5), "x"), "E_IMAGE_UNREADABLE"),
        (np.full((4, 5), None), "E_IMAGE_UNREADABLE"),  # objects would need pickle
    ],
)
def test_an_array_that_is_no_image_has_its_code(
    array: np.ndarray, code: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", one=array)
    source = source_of(tmp_path, ["one"])
    with pytest.raises(UnusableCaseError) as raised:
        source.read_image(source.cases().cases[0])
    assert raised.value.code == code
    source.close()


def test_an_index_beyond_its_array_is_not_found(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 5)))
    source = source_of(tmp_path, ["images[3]"])
    with pytest.raises(UnusableCaseError, match="E_FILE_NOT_FOUND"):
        source.read_image(source.cases().cases[0])
    source.close()


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5, 3)])
def test_channels_come_first_wherever_they_were(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.zeros(shape, dtype=np.uint8))
    source = source_of(tmp_path, ["one"])
    assert source.read_image(source.cases().cases[0]).shape == (3, 4, 5)
    source.close()


def test_a_volume_of_three_slices_is_no_colour_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.zeros((3, 4, 5)))
    source = source_of(tmp_path, ["one"], size=(3, 4, 5))
    assert source.read_image(source.cases().cases[0]).shape == (1, 3, 4, 5)
    source.close()


@pytest.mark.parametrize(
    "header",
    [
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**70}, 4, 5)}}",  # OverflowError
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 4, 5",  # TokenError
        "{1: 2, 'descr': 3, 'shape': 4, 'fortran_order': 5}",  # TypeError
    ],
)
def test_a_crafted_array_header_is_unreadable(header: str, tmp_path: Path) -> None:
    text = header.encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("one.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    source = source_of(tmp_path, ["one[0]"])
    with pytest.raises(UnusableCaseError, match="E_IMAGE_UNREADABLE"):
        source.read_image(source.cases().cases[0])
    source.close()


def test_two_members_of_one_key_refuse_the_archive(tmp_path: Path) -> None:
    array = npy_bytes(np.zeros((4, 5)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("one", array)
        archive.writestr("one.npy", array)
    with pytest.raises(CohortError) as raised:
        source_of(tmp_path, ["one"])
    assert raised.value.code == "E_SOURCE_UNREADABLE"
