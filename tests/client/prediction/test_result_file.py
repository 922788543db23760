"""SEG and SR are read back as they were meant, in the source's study and place."""

import dataclasses
import io
import stat
import warnings
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.client.dicomweb.pacs_server import PATIENT_ID, PATIENT_NAME
from tests.client.prediction.tiny_models import (
    SHA256,
    bright_pixels,
    brightness_model,
    series_datasets,
    with_thresholds,
    write_series,
)

from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.prediction.network_answer import called_classes
from fedward_client.prediction.placed_mask import PlacedMask, segment_series
from fedward_client.prediction.result_file import result_bytes, write_result
from fedward_client.prediction.source_series import SourceSeries, series_in_folder
from fedward_client.prediction.trained_model import TrainedModel
from fedward_common.errors import CohortError, ConfigurationError

CLASSES = (
    "task.classes=[{id=0,name='background'},"
    "{id=1,name='hippocampus',definition='both heads [SCT:102297006]'},{id=2,name='größer'}]"
)


def sources_of(series: SourceSeries) -> dict[str, Dataset]:
    return {one.sop_instance_uid: dcmread(one.locator) for one in series.images}


def read_segmentation(content: bytes) -> highdicom.seg.Segmentation:
    return highdicom.seg.Segmentation.from_dataset(dcmread(io.BytesIO(content)))


def segmentation_of_folder(
    folder: Path, pool: DecodePool, model: TrainedModel
) -> tuple[SourceSeries, PlacedMask, bytes]:
    series = series_in_folder(folder)
    mask = segment_series(model, series, pool, None)
    return series, mask, result_bytes(model, series, mask)


@pytest.mark.parametrize("plane", ["axial", "axial, turned", "sagittal"])
def test_a_segmentation_reads_back_bit_equal_on_its_source_images(
    tmp_path: Path, pool: DecodePool, plane: str
) -> None:
    folder = write_series(tmp_path / "series", series_datasets(plane))
    model = brightness_model((8, 10))
    series, _, content = segmentation_of_folder(folder, pool, model)
    seg, sources = read_segmentation(content), sources_of(series)
    first = next(iter(sources.values()))
    uids = list(sources)
    pixels = seg.get_pixels_by_source_instance(
        uids, segment_numbers=[1], combine_segments=True, ignore_spatial_locations=False,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    for uid, plane_pixels in zip(uids, pixels, strict=True):
        np.testing.assert_array_equal(plane_pixels, bright_pixels(sources[uid]))
    assert seg.FrameOfReferenceUID == first.FrameOfReferenceUID
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == first.PixelSpacing
    directions = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert [float(v) for v in directions] == [float(v) for v in first.ImageOrientationPatient]
    geometry = seg.get_volume_geometry()
    assert geometry is not None
    np.testing.assert_allclose(sorted(geometry.spacing), [1.0, 1.25, 2.5])


def test_a_segmentation_names_patient_study_model_and_codes(
    tmp_path: Path, pool: DecodePool
) -> None:
    folder = write_series(tmp_path / "series", series_datasets())
    model = brightness_model((8, 10), CLASSES)
    first, second = model.job.task.classes[1:]
    series = series_in_folder(folder)
    mask = PlacedMask(np.tile(np.array([[0, 1], [2, 1]], np.uint8), (5, 4, 5)), series.images)
    seg = read_segmentation(result_bytes(model, series, mask))
    source = dcmread(series.images[0].locator)
    assert (seg.PatientID, seg.PatientName) == (PATIENT_ID, PATIENT_NAME)
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert "Not for clinical use" in seg.SeriesDescription
    descriptions = [seg.get_segment_description(number) for number in seg.segment_numbers]
    assert [one.segment_label for one in descriptions] == [first.name, second.name]
    kinds = [one.segmented_property_type for one in descriptions]
    assert (kinds[0].value, kinds[0].scheme_designator) == ("102297006", "SCT")
    assert kinds[1].scheme_designator == "99FEDWARD"
    assert kinds[1].meaning == "größer"
    algorithm = descriptions[0].algorithm_identification
    assert algorithm is not None
    assert algorithm.version == SHA256
    assert SHA256[:16] in algorithm.name
    for number in (1, 2):
        pixels = seg.get_pixels_by_source_instance(
            [one.sop_instance_uid for one in series.images], segment_numbers=[number]
        )
        np.testing.assert_array_equal(pixels[..., 0], mask.planes == number)


def test_a_mask_without_any_class_is_a_segmentation_too(tmp_path: Path) -> None:
    series = series_in_folder(write_series(tmp_path / "series", series_datasets()))
    mask = PlacedMask(np.zeros((5, 8, 10), dtype=np.uint8), series.images)
    seg = read_segmentation(result_bytes(brightness_model((8, 10)), series, mask))
    assert not seg.pixel_array.any()


def test_one_image_without_a_frame_of_reference_can_be_segmented_and_several_cannot(
    tmp_path: Path, pool: DecodePool
) -> None:
    datasets = series_datasets()[:2]
    for dataset in datasets:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"  # computed radiography
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"):
            delattr(dataset, keyword)
    model = brightness_model((8, 10))
    one = write_series(tmp_path / "one", datasets[:1])
    series, mask, content = segmentation_of_folder(one, pool, model)
    pixels = read_segmentation(content).get_pixels_by_source_instance(
        [series.images[0].sop_instance_uid], combine_segments=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    np.testing.assert_array_equal(pixels, mask.planes)
    with pytest.raises(CohortError) as caught:
        segmentation_of_folder(write_series(tmp_path / "two", datasets), pool, model)
    assert caught.value.code == "E_HEADER_INCOMPLETE"


def report(tmp_path: Path, datasets: list[Dataset], *shares: float) -> Any:
    series = series_in_folder(write_series(tmp_path / "series", datasets))
    model = with_thresholds(brightness_model((8, 10), kind="classification"), finding=0.3)
    answer = called_classes(model, [np.array(shares, dtype=np.float32)])
    return highdicom.sr.ComprehensiveSR.from_dataset(
        dcmread(io.BytesIO(result_bytes(model, series, answer)))
    )


def test_a_report_reads_back_with_probabilities_threshold_call_and_statement(
    tmp_path: Path,
) -> None:
    datasets = series_datasets()
    document = report(tmp_path, datasets, 0.6, 0.4)
    assert (document.PatientID, document.PatientName) == (PATIENT_ID, PATIENT_NAME)
    assert document.StudyInstanceUID == datasets[0].StudyInstanceUID
    assert document.VerificationFlag == "UNVERIFIED"
    groups = document.content.get_image_measurement_groups()
    assert [one.finding_type.meaning for one in groups] == ["normal", "finding"]
    values = [{m.name.meaning: m.value for m in group.get_measurements()} for group in groups]
    assert values == [
        {"Probability": pytest.approx(0.6)},
        {"Probability": pytest.approx(0.4), "Operating threshold of the probability": 0.3},
    ]
    called = [group.get_qualitative_evaluations()[0].value.meaning for group in groups]
    assert called == ["Absent", "Present"]
    referenced = {image.referenced_sop_instance_uid for image in groups[0].source_images}
    assert referenced == {one.SOPInstanceUID for one in datasets}
    texts = [item.value for item in document.content[0].ContentSequence if item.ValueType == "TEXT"]
    assert any("Not for clinical use" in text and SHA256 in text for text in texts)


def test_headers_that_lack_what_may_be_empty_still_get_a_report(tmp_path: Path) -> None:
    datasets = series_datasets()
    for dataset in datasets:
        for keyword in ("PatientName", "PatientBirthDate", "StudyID", "AccessionNumber",
                        "StudyTime", "ReferringPhysicianName"):  # fmt: skip
            delattr(dataset, keyword)
    document = report(tmp_path, datasets, 0.6, 0.4)
    assert (document.PatientID, document.PatientName) == (PATIENT_ID, "")


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "M\xfcller^J\xf6rg"),
        ("ISO_IR 192", "\u5c71\u7530^\u592a\u90ce"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
    ],
)
def test_a_name_in_another_alphabet_is_copied_whole(
    tmp_path: Path, character_set: Any, name: str
) -> None:
    datasets = series_datasets()
    for dataset in datasets:
        dataset.SpecificCharacterSet, dataset.PatientName = character_set, name
    assert report(tmp_path, datasets, 0.6, 0.4).PatientName == name
    series = series_in_folder(tmp_path / "series")
    mask = PlacedMask(np.ones((5, 8, 10), dtype=np.uint8), series.images)
    content = result_bytes(brightness_model((8, 10)), series, mask)
    assert read_segmentation(content).PatientName == name


def test_a_header_that_cannot_be_copied_is_a_code_and_quoted_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datasets = series_datasets()
    series = series_in_folder(write_series(tmp_path / "series", datasets))
    for dataset in datasets:
        dataset.FrameOfReferenceUID = "1.2.needle-in-a-uid"
        dataset.PatientName = "Needle^Nora\\" * 30
        dataset.StudyDate = "needle"
    write_series(tmp_path / "series", datasets)
    mask = PlacedMask(np.ones((5, 8, 10), dtype=np.uint8), series.images)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result_bytes(brightness_model((8, 10)), series, mask)
        except CohortError as error:
            assert error.code == "E_HEADER_INCOMPLETE"
            assert error.__suppress_context__
            assert "eedle" not in f"{error}{error!r}{error.hint}"
    said = caplog.text + " ".join(str(one.message) for one in caught)
    assert "eedle" not in said


def test_a_source_that_went_away_is_its_own_code(tmp_path: Path) -> None:
    series = series_in_folder(write_series(tmp_path / "series", series_datasets()))
    series.paths[0].unlink()
    mask = PlacedMask(np.ones((5, 8, 10), dtype=np.uint8), series.images)
    with pytest.raises(CohortError) as caught:
        result_bytes(brightness_model((8, 10)), series, mask)
    assert caught.value.code == "E_FILE_NOT_FOUND"


def test_a_result_is_for_its_owner_alone_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "result.dcm"
    write_result(path, b"first", force=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="is there already"):
        write_result(path, b"second", force=False)
    assert path.read_bytes() == b"first"
    write_result(path, b"second", force=True)
    assert path.read_bytes() == b"second"
    with pytest.raises(ConfigurationError, match="is no folder"):
        write_result(tmp_path / "missing" / "x.dcm", b"", force=False)


def test_a_series_shows_no_file_or_uid_in_its_repr(tmp_path: Path) -> None:
    series = series_in_folder(write_series(tmp_path / "series", series_datasets()))
    mask = PlacedMask(np.zeros((5, 8, 10), dtype=np.uint8), series.images)
    shown = f"{series!r} {mask!r} {dataclasses.replace(series)!r}"
    assert str(tmp_path) not in shown
    assert series.images[0].sop_instance_uid not in shown
