from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from tests.client.dicom import made_series as made
from tests.client.dicom.made_masks import made_rtstruct

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.contour_masks import decode_rtstruct_mask
from fedward_client.dicom.decode_pool import DecodePool
from fedward_client.dicom.series_volume import decode_series

SHAPE = (5, 64, 64)
MIDDLE = (32.0, 32.0)


def ring(
    image: Dataset,
    radius_mm: float,
    centre: tuple[float, float] = MIDDLE,
    off_mm: float = 0.0,
    points: int = 200,
) -> NDArray[np.float64]:
    """A circle on a slice: centre in rows and columns, radius in mm, off the plane by `off_mm`."""
    across, down = np.array(image.ImageOrientationPatient, dtype=float).reshape(2, 3)
    row_mm, column_mm = (float(value) for value in image.PixelSpacing)
    middle = np.array(image.ImagePositionPatient, dtype=float)
    middle = middle + down * row_mm * centre[0] + across * column_mm * centre[1]
    middle = middle + np.cross(across, down) * off_mm
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    around: NDArray[np.float64] = middle + radius_mm * (
        np.outer(np.cos(angles), across) + np.outer(np.sin(angles), down)
    )
    return around


def made_ct(**options: Any) -> list[Dataset]:
    return [*made.made_slices(made.voxels(*SHAPE), **options)]


def saved(folder: Path, dataset: Dataset) -> str:
    (path,) = made.written(folder / "mask", [dataset])
    return path


def code_of(rtstruct: str, paths: Sequence[str], **options: Any) -> str:
    with pytest.raises(UnusableCaseError) as caught:
        decode_rtstruct_mask(rtstruct, paths, **options)
    return caught.value.code


@pytest.mark.parametrize(
    "orientation", [made.AXIAL, made.AXIAL_FEET_FIRST, made.SAGITTAL, made.CORONAL, made.OBLIQUE]
)
def test_a_contour_lands_on_its_slice_at_its_place_in_any_direction(
    tmp_path: Path, orientation: Sequence[float]
) -> None:
    rows, columns = np.indices(SHAPE[1:])
    # the volume itself says where the circle is: its voxels are made from the same geometry
    far = np.hypot((rows - 20) * 0.8, (columns - 40) * 0.7)
    stored = np.zeros(SHAPE, dtype=np.int16)
    stored[3] = far < 8.05
    ct = [*made.made_slices(stored, orientation=orientation, intercept=0.0)]
    paths = made.written(tmp_path / "ct", ct)
    rtstruct = saved(tmp_path, made_rtstruct(ct, {1: [ring(ct[3], 8.05, (20, 40))]}))
    mask, volume = decode_rtstruct_mask(rtstruct, paths), decode_series(paths)
    assert mask.facts == volume.facts
    assert mask.array.dtype == np.uint8
    assert np.count_nonzero(mask.array != volume.array) <= 2  # a polygon is no circle
    assert np.count_nonzero(mask.array) > 300


def test_the_area_is_that_of_the_circle_and_of_the_ring(tmp_path: Path) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    outer, inner = ring(ct[1], 15.0), ring(ct[1], 7.0)
    disc = decode_rtstruct_mask(saved(tmp_path, made_rtstruct(ct, {1: [outer]})), paths)
    hole = decode_rtstruct_mask(saved(tmp_path, made_rtstruct(ct, {1: [outer, inner]})), paths)
    pixel = 0.8 * 0.7
    assert disc.array.sum() * pixel == pytest.approx(np.pi * 15**2, rel=0.01)
    assert hole.array.sum() * pixel == pytest.approx(np.pi * (15**2 - 7**2), rel=0.01)
    assert hole.array[1, 32, 32] == 0
    assert set(np.nonzero(hole.array)[0]) == {1}


def test_roi_numbers_are_the_values_and_too_large_ones_are_refused(tmp_path: Path) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    left, right = ring(ct[0], 6, (20, 15)), ring(ct[0], 6, (20, 45))
    both = saved(tmp_path, made_rtstruct(ct, {3: [left], 700: [right]}))
    mask = decode_rtstruct_mask(both, paths)
    assert mask.array.dtype == np.uint16
    assert (mask.array[0, 20, 15], mask.array[0, 20, 45]) == (3, 700)
    only = decode_rtstruct_mask(both, paths, values=[3])
    assert set(np.unique(only.array)) == {0, 3}
    huge = saved(tmp_path, made_rtstruct(ct, {70000: [left]}))
    assert code_of(huge, paths) == "E_MASK_VALUE"


def test_rois_that_overlap_are_refused_unless_one_is_wanted(tmp_path: Path) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    body, organ = ring(ct[2], 20), ring(ct[2], 5)
    rtstruct = saved(tmp_path, made_rtstruct(ct, {1: [body], 2: [organ]}))
    assert code_of(rtstruct, paths) == "E_MASK_VALUE"
    assert set(np.unique(decode_rtstruct_mask(rtstruct, paths, values=[2]).array)) == {0, 2}


def test_a_contour_a_little_off_its_slice_goes_to_the_nearest(tmp_path: Path) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    rtstruct = saved(tmp_path, made_rtstruct(ct, {1: [ring(ct[2], 8, off_mm=1.0)]}))
    assert set(np.nonzero(decode_rtstruct_mask(rtstruct, paths).array)[0]) == {2}


def test_contours_off_the_slices_across_them_or_beside_the_image_are_refused(
    tmp_path: Path,
) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    beyond = ring(ct[4], 8, off_mm=1.5)
    slanted = ring(ct[2], 8) + np.outer(np.linspace(-2, 2, 200), (0, 0, 1))
    beside = ring(ct[2], 8, (32, 90))
    for contour in (beyond, slanted, beside):
        rtstruct = saved(tmp_path, made_rtstruct(ct, {1: [contour]}))
        assert code_of(rtstruct, paths) == "E_MASK_GEOMETRY"


def test_contours_of_a_finer_stack_cut_no_holes_into_each_other(tmp_path: Path) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    finer = [ring(ct[2], 8, off_mm=off) for off in (-0.8, 0.0, 0.8)]
    assert code_of(saved(tmp_path, made_rtstruct(ct, {1: finer})), paths) == "E_MASK_GEOMETRY"


def test_a_structure_set_of_other_images_is_refused(tmp_path: Path) -> None:
    ct, others = made_ct(), made_ct()
    paths = made.written(tmp_path / "ct", ct)
    foreign = made_rtstruct(others, {1: [ring(ct[2], 8)]})
    assert code_of(saved(tmp_path, foreign), paths) == "E_MASK_REFERENCE"
    moved = made_rtstruct(ct, {1: [ring(ct[2], 8)]})
    moved.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = generate_uid()
    assert code_of(saved(tmp_path, moved), paths) == "E_MASK_REFERENCE"
    unnamed = made_rtstruct(ct, {1: [ring(ct[2], 8)]})
    del unnamed.ReferencedFrameOfReferenceSequence
    assert decode_rtstruct_mask(saved(tmp_path, unnamed), paths).array.any()


def test_points_and_open_lines_are_passed_over_but_nothing_closed_at_all_is_refused(
    tmp_path: Path,
) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    marks = made_rtstruct(ct, {1: [ring(ct[2], 8)]}, "POINT")
    assert code_of(saved(tmp_path, marks), paths) == "E_MASK_UNREADABLE"
    drawn = made_rtstruct(ct, {2: [ring(ct[2], 8)]})
    drawn.StructureSetROISequence.append(marks.StructureSetROISequence[0])
    drawn.ROIContourSequence.append(marks.ROIContourSequence[0])
    mask = decode_rtstruct_mask(saved(tmp_path, drawn), paths)
    assert set(np.unique(mask.array)) == {0, 2}


@pytest.mark.parametrize("data", [["1", "2"], ["nan", "0", "0"] * 3, ["1e999", "0", "0"] * 3])
def test_damaged_contours_are_refused(tmp_path: Path, data: list[str]) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    rtstruct = saved(tmp_path, made_rtstruct(ct, {1: [ring(ct[2], 8)]}))
    content = Path(rtstruct).read_bytes()
    contour = dcmread(rtstruct).ROIContourSequence[0].ContourSequence[0]
    old = contour.get_item("ContourData").value
    new = "\\".join(data).encode().ljust(len(old))
    assert content.count(old) == 1
    Path(rtstruct).write_bytes(content.replace(old, new))
    assert code_of(rtstruct, paths) == "E_MASK_UNREADABLE"


def test_a_structure_set_cut_anywhere_gives_a_code_of_masks(tmp_path: Path) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    rtstruct = Path(saved(tmp_path, made_rtstruct(ct, {1: [ring(ct[2], 8)]})))
    content = rtstruct.read_bytes()
    for length in range(0, len(content), len(content) // 40):
        rtstruct.write_bytes(content[:length])
        assert code_of(str(rtstruct), paths).startswith("E_MASK_")


def test_what_is_no_structure_set_is_refused(tmp_path: Path) -> None:
    paths = made.written(tmp_path / "ct", made_ct())
    assert code_of(paths[0], paths) == "E_MASK_UNREADABLE"


def test_a_single_slice_takes_the_contours_on_it(tmp_path: Path) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    rings = [ring(ct[index], 5 + index) for index in range(3)]
    rtstruct = saved(tmp_path, made_rtstruct(ct, {1: rings}))
    whole = decode_rtstruct_mask(rtstruct, paths).array
    for index, path in enumerate(paths):
        np.testing.assert_array_equal(decode_rtstruct_mask(rtstruct, [path]).array, whole[index])


def test_a_worker_of_the_pool_draws_the_contours(tmp_path: Path) -> None:
    ct = made_ct()
    paths = made.written(tmp_path / "ct", ct)
    rtstruct = saved(tmp_path, made_rtstruct(ct, {1: [ring(ct[1], 15.0)]}))
    with DecodePool() as pool:
        mask = pool.run("mask-rtstruct", mask=rtstruct, paths=paths)
    np.testing.assert_array_equal(mask.array, decode_rtstruct_mask(rtstruct, paths).array)


@pytest.mark.real_data
def test_the_real_structure_set_is_refused_for_a_ct_it_was_not_drawn_on(data_root: Path) -> None:
    zoo = data_root / "dicom-zoo"
    ct = [str(zoo / f"seg__ct3slice_0{number}.dcm") for number in (1, 2, 3)]
    assert code_of(str(zoo / "nonimage__rtstruct.dcm"), ct) == "E_MASK_REFERENCE"
