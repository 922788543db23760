from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, generate_uid
from tests.client.dicom import made_series as made
from tests.client.dicom.made_masks import made_seg

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.segment_masks import decode_seg_mask
from fedward_client.dicom.series_volume import decode_series

PIXELS = (6, 8, 10)


def segments(seed: int = 3, highest: int = 2) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    return random.integers(0, highest + 1, PIXELS).astype(np.uint8)


def saved(folder: Path, seg: Dataset) -> str:
    folder.mkdir(exist_ok=True)
    seg.save_as(folder / "seg.dcm")
    return str(folder / "seg.dcm")


def code_of(seg: str, paths: Sequence[str], **options: Any) -> str:
    with pytest.raises(UnusableCaseError) as caught:
        decode_seg_mask(seg, paths, **options)
    return caught.value.code


def require_same_place(mask: Decoded, volume: Decoded) -> None:
    assert mask.array.shape == volume.array.shape
    assert mask.facts == volume.facts


@pytest.mark.parametrize(
    "orientation", [made.AXIAL, made.AXIAL_FEET_FIRST, made.SAGITTAL, made.CORONAL, made.OBLIQUE]
)
def test_a_mask_lies_on_its_volume_voxel_on_voxel(
    tmp_path: Path, orientation: Sequence[float]
) -> None:
    labels = segments()
    slices = made.made_slices(labels.astype(np.int16), orientation=orientation, intercept=0.0)
    paths = made.written(tmp_path / "ct", slices)
    seg = saved(tmp_path, made_seg(slices, labels))
    mask, volume = decode_seg_mask(seg, paths[::-1]), decode_series(paths)
    require_same_place(mask, volume)
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array, volume.array)


def test_a_mask_agrees_with_highdicom(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    seg = made_seg(slices, segments())
    paths = made.written(tmp_path / "ct", slices)
    volume = seg.get_volume(combine_segments=True).to_patient_orientation("HPL")
    np.testing.assert_array_equal(decode_seg_mask(saved(tmp_path, seg), paths).array, volume.array)


def test_slices_without_a_frame_are_empty(tmp_path: Path) -> None:
    labels = segments()
    labels[[0, 2, 5]] = 0
    slices = made.made_slices(labels.astype(np.int16), intercept=0.0)
    seg = made_seg(slices, labels, omit_empty_frames=True)
    assert seg.NumberOfFrames < 12
    mask = decode_seg_mask(saved(tmp_path, seg), made.written(tmp_path / "ct", slices))
    np.testing.assert_array_equal(mask.array, labels)


def test_a_seg_of_some_slices_only_leaves_the_others_empty(tmp_path: Path) -> None:
    labels = segments()
    slices = made.made_slices(made.voxels())
    seg = made_seg([slices[1], slices[4]], labels[[1, 4]])
    mask = decode_seg_mask(saved(tmp_path, seg), made.written(tmp_path / "ct", slices))
    expected = np.zeros_like(labels)
    expected[[1, 4]] = labels[[1, 4]]
    np.testing.assert_array_equal(mask.array, expected)


def test_a_label_map_is_read(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    seg = made_seg(slices, segments(), "LABELMAP")
    paths = made.written(tmp_path / "ct", slices)
    mask = decode_seg_mask(saved(tmp_path, seg), paths)
    np.testing.assert_array_equal(mask.array, segments())
    only = decode_seg_mask(saved(tmp_path, seg), paths, values=[2])
    np.testing.assert_array_equal(only.array, np.where(segments() == 2, 2, 0))


def test_overlapping_segments_are_refused_unless_one_of_them_is_wanted(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    both = np.zeros((*PIXELS, 2), dtype=np.uint8)
    both[:, 2:5, 2:5, 0] = both[:, 4:7, 4:7, 1] = 1
    seg = saved(tmp_path, made_seg(slices, both))
    paths = made.written(tmp_path / "ct", slices)
    assert code_of(seg, paths) == "E_MASK_VALUE"
    np.testing.assert_array_equal(decode_seg_mask(seg, paths, values=[2]).array, both[..., 1] * 2)


def test_fractions_are_refused_but_not_what_is_wholly_in_or_out(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    paths = made.written(tmp_path / "ct", slices)
    whole = (segments() == 1).astype(np.float32)
    options: dict[str, Any] = {"fractional_type": "PROBABILITY", "max_fractional_value": 200}
    seg = saved(tmp_path, made_seg(slices, whole, "FRACTIONAL", **options))
    np.testing.assert_array_equal(decode_seg_mask(seg, paths).array, whole)
    seg = saved(tmp_path, made_seg(slices, whole * 0.5, "FRACTIONAL", **options))
    assert code_of(seg, paths) == "E_MASK_VALUE"


def test_a_seg_of_another_series_is_refused(tmp_path: Path) -> None:
    slices, others = made.made_slices(made.voxels()), made.made_slices(made.voxels())
    seg = made_seg(others, segments())
    paths = made.written(tmp_path / "ct", slices)
    assert code_of(saved(tmp_path, seg), paths) == "E_MASK_REFERENCE"
    for one in others:  # also where both lie in the same space
        one.FrameOfReferenceUID = slices[0].FrameOfReferenceUID
    seg = made_seg(others, segments())
    assert code_of(saved(tmp_path, seg), paths) == "E_MASK_REFERENCE"


def test_a_seg_in_another_frame_of_reference_is_refused(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    paths = made.written(tmp_path / "ct", slices)
    seg = made_seg(slices, segments())
    seg.FrameOfReferenceUID = generate_uid()
    assert code_of(saved(tmp_path, seg), paths) == "E_MASK_REFERENCE"


@pytest.mark.parametrize("moved_mm", [(0.35, 0, 0), (0, 0, 1.2), (0, 0, 30.0), (7.0, 0, 0)])
def test_a_seg_between_the_voxels_or_beyond_the_images_is_refused(
    tmp_path: Path, moved_mm: Sequence[float]
) -> None:
    slices = made.made_slices(made.voxels())
    paths = made.written(tmp_path / "ct", slices)
    seg = made_seg(slices, segments())
    for group in seg.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        moved = np.array(place.ImagePositionPatient, dtype=float) + moved_mm
        place.ImagePositionPatient = [f"{value:.4f}" for value in moved]
    assert code_of(saved(tmp_path, seg), paths) == "E_MASK_GEOMETRY"


def test_what_is_no_seg_is_refused(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    paths = made.written(tmp_path / "ct", slices)
    assert code_of(paths[0], paths) == "E_MASK_UNREADABLE"
    (tmp_path / "note.txt").write_text("no DICOM at all")
    assert code_of(str(tmp_path / "note.txt"), paths) == "E_MASK_UNREADABLE"
    assert code_of(str(tmp_path / "absent"), paths) == "E_FILE_NOT_FOUND"
    seg = made_seg(slices, segments())
    seg.PixelData = seg.PixelData[:40]
    assert code_of(saved(tmp_path, seg), paths) == "E_MASK_UNREADABLE"


def test_a_seg_cut_anywhere_gives_a_code_of_masks(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    paths = made.written(tmp_path / "ct", slices)
    file = Path(saved(tmp_path, made_seg(slices, segments())))
    content = file.read_bytes()
    for length in range(0, len(content), len(content) // 40):
        file.write_bytes(content[:length])
        assert code_of(str(file), paths).startswith("E_MASK_")
    seg = made_seg(slices, segments())
    seg.NumberOfFrames += 1
    assert code_of(saved(tmp_path, seg), paths) == "E_MASK_UNREADABLE"


def test_a_single_slice_takes_its_own_frame(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    paths = made.written(tmp_path / "ct", slices)
    seg = saved(tmp_path, made_seg(slices, segments()))
    for index, path in enumerate(paths):
        np.testing.assert_array_equal(decode_seg_mask(seg, [path]).array, segments()[index])


def test_an_image_without_a_place_in_space_goes_by_reference(tmp_path: Path) -> None:
    images = made.made_slices(made.voxels(2), ImagePositionPatient=None)
    for one in images:
        del one.ImageOrientationPatient
        del one.FrameOfReferenceUID
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    paths = made.written(tmp_path / "cr", images)
    seg = saved(tmp_path, made_seg([images[0]], segments()[:1]))
    np.testing.assert_array_equal(decode_seg_mask(seg, paths[:1]).array, segments()[0])
    assert code_of(seg, paths[1:]) == "E_MASK_REFERENCE"


def test_a_mask_of_an_enhanced_file_lies_on_its_frames(tmp_path: Path) -> None:
    labels = segments()
    order = [3, 0, 5, 4, 1, 2]
    enhanced = made.made_enhanced(labels.astype(np.int16), order)
    paths = made.written(tmp_path / "ct", [enhanced])
    image = highdicom.imread(paths[0])
    seg = saved(tmp_path, made_seg([image], labels[order]))
    mask = decode_seg_mask(seg, paths)
    np.testing.assert_array_equal(mask.array, labels)
    np.testing.assert_array_equal(decode_seg_mask(seg, paths, frame=2).array, labels[5])


def test_a_mask_is_resampled_as_its_volume_is(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    paths = made.written(tmp_path / "ct", slices)
    spacing = [1.25, 0.8, 1.4]
    seg = saved(tmp_path, made_seg(slices, segments()))
    mask, volume = (
        decode_seg_mask(seg, paths, spacing_mm=spacing),
        decode_series(paths, spacing_mm=spacing),
    )
    require_same_place(mask, volume)
    assert set(np.unique(mask.array)) <= {0, 1, 2}


def test_a_worker_of_the_pool_brings_a_mask_onto_its_grid(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels())
    paths = made.written(tmp_path / "ct", slices)
    seg = saved(tmp_path, made_seg(slices, segments()))
    with DecodePool() as pool:
        mask = pool.run("mask-seg", mask=seg, paths=paths)
    np.testing.assert_array_equal(mask.array, segments())


@pytest.mark.real_data
def test_the_real_liver_lies_on_its_ct(data_root: Path) -> None:
    zoo = data_root / "dicom-zoo"
    paths = [str(zoo / f"seg__ct3slice_0{number}.dcm") for number in (2, 1, 3)]
    seg = zoo / "seg__liver.dcm"
    mask = decode_seg_mask(str(seg), paths)
    require_same_place(mask, decode_series(paths))
    expected = highdicom.seg.segread(seg).get_volume(combine_segments=True)
    np.testing.assert_array_equal(mask.array, expected.to_patient_orientation("HPL").array)
    ct = decode_series(paths).array[mask.array == 1]
    assert 0 < np.median(ct) < 200  # Hounsfield units of liver


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("seg", "images", "values", "code"),
    [
        ("partial_overlaps", "ct3slice", None, "E_MASK_VALUE"),
        ("partial_overlaps", "ct3slice", [1, 4], None),
        ("partial_overlaps", "ct3slice", [3], None),
        ("liver_rle", "ct3slice", None, "E_MASK_UNREADABLE"),
        ("liver_nonbyte_aligned", "ct3slice", None, None),
        ("seg_image_ct_binary", "ct3slice", None, "E_MASK_REFERENCE"),
        ("seg_image_ct_binary", "CT2", None, None),
        ("seg_image_ct_binary_overlap", "CT2", None, "E_MASK_GEOMETRY"),
        ("seg_image_ct_binary_overlap", "CT2 one", None, "E_MASK_VALUE"),
        ("seg_image_ct_binary_overlap", "CT2 one", [1], None),
        ("seg_image_ct_true_fractional", "CT2", None, "E_MASK_VALUE"),
        ("seg_image_cr_binary", "CR1", None, None),
        ("seg_image_cr_binary", "CR2", None, "E_MASK_REFERENCE"),
    ],
)
def test_segs_of_the_zoo_come_out_on_the_grid_or_end_in_their_code(
    data_root: Path, seg: str, images: str, values: list[int] | None, code: str | None
) -> None:
    zoo = data_root / "dicom-zoo"
    ct2 = [f"series__77654033_CT2_{number}" for number in (17136, 17166, 17196)]
    names = {
        "ct3slice": [f"seg__ct3slice_0{number}.dcm" for number in (1, 2, 3)],
        "CT2": ct2,
        "CT2 one": ct2[:1],
        "CR1": ["image__77654033_CR1_6154"],
        "CR2": ["image__77654033_CR2_6247"],
    }[images]
    paths = [str(zoo / name) for name in names]
    mask = str(zoo / f"seg__{seg}.dcm")
    if code is not None:
        assert code_of(mask, paths, values=values) == code
        return
    decoded = decode_seg_mask(mask, paths, values=values)
    assert set(np.unique(decoded.array)) == {0, *(values or [1])}
    if len(paths) > 1:
        require_same_place(decoded, decode_series(paths))
