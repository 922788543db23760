import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.client.cohorts.small_cohorts import CLASSIFY, SEGMENT, png_bytes, write_manifest

from fedward_client.cohorts import picture_files
from fedward_client.cohorts.archive_source import ArchiveSource
from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.source import UnusableCaseError
from fedward_common.job.job_file import DataSection


def source_of(
    folder: Path, names: list[str], channels: int = 1, task: object = CLASSIFY
) -> ArchiveSource:
    rows = [{"file": n, "mask": n, "label": "0", "patient": "p"} for n in names]
    manifest = write_manifest(folder.parent / "m.csv", rows)
    settings = SourceSettings(source="image-archive", path=str(folder), manifest=str(manifest))
    data = DataSection(modality="CXR", image_size=(4, 5), channels=channels)
    return ArchiveSource(settings, task, data)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    return made


def test_a_16_bit_picture_keeps_its_depth(folder: Path) -> None:
    deep = np.arange(20, dtype=np.uint16).reshape(4, 5) * 3000
    (folder / "a.png").write_bytes(png_bytes(deep))
    source = source_of(folder, ["a.png"])
    np.testing.assert_array_equal(source.read_image(source.cases().cases[0])[0], deep)


@pytest.mark.parametrize(("channels", "found"), [(1, 1), (3, 3)])
def test_a_palette_picture_is_decoded_to_the_jobs_channels(
    channels: int, found: int, folder: Path
) -> None:
    Image.new("P", (5, 4)).save(folder / "a.png")
    source = source_of(folder, ["a.png"], channels)
    assert source.read_image(source.cases().cases[0]).shape == (found, 4, 5)


def test_a_colour_jpeg_has_three_channels_first(folder: Path) -> None:
    Image.new("RGB", (5, 4), (200, 10, 10)).save(folder / "a.jpg")
    source = source_of(folder, ["a.jpg"], 3)
    image = source.read_image(source.cases().cases[0])
    assert image.shape == (3, 4, 5)
    assert image[0].mean() > 150 > 50 > image[1].mean()


def test_a_decompression_bomb_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "_MAX_PICTURE_VALUES", 10_000)
    Image.new("1", (101, 100)).save(folder / "a.png")
    source = source_of(folder, ["a.png"])
    with pytest.raises(UnusableCaseError, match="E_IMAGE_TOO_LARGE"):
        source.read_image(source.cases().cases[0])


def test_no_other_format_is_decoded_whatever_the_name(folder: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (5, 4)).save(buffer, format="TIFF")
    (folder / "a.png").write_bytes(buffer.getvalue())
    source = source_of(folder, ["a.png"])
    with pytest.raises(UnusableCaseError, match="E_IMAGE_UNREADABLE"):
        source.read_image(source.cases().cases[0])


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    outside = folder.parent / "outside.png"
    outside.write_bytes(png_bytes(np.zeros((4, 5), dtype=np.uint8)))
    (folder / "a.png").symlink_to(outside)
    (folder / "b.png").write_bytes(outside.read_bytes())
    (folder / "c.png").symlink_to(folder / "b.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    listed = source_of(folder, ["a.png", "b.png", "c.png", "loop.png"]).cases()
    assert [(e.code, e.line) for e in listed.exclusions] == [
        ("E_PATH_ESCAPES", 2),
        ("E_FILE_NOT_FOUND", 5),
    ]


def test_a_palette_mask_gives_its_indices_and_a_colour_mask_none(folder: Path) -> None:
    indices = np.array([[0, 1, 2, 1, 0]] * 4, dtype=np.uint8)
    palette = Image.fromarray(indices)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(folder / "a.png")
    Image.new("RGB", (5, 4)).save(folder / "b.png")
    source = source_of(folder, ["a.png", "b.png"], task=SEGMENT)
    first, second = source.cases().cases
    np.testing.assert_array_equal(source.read_mask(first), indices)
    with pytest.raises(UnusableCaseError, match="E_MASK_UNREADABLE"):
        source.read_mask(second)


def test_a_damaged_lzma_member_is_unreadable(folder: Path) -> None:
    packed = folder.parent / "p.zip"
    picture = png_bytes(np.arange(20, dtype=np.uint8).reshape(4, 5))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", picture)
    content = bytearray(packed.read_bytes())
    begin = 30 + len("a.png") + 9  # past the local header and the properties of the stream
    content[begin : begin + 12] = b"\xff" * 12
    packed.write_bytes(content)
    source = source_of(packed, ["a.png"])
    with pytest.raises(UnusableCaseError, match="E_IMAGE_UNREADABLE"):
        source.read_image(source.cases().cases[0])
    source.close()


def test_the_limit_counts_every_channel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "_MAX_PICTURE_VALUES", 10_000)
    Image.new("L", (100, 100)).save(folder / "grey.png")
    Image.new("RGB", (100, 100)).save(folder / "colour.png")
    source = source_of(folder, ["grey.png", "colour.png"])
    grey, colour = source.cases().cases
    assert source.read_image(grey).shape == (1, 100, 100)
    with pytest.raises(UnusableCaseError, match="E_IMAGE_TOO_LARGE"):
        source.read_image(colour)
