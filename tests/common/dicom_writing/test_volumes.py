from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK
from tests.common.dicom_writing.made_datasets import (
    CLASSES,
    grey,
    made_series,
    made_volume,
    read_back,
)

from fedward_common.dicom_writing.encoded_files import file_bytes
from fedward_common.dicom_writing.identifiers import derived_uid
from fedward_common.dicom_writing.multi_frame import enhanced_ct
from fedward_common.dicom_writing.segmentations import segmentation
from fedward_common.dicom_writing.volumes import SliceDetails, VolumeGeometry, volume_slices

TURNED = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))


def test_highdicom_finds_the_volume_that_was_written() -> None:
    slices = [read_back(ds) for ds in made_volume()]
    volume = highdicom.get_volume_from_series(slices[::-1])
    assert volume.spacing == pytest.approx((3.0, 0.5, 0.75))
    expected = grey(5, 8, 6, below=2000).astype(float) - 1024
    order = slice(None) if volume.position[2] == 100 else slice(None, None, -1)
    np.testing.assert_array_equal(volume.array[order], expected)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_simpleitk_finds_the_volume_that_was_written(tmp_path: Path, modality: str) -> None:
    geometry = VolumeGeometry((3.0, 0.5, 0.75), (-10.0, -20.0, 100.0), TURNED)
    pixels = grey(5, 8, 6, dtype=np.int16, below=2000) - np.int16(1000)
    uids = [derived_uid("slice", number) for number in range(5)]
    slices = volume_slices(made_series(), modality, uids, pixels, geometry)  # type: ignore[arg-type]
    for number, ds in enumerate(slices):
        (tmp_path / f"{9 - number}.dcm").write_bytes(file_bytes(ds))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    assert image.GetSpacing() == pytest.approx((0.75, 0.5, 3.0))
    assert image.GetOrigin() == pytest.approx((-10.0, -20.0, 100.0))
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)).T, TURNED, atol=1e-6)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), pixels)


@pytest.mark.parametrize(
    ("spacing", "directions"),
    [
        ((0.0, 1.0, 1.0), TURNED),
        ((float("nan"), 1.0, 1.0), TURNED),
        ((1.0, 1.0, 1.0), ((1.0, 0.0, 0.0), (0.1, 1.0, 0.0), (0.0, 0.0, 1.0))),
        ((1.0, 1.0, 1.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))),
    ],
)
def test_a_geometry_that_dicom_cannot_say_is_refused(spacing: tuple, directions: tuple) -> None:
    with pytest.raises(ValueError, match=r"spacing|directions"):
        VolumeGeometry(spacing, (0.0, 0.0, 0.0), directions)


def test_another_number_of_uids_than_of_slices_is_refused() -> None:
    with pytest.raises(ValueError, match="UIDs"):
        volume_slices(made_series(), "CT", ["2.25.1"], grey(2, 4, 4), VolumeGeometry((1.0,) * 3))


def test_what_the_machine_says_stands_in_every_slice() -> None:
    for ds in made_volume(kernel="B30f", window=(40.0, 400.0), thickness_mm=2.5, slope=0.5):
        assert (ds.ConvolutionKernel, ds.SliceThickness, ds.SpacingBetweenSlices) == (
            "B30f", 2.5, 3.0,
        )  # fmt: skip
        assert (ds.WindowCenter, ds.WindowWidth) == (40, 400)
        assert (ds.RescaleSlope, ds.RescaleIntercept) == (0.5, -1024)
    assert SliceDetails().kernel == ""


def test_the_frames_of_an_enhanced_image_keep_their_place_whatever_their_order() -> None:
    slices = made_volume()
    order = [3, 0, 4, 1, 2]
    whole = enhanced_ct([slices[i] for i in order], made_series("e"), derived_uid("e"))
    volume = highdicom.Image.from_dataset(read_back(whole)).get_volume()
    plain = highdicom.get_volume_from_series([read_back(ds) for ds in slices])
    np.testing.assert_array_equal(volume.match_geometry(plain).array, plain.array)


@pytest.mark.parametrize("empty", [False, True])
def test_a_segmentation_gives_back_its_classes(empty: bool) -> None:
    slices = made_volume()
    mask = grey(5, 8, 6, dtype=np.uint8, below=1 if empty else 3)
    ds = read_back(segmentation(slices, made_series("mask"), derived_uid("m"), mask, CLASSES))
    seg = highdicom.seg.Segmentation.from_dataset(ds)
    back = seg.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in slices],
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(back, mask)
    assert [seg.get_segment_description(n).segment_label for n in (1, 2)] == ["liver", "lesion"]


@pytest.mark.parametrize(
    ("shape", "value", "why"),
    [((5, 8, 5), 0, "shape"), ((4, 8, 6), 0, "shape"), ((5, 8, 6), 3, "class")],
)
def test_a_mask_that_does_not_fit_is_refused(shape: tuple[int, ...], value: int, why: str) -> None:
    mask = np.full(shape, value, dtype=np.uint8)
    with pytest.raises(ValueError, match=why):
        segmentation(made_volume(), made_series("mask"), derived_uid("m"), mask, CLASSES)


def test_a_segmentation_shares_nothing_with_its_source() -> None:
    slices = made_volume()
    mask = grey(5, 8, 6, dtype=np.uint8, below=3)
    seg = segmentation(slices, made_series("mask"), derived_uid("m"), mask, CLASSES)
    slices[0].PatientID = "changed"
    assert seg.PatientID == "north-0001"
