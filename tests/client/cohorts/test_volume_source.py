import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from tests.client.cohorts.small_cohorts import SEGMENT, write_manifest

from fedward_client.cohorts import pixel_arrays, volume_source
from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.cohorts.volume_source import VolumeSource
from fedward_common.job.job_file import DataSection

VOLUME = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
SUFFIXES = (".nii", ".nii.gz", ".mhd", ".mha", ".nrrd")
RAS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


def write(path: Path, array: np.ndarray, **geometry: Any) -> Path:
    image = SimpleITK.GetImageFromArray(array)
    for name, value in geometry.items():
        getattr(image, f"Set{name}")(value)
    SimpleITK.WriteImage(image, str(path))
    return path


def source_of(folder: Path, image: str, mask: str = "") -> VolumeSource:
    row = {"file": image, "mask": mask or image, "patient": "p"}
    manifest = write_manifest(folder.parent / "m.csv", [row])
    settings = SourceSettings(source="volumes", path=str(folder), manifest=str(manifest))
    return VolumeSource(settings, SEGMENT, DataSection(modality="MR", image_size=(4, 5, 6)))


def code_of_reading(source: VolumeSource, what: str = "image") -> str:
    listed = source.cases()
    if listed.exclusions:
        return listed.exclusions[0].code
    with pytest.raises(UnusableCaseError) as raised:
        (source.read_image if what == "image" else source.read_mask)(listed.cases[0])
    return raised.value.code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "volumes"
    made.mkdir()
    return made


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_slices_rows_columns(suffix: str, folder: Path) -> None:
    write(folder / f"a{suffix}", VOLUME, Spacing=(0.5, 0.5, 3.0))
    source = source_of(folder, f"a{suffix}")
    np.testing.assert_array_equal(source.read_image(source.cases().cases[0])[0], VOLUME)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_anywhere_is_unreadable(suffix: str, folder: Path) -> None:
    write(folder / f"a{suffix}", VOLUME)
    pixels = folder / ("a.raw" if suffix == ".mhd" else f"a{suffix}")
    whole = pixels.read_bytes()
    for cut in (0, 60, len(whole) // 2, len(whole) - 1):
        pixels.write_bytes(whole[:cut])
        assert code_of_reading(source_of(folder, f"a{suffix}")) == "E_IMAGE_UNREADABLE"


def test_a_gzip_whose_inside_is_cut_or_damaged_is_unreadable(folder: Path) -> None:
    write(folder / "a.nii", VOLUME)
    whole = (folder / "a.nii").read_bytes()
    (folder / "b.nii.gz").write_bytes(gzip.compress(whole[:-10]))
    assert code_of_reading(source_of(folder, "b.nii.gz")) == "E_IMAGE_UNREADABLE"
    damaged = bytearray(gzip.compress(whole))
    damaged[-6] ^= 1  # the checksum
    (folder / "b.nii.gz").write_bytes(damaged)
    assert code_of_reading(source_of(folder, "b.nii.gz")) == "E_IMAGE_UNREADABLE"


def test_volumes_stored_in_different_directions_agree(folder: Path) -> None:
    write(folder / "lps.nii.gz", VOLUME)
    write(folder / "ras.nii.gz", VOLUME[:, ::-1, ::-1], Direction=RAS)
    write(folder / "axes.mha", VOLUME.transpose(2, 1, 0), Direction=(0, 0, 1, 0, 1, 0, 1, 0, 0))
    for name in ("lps.nii.gz", "ras.nii.gz", "axes.mha"):
        source = source_of(folder, name)
        np.testing.assert_array_equal(source.read_image(source.cases().cases[0])[0], VOLUME)


def test_a_mask_turns_with_its_image_also_when_it_has_no_geometry(folder: Path) -> None:
    mask = (VOLUME > 50).astype(np.uint8)
    write(folder / "i.nii.gz", VOLUME, Direction=RAS, Spacing=(2.0, 2.0, 2.0))
    write(folder / "same.nii.gz", mask, Direction=RAS, Spacing=(2.0, 2.0, 2.0))
    write(folder / "bare.mha", mask)
    for name in ("same.nii.gz", "bare.mha"):
        source = source_of(folder, "i.nii.gz", name)
        case = source.cases().cases[0]
        np.testing.assert_array_equal(source.read_mask(case), source.read_image(case)[0] > 50)


def test_a_mask_that_lies_elsewhere_is_refused(folder: Path) -> None:
    write(folder / "i.mha", VOLUME, Direction=RAS)
    write(folder / "turned.mha", VOLUME, Spacing=(2.0, 1.0, 1.0))
    write(folder / "moved.mha", VOLUME, Direction=RAS, Origin=(3.0, 0.0, 0.0))
    write(folder / "small.mha", VOLUME[1:], Direction=RAS)
    for name, code in (
        ("turned.mha", "E_MASK_GEOMETRY"),
        ("moved.mha", "E_MASK_GEOMETRY"),
        ("small.mha", "E_MASK_SHAPE"),
    ):
        assert code_of_reading(source_of(folder, "i.mha", name), "mask") == code


def test_a_mask_of_halves_is_refused(folder: Path) -> None:
    write(folder / "i.mha", VOLUME)
    write(folder / "m.mha", np.full(VOLUME.shape, 0.5, dtype=np.float32))
    assert code_of_reading(source_of(folder, "i.mha", "m.mha"), "mask") == "E_MASK_VALUE"


@pytest.mark.parametrize("target", ["../secret.raw", "/etc/hostname"])
def test_a_header_cannot_point_out_of_the_folder(target: str, folder: Path) -> None:
    write(folder / "a.mhd", VOLUME)
    (folder / "a.raw").rename(folder.parent / "secret.raw")
    header = (folder / "a.mhd").read_text().replace("a.raw", target)
    (folder / "a.mhd").write_text(header)
    assert code_of_reading(source_of(folder, "a.mhd")) == "E_PATH_ESCAPES"
    assert all(folder in path.parents for path in source_of(folder, "a.mhd").files())


def test_the_pixels_of_a_detached_header_count_among_the_files(folder: Path) -> None:
    write(folder / "a.mhd", VOLUME)
    names = [path.name for path in source_of(folder, "a.mhd").files()]
    assert names == ["a.mhd", "a.raw"] * 2  # once for the image, once for the mask


def test_a_single_slice_is_no_volume_and_another_ending_no_image(folder: Path) -> None:
    write(folder / "flat.mha", VOLUME[0])
    write(folder / "a.mha", VOLUME)
    (folder / "a.mha").rename(folder / "a.dat")
    assert code_of_reading(source_of(folder, "flat.mha")) == "E_IMAGE_SHAPE"
    assert code_of_reading(source_of(folder, "a.dat")) == "E_IMAGE_UNREADABLE"


def test_a_volume_over_time_is_refused(folder: Path) -> None:
    image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(VOLUME)] * 2)
    SimpleITK.WriteImage(image, str(folder / "t.nii.gz"))
    assert code_of_reading(source_of(folder, "t.nii.gz")) == "E_IMAGE_SHAPE"


META = b"ObjectType = Image\nNDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\n"
NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nencoding: raw\nendian: little\n"
LONG = b"x" * 200 + b"\n"


@pytest.mark.parametrize(
    ("name", "header", "code"),
    [
        ("a.mhd", META + b"ElementDataFile : ../secret.raw\n", "E_PATH_ESCAPES"),
        ("a.mhd", META + b"ElementDataFile :: = ../secret.raw\n", "E_PATH_ESCAPES"),
        ("a.mhd", META + b"ElementDataFile : %s\n", "E_PATH_ESCAPES"),
        (
            "a.mhd",
            META + (b"Comment = " + LONG) * 400 + b"ElementDataFile = ../secret.raw\n",
            "E_IMAGE_UNREADABLE",
        ),
        (
            "a.mhd",
            META + b"elementdatafile = LOCAL\nElementDataFile = ../secret.raw\n",
            "E_IMAGE_UNREADABLE",
        ),
        (
            "a.mhd",
            META.replace(b" 6 5 4\n", b" 6 5\n4 ElementDataFile = LOCAL\n")
            + b"ElementDataFile = ../secret.raw\n",
            "E_IMAGE_UNREADABLE",
        ),
        (
            "a.nrrd",
            NRRD + (b"# " + LONG) * 400 + b"data file: ../secret.raw\n",
            "E_IMAGE_UNREADABLE",
        ),
        ("a.nrrd", NRRD + b"# c\rdata file: ../secret.raw\n", "E_IMAGE_UNREADABLE"),
        ("a.nrrd", NRRD + b"data file: ../secret.raw\n", "E_PATH_ESCAPES"),
    ],
)
def test_no_spelling_of_a_header_reaches_a_file_outside(
    name: str, header: bytes, code: str, folder: Path
) -> None:
    secret = folder.parent / "secret.raw"
    secret.write_bytes(VOLUME.tobytes())
    (folder / name).write_bytes(header.replace(b"%s", bytes(secret)))
    assert code_of_reading(source_of(folder, name)) == code
    assert all(folder in path.parents for path in source_of(folder, name).files())


def test_a_colon_and_a_detached_nrrd_are_read_inside_the_folder(folder: Path) -> None:
    (folder / "a.raw").write_bytes(VOLUME.tobytes())
    (folder / "a.mhd").write_bytes(META + b"ElementDataFile : a.raw\n")
    (folder / "a.nrrd").write_bytes(NRRD + b"data file: a.raw\n")
    for name in ("a.mhd", "a.nrrd"):
        source = source_of(folder, name)
        np.testing.assert_array_equal(source.read_image(source.cases().cases[0])[0], VOLUME)


@pytest.mark.parametrize("vox_offset", [-1e6, 0.0, 351.0])
def test_pixels_that_begin_inside_the_header_are_refused(vox_offset: float, folder: Path) -> None:
    write(folder / "a.nii", VOLUME)
    content = bytearray((folder / "a.nii").read_bytes())
    struct.pack_into("<f", content, 108, vox_offset)
    (folder / "a.nii").write_bytes(content[:400])
    (folder / "a.nii.gz").write_bytes(gzip.compress(content[:400]))
    for name in ("a.nii", "a.nii.gz"):
        assert code_of_reading(source_of(folder, name)) == "E_IMAGE_UNREADABLE"


def test_a_volume_beyond_the_limit_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pixel_arrays.MAX_VALUES == 128_000_000
    monkeypatch.setattr(volume_source, "MAX_VALUES", VOLUME.size - 1)
    write(folder / "a.nii.gz", VOLUME)
    assert code_of_reading(source_of(folder, "a.nii.gz")) == "E_IMAGE_TOO_LARGE"
