"""Segments and ROIs told by number or name: which are drawn, and as what."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from tests.client.dicom import made_series as made
from tests.client.dicom.made_masks import made_rtstruct, made_seg

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.contour_masks import decode_rtstruct_mask
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.dicom.segment_masks import decode_seg_mask
from fedward_client.dicom.segment_meanings import segment_key, values_to_draw

NAMES = {7: "BODY", 12: " GTV-1", 300: "Gtv-2 "}


def square(image: Dataset, low: int, high: int) -> NDArray[np.float64]:
    """The border of rows and columns from `low` to `high` of a slice."""
    row_mm, column_mm = (float(value) for value in image.PixelSpacing)
    corners = np.array([(low, low), (low, high), (high, high), (high, low)], dtype=float)
    origin = np.array(image.ImagePositionPatient, dtype=float)
    across, down = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
    points: NDArray[np.float64] = (
        origin
        + np.outer(corners[:, 0] * row_mm, down)
        + np.outer(corners[:, 1] * column_mm, across)
    )
    return points


def saved(folder: Path, dataset: Dataset) -> str:
    (path,) = made.written(folder / "mask", [dataset])
    return path


@pytest.fixture
def series(tmp_path: Path) -> tuple[list[Dataset], list[str]]:
    slices = [*made.made_slices(made.voxels(3, 32, 32))]
    return slices, list(made.written(tmp_path / "ct", slices))


def structures(tmp_path: Path, slices: list[Dataset], **options: object) -> str:
    """A body around two lesions that overlap."""
    contours = {
        7: [square(slices[1], 1, 30)],
        12: [square(slices[1], 5, 10)],
        300: [square(slices[1], 8, 14)],
    }
    return saved(tmp_path, made_rtstruct(slices, contours, names=NAMES))


def test_rois_go_by_their_names_and_what_is_excluded_overlaps_nothing(
    tmp_path: Path, series: tuple[list[Dataset], list[str]]
) -> None:
    slices, paths = series
    rtstruct = structures(tmp_path, slices)
    meanings = {"body": None, "gtv-1": 2, "gtv-2": 2}
    mask = decode_rtstruct_mask(rtstruct, paths, meanings=meanings).array
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 2}
    assert mask[1, 6, 6] == mask[1, 9, 9] == mask[1, 12, 12] == 2 and mask[1, 20, 20] == 0
    assert set(np.nonzero(mask)[0]) == {1}


def test_rois_of_two_classes_must_not_overlap(
    tmp_path: Path, series: tuple[list[Dataset], list[str]]
) -> None:
    slices, paths = series
    rtstruct = structures(tmp_path, slices)
    with pytest.raises(UnusableCaseError, match="E_MASK_VALUE"):
        decode_rtstruct_mask(rtstruct, paths, meanings={"body": None, "gtv-1": 2, "gtv-2": 3})


def test_a_roi_of_which_nothing_was_told_is_refused_by_name(
    tmp_path: Path, series: tuple[list[Dataset], list[str]]
) -> None:
    slices, paths = series
    rtstruct = structures(tmp_path, slices)
    with pytest.raises(UnusableCaseError, match="E_LABEL_UNMAPPED"):
        decode_rtstruct_mask(rtstruct, paths, meanings={"gtv-1": 2, "gtv-2": 2})


def test_a_roi_that_encloses_nothing_need_not_be_told(
    tmp_path: Path, series: tuple[list[Dataset], list[str]]
) -> None:
    slices, paths = series
    contours = {1: [square(slices[0], 4, 9)], 2: [], 3: [square(slices[0], 1, 2)[:2]]}
    rtstruct = saved(tmp_path, made_rtstruct(slices, contours, names={1: "GTV", 2: "x", 3: "y"}))
    mask = decode_rtstruct_mask(rtstruct, paths, meanings={"gtv": 5}).array
    assert set(np.unique(mask)) == {0, 5}


def test_a_broken_contour_of_an_excluded_roi_costs_nothing(
    tmp_path: Path, series: tuple[list[Dataset], list[str]]
) -> None:
    slices, paths = series
    far_off = square(slices[1], 1, 30) + 1000.0
    contours = {1: [square(slices[1], 4, 9)], 2: [far_off]}
    rtstruct = saved(tmp_path, made_rtstruct(slices, contours, names={1: "GTV", 2: "Couch"}))
    with pytest.raises(UnusableCaseError, match="E_MASK_GEOMETRY"):
        decode_rtstruct_mask(rtstruct, paths, meanings={"gtv": 2, "couch": 3})
    mask = decode_rtstruct_mask(rtstruct, paths, meanings={"gtv": 2, "couch": None})
    assert set(np.unique(mask.array)) == {0, 2}


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_go_by_label_or_number(
    tmp_path: Path, series: tuple[list[Dataset], list[str]], kind: str
) -> None:
    slices, paths = series
    labels = np.random.default_rng(2).integers(0, 4, (3, 32, 32)).astype(np.uint8)
    names = {1: "Liver", 2: "SPLEEN", 3: "Table"}
    seg = saved(tmp_path, made_seg(slices, labels, kind, labels=names))
    with DecodePool() as pool:  # as JSON, that None survives
        mask = pool.run(
            "mask-seg", mask=seg, paths=paths, meanings={"liver": 256, "2": 9, "table": None}
        ).array
    plain = decode_seg_mask(seg, paths).array
    np.testing.assert_array_equal(mask, np.array([0, 256, 9, 0])[plain])
    with pytest.raises(UnusableCaseError, match="E_LABEL_UNMAPPED"):
        decode_seg_mask(seg, paths, meanings={"liver": 1, "spleen": 2})


def test_a_segment_without_frames_need_not_be_told(
    tmp_path: Path, series: tuple[list[Dataset], list[str]]
) -> None:
    slices, paths = series
    labels = np.zeros((3, 32, 32), dtype=np.uint8)
    labels[1, 3:6] = 2
    seg = saved(tmp_path, made_seg(slices, labels, labels={1: "empty", 2: "Liver"}))
    mask = decode_seg_mask(seg, paths, meanings={"liver": 4}).array
    assert set(np.unique(mask)) == {0, 4}


def test_a_number_counts_before_a_name() -> None:
    assert values_to_draw({1: "2", 2: "x"}, {"1": 5, "2": 6}, None) == {1: 5, 2: 6}
    assert values_to_draw({1: "a", 2: "b"}, {"a": 5}, [1]) == {1: 5}
    assert values_to_draw({1: "a", 2: "b"}, None, [2]) == {2: 2}
    assert segment_key("  STRASSE ") == segment_key("straße")
