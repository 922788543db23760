import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from tests.client.cohorts.small_cohorts import SEGMENT, write_manifest
from tests.client.dicom import made_series as made

from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.cohorts.volume_source import VolumeSource
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.series_geometry import check_series
from fedward_client.dicom.series_layout import layout_of
from fedward_client.dicom.series_volume import decode_series
from fedward_common.job.job_file import DataSection

ORIENTATIONS = {
    "axial": made.AXIAL,
    "axial, feet first": made.AXIAL_FEET_FIRST,
    "sagittal": made.SAGITTAL,
    "coronal": made.CORONAL,
    "oblique": made.OBLIQUE,
}


def code_of(paths: Sequence[str]) -> str:
    with pytest.raises(UnusableCaseError) as caught:
        decode_series(paths)
    return caught.value.code


def value_at(decoded: Decoded, place_mm: Sequence[float]) -> float:
    """The voxel at a place in the patient, found by the facts alone."""
    direction = np.array(decoded.facts["direction"]).reshape(3, 3)
    along = direction.T @ (np.array(place_mm) - decoded.facts["origin_mm"])
    column, row, index = np.rint(along / np.array(decoded.facts["spacing_mm"])[::-1]).astype(int)
    return float(decoded.array[index, row, column])


def read_by_simpleitk(paths: Sequence[str]) -> tuple[np.ndarray, Any]:
    image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(list(paths)), "LPS")
    return SimpleITK.GetArrayFromImage(image), image


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_a_volume_agrees_with_highdicom_and_with_simpleitk(
    tmp_path: Path, orientation: Sequence[float]
) -> None:
    slices = made.made_slices(made.voxels(), orientation=orientation)
    paths = made.written(tmp_path, slices)
    decoded = decode_series(random.Random(1).sample(paths, len(paths)))
    volume = highdicom.get_volume_from_series([dcmread(path) for path in paths])
    oriented = volume.to_patient_orientation("HPL")
    np.testing.assert_array_equal(decoded.array, oriented.array)
    np.testing.assert_allclose(decoded.facts["spacing_mm"], oriented.spacing, atol=1e-6)
    np.testing.assert_allclose(decoded.facts["origin_mm"], oriented.position, atol=1e-4)
    itk_array, itk_image = read_by_simpleitk([one.locator for one in layout_of(paths).slices])
    np.testing.assert_array_equal(decoded.array, itk_array)
    np.testing.assert_allclose(decoded.facts["direction"], itk_image.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(decoded.facts["origin_mm"], itk_image.GetOrigin(), atol=1e-4)


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_every_slice_lies_where_its_header_says(
    tmp_path: Path, orientation: Sequence[float]
) -> None:
    stored = made.voxels()
    slices = made.made_slices(stored, orientation=orientation)
    decoded = decode_series(made.written(tmp_path, slices))
    for index, one in enumerate(slices):
        corner = np.array(one.ImagePositionPatient, dtype=float)
        across, down = np.array(orientation[:3]), np.array(orientation[3:])
        for row, column in ((0, 0), (7, 9), (2, 5)):
            place = corner + across * 0.7 * column + down * 0.8 * row
            assert value_at(decoded, place.tolist()) == stored[index, row, column] - 1024


@settings(max_examples=20, deadline=None)
@given(
    orientation=st.sampled_from(list(ORIENTATIONS.values())),
    count=st.integers(2, 5),
    order=st.randoms(use_true_random=False),
)
def test_any_order_of_files_gives_the_same_volume(
    tmp_path_factory: pytest.TempPathFactory,
    orientation: Sequence[float],
    count: int,
    order: random.Random,
) -> None:
    slices = made.made_slices(made.voxels(count, 3, 4), orientation=orientation)
    order.shuffle(slices)
    paths = made.written(tmp_path_factory.mktemp("series"), slices)
    first = decode_series(paths)
    order.shuffle(paths)
    second = decode_series(paths)
    np.testing.assert_array_equal(first.array, second.array)
    assert first.facts == second.facts


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_a_volume_agrees_with_its_nifti_copy_read_as_a_volume_source_does(
    tmp_path: Path, orientation: Sequence[float]
) -> None:
    slices = made.made_slices(made.voxels(), orientation=orientation)
    paths = made.written(tmp_path / "dicom", slices)
    (tmp_path / "nifti").mkdir()
    image = SimpleITK.ReadImage([one.locator for one in layout_of(paths).slices])
    SimpleITK.WriteImage(image, str(tmp_path / "nifti" / "copy.nii.gz"))
    manifest = write_manifest(
        tmp_path / "m.csv", [{"file": "copy.nii.gz", "mask": "copy.nii.gz", "patient": "p"}]
    )
    settings = SourceSettings("volumes", str(tmp_path / "nifti"), str(manifest))
    source = VolumeSource(settings, SEGMENT, DataSection(modality="CT", image_size=(6, 8, 10)))
    (case,) = source.cases().cases
    np.testing.assert_array_equal(decode_series(paths).array, source.read_image(case)[0])


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    stored = made.voxels(3)
    slopes = [1.5, 0.25, 2.0]
    slices = made.made_slices(stored, slopes=slopes, intercept=0.0)
    decoded = decode_series(made.written(tmp_path, slices))
    assert decoded.array.dtype == np.float32
    np.testing.assert_allclose(decoded.array, stored * np.array(slopes)[:, None, None])


def test_whole_numbers_stay_in_the_smallest_type(tmp_path: Path) -> None:
    signed = made.made_slices(made.voxels(3) - 900, intercept=0.0)
    decoded = decode_series(made.written(tmp_path / "signed", signed))
    assert decoded.array.dtype == np.int16
    np.testing.assert_array_equal(decoded.array, made.voxels(3) - 900)
    large = made.made_slices(made.voxels(3), slopes=[1, 1000, 1], intercept=0.0)
    decoded = decode_series(made.written(tmp_path / "large", large))
    assert decoded.array.dtype == np.int32
    np.testing.assert_array_equal(decoded.array[1], made.voxels(3)[1].astype(np.int32) * 1000)


def test_dark_is_always_low(tmp_path: Path) -> None:
    stored = made.voxels(3).astype(np.uint16)
    slices = made.made_slices(
        stored, intercept=0.0, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11
    )
    decoded = decode_series(made.written(tmp_path, slices))
    np.testing.assert_array_equal(decoded.array, 4095 - stored.astype(np.int16))


def test_a_slice_of_padding_alone_becomes_the_smallest_real_value_of_the_volume(
    tmp_path: Path,
) -> None:
    stored = made.voxels(5)
    stored[[0, 3]] = -2000
    stored[1, 0, :4] = -2000
    slices = made.made_slices(stored, PixelPaddingValue=-2000)
    decoded = decode_series(made.written(tmp_path, slices))
    real = stored[[1, 2, 4]].astype(np.int64)
    smallest = [real[n][real[n] > -2000].min() for n in range(3)]
    expected = np.where(stored == -2000, smallest[0], stored)  # within a slice, its own
    expected[[0, 3]] = min(smallest)
    np.testing.assert_array_equal(decoded.array, expected - 1024)
    assert decoded.array.dtype == np.int16


def test_a_volume_of_padding_alone_stays_as_it_is(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels(3) * 0 - 2000, PixelPaddingValue=-2000)
    decoded = decode_series(made.written(tmp_path, slices))
    assert set(decoded.array.ravel()) == {-3024}


def test_frames_of_an_enhanced_file_are_put_in_order_with_their_own_slopes(tmp_path: Path) -> None:
    stored = made.voxels(5)
    slopes = [1.0, 2.0, 3.0, 4.0, 5.0]
    enhanced = made.made_enhanced(stored, [3, 0, 4, 1, 2], slopes=slopes)
    decoded = decode_series(made.written(tmp_path, [enhanced]))
    expected = stored * np.array(slopes)[:, None, None] - 1024
    np.testing.assert_array_equal(decoded.array, expected)
    assert decoded.array.dtype == np.int16
    volume = highdicom.imread(tmp_path / "1.dcm").get_volume()
    np.testing.assert_array_equal(
        decoded.array, volume.to_patient_orientation("HPL").array.astype(np.int16)
    )
    np.testing.assert_allclose(decoded.facts["spacing_mm"], [2.5, 0.8, 0.7])


def test_an_enhanced_file_of_two_phases_is_refused(tmp_path: Path) -> None:
    stored = made.voxels(3)
    enhanced = made.made_enhanced(np.concatenate([stored, stored]), [0, 1, 2, 3, 4, 5])
    for index, group in enumerate(enhanced.PerFrameFunctionalGroupsSequence):
        twin = enhanced.PerFrameFunctionalGroupsSequence[index % 3]
        group.PlanePositionSequence = twin.PlanePositionSequence
        group.FrameContentSequence[0].TemporalPositionIndex = index // 3 + 1
    assert code_of(made.written(tmp_path, [enhanced])) == "E_MIXED_PHASES"


def test_an_enhanced_file_without_a_frame_or_its_places_is_refused(tmp_path: Path) -> None:
    gap = made.made_enhanced(made.voxels(4), [0, 1, 3])
    assert code_of(made.written(tmp_path / "gap", [gap])) == "E_MISSING_SLICE"
    mute = made.made_enhanced(made.voxels(4), [0, 1, 2, 3])
    del mute.PerFrameFunctionalGroupsSequence
    assert code_of(made.written(tmp_path / "mute", [mute])) == "E_NO_GEOMETRY"


def missing_slice() -> list[Dataset]:
    slices = made.made_slices(made.voxels())
    return [*slices[:2], *slices[3:]]


def middle_of_three_missing() -> list[Dataset]:
    slices = made.made_slices(made.voxels(3))
    return [slices[0], slices[2]]


def tilted() -> list[Dataset]:
    return [*made.made_slices(made.voxels(), tilt_degrees=15)]


def two_phases() -> list[Dataset]:
    early, late = (made.made_slices(made.voxels(seed=seed)) for seed in (0, 1))
    for number, (one, other) in enumerate(zip(early, late, strict=True)):
        other.SeriesInstanceUID = one.SeriesInstanceUID
        other.FrameOfReferenceUID = one.FrameOfReferenceUID
        one.InstanceNumber, other.InstanceNumber = 2 * number + 1, 2 * number + 2
    return [*early, *late]


def with_localizer() -> list[Dataset]:
    slices = made.made_slices(made.voxels())
    return [made.made_localizer(slices[0]), *slices]


def doubled() -> list[Dataset]:
    return [*made.made_slices(made.voxels(), places=[0, 1, 2, 2, 3, 4])]


def uneven() -> list[Dataset]:
    return [*made.made_slices(made.voxels(), places=[0, 1, 2.4, 3, 4, 5])]


BAD_SERIES: dict[str, tuple[Callable[[], list[Dataset]], str]] = {
    "slice missing": (missing_slice, "E_MISSING_SLICE"),
    "middle of three missing": (middle_of_three_missing, "E_MISSING_SLICE"),
    "gantry tilt 15 degrees": (tilted, "E_GANTRY_TILT"),
    "two phases interleaved": (two_phases, "E_MIXED_PHASES"),
    "localizer mixed in": (with_localizer, "E_LOCALIZER"),
    "position doubled": (doubled, "E_DUPLICATE_POSITION"),
    "uneven spacing": (uneven, "E_IRREGULAR_SPACING"),
}


@pytest.mark.parametrize(("make", "code"), BAD_SERIES.values(), ids=BAD_SERIES.keys())
def test_a_bad_series_is_refused_by_its_headers_and_when_it_is_decoded(
    tmp_path: Path, make: Callable[[], list[Dataset]], code: str
) -> None:
    datasets = make()
    with pytest.raises(UnusableCaseError) as caught:
        check_series(made.facts(datasets))
    assert caught.value.code == code
    assert code_of(made.written(tmp_path, datasets)) == code


def test_a_slice_whose_pixels_are_damaged_gives_its_code(tmp_path: Path) -> None:
    slices = made.made_slices(made.voxels(), slopes=[1, 1, 0, 1, 1, 1])
    assert code_of(made.written(tmp_path / "slope", slices)) == "E_RESCALE_INVALID"
    slices = made.made_slices(made.voxels())
    slices[2].PixelData = slices[2].PixelData[:-20]
    assert code_of(made.written(tmp_path / "short", slices)) == "E_IMAGE_UNREADABLE"


def test_a_volume_can_be_resampled(tmp_path: Path) -> None:
    decoded = decode_series(
        made.written(tmp_path, made.made_slices(made.voxels())), spacing_mm=[1.25, 1.6, 0.7]
    )
    assert decoded.array.shape == (12, 4, 10)
    np.testing.assert_allclose(decoded.facts["spacing_mm"], [1.25, 1.6, 0.7])


def test_a_worker_of_the_pool_decodes_a_series_and_passes_its_code_on(tmp_path: Path) -> None:
    good = made.written(tmp_path / "good", made.made_slices(made.voxels()))
    bad = made.written(tmp_path / "bad", tilted())
    with DecodePool() as pool:
        np.testing.assert_array_equal(
            pool.run("series", paths=good).array, decode_series(good).array
        )
        with pytest.raises(UnusableCaseError) as caught:
            pool.run("series", paths=bad)
    assert caught.value.code == "E_GANTRY_TILT"


@pytest.mark.real_data
@pytest.mark.parametrize(("study", "count"), [("Study1", 32), ("Study3", 40)])
def test_the_real_hippocampus_series_come_in_order_though_their_names_do_not(
    data_root: Path, study: str, count: int
) -> None:
    folder = data_root / "segmentation_hippocampus" / "dicom_inference" / study
    paths = sorted(str(path) for path in folder.rglob("*.dcm"))
    decoded = decode_series(paths)
    assert decoded.array.shape[0] == count
    assert decoded.facts["spacing_mm"] == [1.0, 1.0, 1.0]
    heights = {str(path): float(dcmread(path).ImagePositionPatient[2]) for path in paths}
    by_height = sorted(paths, key=heights.__getitem__)
    assert by_height != paths
    for index, path in enumerate(by_height):
        np.testing.assert_array_equal(decoded.array[index], dcmread(path).pixel_array)


@pytest.mark.real_data
def test_the_real_ct_of_the_zoo_is_read_and_the_one_with_a_gap_is_refused(data_root: Path) -> None:
    zoo = data_root / "dicom-zoo"
    decoded = decode_series([str(zoo / f"seg__ct3slice_0{n}.dcm") for n in (1, 2, 3)])
    assert decoded.array.shape == (3, 512, 512)
    np.testing.assert_allclose(decoded.facts["origin_mm"][2], -128.690002)
    gap = [str(zoo / f"series__77654033_CT2_{n}") for n in (17106, 17136, 17166, 17196)]
    assert code_of(gap) == "E_MISSING_SLICE"
    assert decode_series(gap[1:]).facts["spacing_mm"][0] == pytest.approx(1.25)
