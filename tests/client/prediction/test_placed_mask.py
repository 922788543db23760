"""A mask comes back on the very images it was made of, however they lie in the patient."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.client.prediction.tiny_models import (
    PLANES,
    bright_pixels,
    brightness_model,
    series_datasets,
    write_series,
)

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.prediction.placed_mask import PlacedMask, classify_series, segment_series
from fedward_client.prediction.source_series import series_in_folder
from fedward_common.errors import CohortError


def require_bright(mask: PlacedMask, num_images: int) -> None:
    assert len(mask.images) == len(mask.planes) == num_images
    for image, plane in zip(mask.images, mask.planes, strict=True):
        expected = bright_pixels(dcmread(image.locator))
        np.testing.assert_array_equal(plane, expected)
    assert mask.planes.any()


@pytest.mark.parametrize("plane", PLANES)
def test_each_plane_of_a_volume_fits_its_own_image(
    tmp_path: Path, pool: DecodePool, plane: str
) -> None:
    folder = write_series(tmp_path / "series", series_datasets(plane))
    turned = {"sagittal": (8, 10, 5), "coronal": (8, 5, 10), "axial, turned": (5, 10, 8)}
    model = brightness_model(turned.get(plane, (5, 8, 10)))
    mask = segment_series(model, series_in_folder(folder), pool, None)
    require_bright(mask, 5)


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_a_2d_model_takes_each_image_for_itself(
    tmp_path: Path, pool: DecodePool, plane: str
) -> None:
    folder = write_series(tmp_path / "series", series_datasets(plane))
    mask = segment_series(brightness_model((8, 10)), series_in_folder(folder), pool, None)
    require_bright(mask, 5)


def test_a_volume_resampled_for_the_model_comes_back_on_its_own_grid(
    tmp_path: Path, pool: DecodePool
) -> None:
    datasets = series_datasets("axial", (6, 20, 20))
    for dataset in datasets:
        pixels = np.full((20, 20), 100, dtype=np.int16)
        pixels[4:14, 6:16] = 900
        dataset.PixelData = pixels.tobytes()
    folder = write_series(tmp_path / "series", datasets)
    model = brightness_model((15, 20, 25))
    mask = segment_series(model, series_in_folder(folder), pool, (1.0, 1.0, 1.0))
    for image, plane in zip(mask.images, mask.planes, strict=True):
        truth = bright_pixels(dcmread(image.locator))
        assert 2 * (plane & truth).sum() / (plane.sum() + truth.sum()) > 0.94


def test_a_series_that_is_no_volume_is_refused_by_its_code(
    tmp_path: Path, pool: DecodePool
) -> None:
    datasets = series_datasets()
    folder = write_series(tmp_path / "series", [d for d in datasets if d.InstanceNumber != 2])
    with pytest.raises(UnusableCaseError) as caught:
        segment_series(brightness_model((5, 8, 10)), series_in_folder(folder), pool, None)
    assert caught.value.code == "E_MISSING_SLICE"


def test_a_classification_is_the_mean_over_images_or_one_of_the_volume(
    tmp_path: Path, pool: DecodePool
) -> None:
    series = series_in_folder(write_series(tmp_path / "series", series_datasets()))
    flat = classify_series(brightness_model((8, 10), kind="classification"), series, pool, None)
    assert flat.num_images == 5
    deep = classify_series(brightness_model((5, 8, 10), kind="classification"), series, pool, None)
    assert deep.num_images == 1
    assert deep.is_called == (True, False)


def multi_frame(datasets: Sequence[Dataset]) -> Dataset:
    """Put slices into one enhanced CT file, frames in the order given."""
    whole = datasets[0]
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    whole.PixelData = b"".join(one.PixelData for one in datasets)
    whole.NumberOfFrames = len(datasets)
    frames = []
    for one in datasets:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    whole.PerFrameFunctionalGroupsSequence = frames
    shared, measures, directions, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    directions.ImageOrientationPatient = whole.ImageOrientationPatient
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, 0, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [directions]
    shared.PixelValueTransformationSequence = [values]
    whole.SharedFunctionalGroupsSequence = [shared]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                    "SliceThickness", "RescaleSlope", "RescaleIntercept"):  # fmt: skip
        delattr(whole, keyword)
    return whole


@pytest.mark.parametrize("size", [(5, 8, 10), (8, 10)])
def test_planes_of_a_multi_frame_file_are_in_the_files_own_order(
    tmp_path: Path, pool: DecodePool, size: tuple[int, ...]
) -> None:
    folder = write_series(tmp_path / "series", [multi_frame(series_datasets())])
    mask = segment_series(brightness_model(size), series_in_folder(folder), pool, None)
    assert len(mask.images) == 1
    np.testing.assert_array_equal(mask.planes, bright_pixels(dcmread(folder / "0.dcm")))


# --- what lies in a folder ---


def test_what_is_no_image_beside_a_series_is_passed_over(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", series_datasets())
    (folder / "notes.txt").write_text("hello")
    (folder / "sub").mkdir()
    assert len(series_in_folder(folder).images) == 5


def test_a_damaged_file_beside_the_others_is_refused_for_it_may_be_the_last_slice(
    tmp_path: Path,
) -> None:
    folder = write_series(tmp_path / "series", series_datasets())
    (folder / "9.dcm").write_bytes((folder / "0.dcm").read_bytes()[:400])
    with pytest.raises(UnusableCaseError):
        series_in_folder(folder)


def test_two_series_in_one_folder_and_none_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", series_datasets()[:2] + series_datasets()[:2])
    with pytest.raises(CohortError) as caught:
        series_in_folder(folder)
    assert caught.value.code == "E_SERIES_MIXED"
    with pytest.raises(CohortError) as caught:
        series_in_folder(write_series(tmp_path / "empty", []))
    assert caught.value.code == "E_SERIES_EMPTY"


def test_files_of_many_frames_beside_others_are_refused_for_a_mask(
    tmp_path: Path, pool: DecodePool
) -> None:
    series = series_in_folder(write_series(tmp_path / "series", series_datasets()))
    odd = dataclasses.replace(series.images[0], number_of_frames=2)
    mixed = dataclasses.replace(series, images=(odd, *series.images[1:]))
    with pytest.raises(UnusableCaseError) as caught:
        segment_series(brightness_model((8, 10)), mixed, pool, None)
    assert caught.value.code == "E_SERIES_MIXED"
