from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from tests.client.dicom import made_series as made

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.dicom.picture_masks import decode_picture_mask
from fedward_client.dicom.series_layout import layout_of
from fedward_client.dicom.series_volume import decode_series
from fedward_client.dicom.volume_masks import decode_volume_mask


def code_of(mask: Path, paths: Sequence[str], decode: Any = decode_volume_mask) -> str:
    with pytest.raises(UnusableCaseError) as caught:
        decode(str(mask), paths)
    return caught.value.code


def series(folder: Path, **options: Any) -> tuple[list[str], Any]:
    """Write a series of 0, 1 and 2; give its paths and SimpleITK's reading of it."""
    labels = np.random.default_rng(5).integers(0, 3, (6, 8, 10)).astype(np.int16)
    paths = made.written(folder, made.made_slices(labels, intercept=0.0, **options))
    return paths, SimpleITK.ReadImage([one.locator for one in layout_of(paths).slices])


@pytest.mark.parametrize("turned", ["LPS", "RAS", "SPR", "AIL"])
@pytest.mark.parametrize("orientation", [made.AXIAL, made.SAGITTAL, made.OBLIQUE])
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
def test_a_mask_stored_in_any_direction_lies_on_its_volume(
    tmp_path: Path, turned: str, orientation: Sequence[float], suffix: str
) -> None:
    paths, image = series(tmp_path / "ct", orientation=orientation)
    file = tmp_path / f"mask{suffix}"
    image = SimpleITK.Cast(SimpleITK.DICOMOrient(image, turned), SimpleITK.sitkUInt8)
    SimpleITK.WriteImage(image, str(file))
    mask, volume = decode_volume_mask(str(file), paths), decode_series(paths)
    np.testing.assert_array_equal(mask.array, volume.array)
    assert mask.array.dtype == np.uint8
    assert mask.facts == volume.facts


def test_a_mask_that_lies_elsewhere_or_says_nothing_is_refused(tmp_path: Path) -> None:
    paths, image = series(tmp_path / "ct")
    file = tmp_path / "mask.nii"
    half_a_voxel = np.array(image.GetOrigin()) + np.array([0.35, 0, 0])
    changes: list[tuple[str, Any]] = [
        ("SetOrigin", half_a_voxel.tolist()),
        ("SetSpacing", (0.7, 0.8, 2.7)),
        ("SetDirection", (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
        ("SetDirection", (0.995, 0.0999, 0, -0.0999, 0.995, 0, 0, 0, 1)),
    ]
    for name, value in changes:
        mask = SimpleITK.Image(image)
        getattr(mask, name)(value)
        SimpleITK.WriteImage(mask, str(file))
        assert code_of(file, paths) == "E_MASK_GEOMETRY"
    bare = SimpleITK.GetImageFromArray(SimpleITK.GetArrayFromImage(image))
    SimpleITK.WriteImage(bare, str(tmp_path / "mask.mha"))
    assert code_of(tmp_path / "mask.mha", paths) == "E_MASK_GEOMETRY"


def test_a_mask_of_another_size_with_fractions_or_damaged_is_refused(tmp_path: Path) -> None:
    paths, image = series(tmp_path / "ct")
    file = tmp_path / "mask.nii"
    SimpleITK.WriteImage(image[:, :, :5], str(file))
    assert code_of(file, paths) == "E_MASK_SHAPE"
    SimpleITK.WriteImage(SimpleITK.Cast(image, SimpleITK.sitkFloat32) * 0.5, str(file))
    assert code_of(file, paths) == "E_MASK_VALUE"
    file.write_bytes(file.read_bytes()[:-100])
    assert code_of(file, paths) == "E_MASK_UNREADABLE"
    assert code_of(Path(paths[0]), paths) == "E_MASK_UNREADABLE"


def test_a_single_image_takes_a_slice_that_lies_on_it_or_a_flat_file_of_its_size(
    tmp_path: Path,
) -> None:
    paths, image = series(tmp_path / "ct")
    SimpleITK.WriteImage(image[:, :, 2:3], str(tmp_path / "slice.nii"))
    labels = SimpleITK.GetArrayFromImage(image)
    one = decode_volume_mask(str(tmp_path / "slice.nii"), [paths[2]])
    np.testing.assert_array_equal(one.array, labels[2])
    assert code_of(tmp_path / "slice.nii", [paths[3]]) == "E_MASK_GEOMETRY"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels[3]), str(tmp_path / "flat.nii"))
    flat = decode_volume_mask(str(tmp_path / "flat.nii"), [paths[3]])
    np.testing.assert_array_equal(flat.array, labels[3])
    assert code_of(tmp_path / "flat.nii", paths) == "E_MASK_SHAPE"


def test_a_picture_is_the_mask_of_one_image_of_its_size(tmp_path: Path) -> None:
    from PIL import Image

    paths, _ = series(tmp_path / "ct")
    values = np.arange(80, dtype=np.uint8).reshape(8, 10) % 3
    Image.fromarray(values).save(tmp_path / "mask.png")
    Image.fromarray(values.T.copy()).save(tmp_path / "turned.png")
    mask = decode_picture_mask(str(tmp_path / "mask.png"), [paths[0]])
    np.testing.assert_array_equal(mask.array, values)
    assert mask.array.dtype == np.uint8
    assert code_of(tmp_path / "turned.png", [paths[0]], decode_picture_mask) == "E_MASK_SHAPE"
    assert code_of(tmp_path / "mask.png", paths, decode_picture_mask) == "E_MASK_SHAPE"
    assert code_of(Path(paths[0]), [paths[0]], decode_picture_mask) == "E_MASK_UNREADABLE"


def test_workers_of_the_pool_read_both(tmp_path: Path) -> None:
    from PIL import Image

    paths, image = series(tmp_path / "ct")
    SimpleITK.WriteImage(image, str(tmp_path / "mask.nii.gz"))
    values = np.eye(8, 10, dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "mask.png")
    with DecodePool() as pool:
        volume = pool.run("mask-volume", mask=str(tmp_path / "mask.nii.gz"), paths=paths)
        picture = pool.run("mask-picture", mask=str(tmp_path / "mask.png"), paths=paths[:1])
    np.testing.assert_array_equal(volume.array, decode_series(paths).array)
    np.testing.assert_array_equal(picture.array, values)
