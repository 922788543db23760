import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward_client.dicom.filled_contours import filled

SHAPE = (40, 50)


def circle(row: float, column: float, radius: float, points: int = 400) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([row + radius * np.sin(angles), column + radius * np.cos(angles)], axis=1)


def is_inside(contour: NDArray[np.float64], row: float, column: float) -> bool:
    """Cast one ray, edge by edge, in plain Python."""
    inside = False
    for (row_0, column_0), (row_1, column_1) in zip(
        contour, np.roll(contour, -1, axis=0), strict=True
    ):
        if (row_0 <= row < row_1) or (row_1 <= row < row_0):
            at = column_0 + (row - row_0) / (row_1 - row_0) * (column_1 - column_0)
            inside ^= bool(column >= at)
    return inside


@given(row=st.floats(14, 26), column=st.floats(14, 36), radius=st.floats(5, 13))
def test_a_circle_holds_the_pixels_nearer_than_its_radius(
    row: float, column: float, radius: float
) -> None:
    rows, columns = np.indices(SHAPE)
    distance = np.hypot(rows - row, columns - column)
    inside = filled([circle(row, column, radius)], SHAPE)
    assert inside[distance < radius - 0.01].all()
    assert not inside[distance > radius + 0.01].any()


def test_areas_are_right_within_a_percent_on_average() -> None:
    random = np.random.default_rng(0)
    for radius in (4.0, 9.3, 15.1):
        centres = random.uniform(0, 1, (100, 2)) + np.array([19, 24])
        areas = [
            filled([circle(float(centre[0]), float(centre[1]), radius)], SHAPE).sum()
            for centre in centres
        ]
        assert np.mean(areas) == pytest.approx(np.pi * radius**2, rel=0.01)


@given(st.lists(st.tuples(st.floats(-10, 50), st.floats(-10, 60)), min_size=3, max_size=9))
def test_any_contour_is_filled_as_ray_casting_says(points: list[tuple[float, float]]) -> None:
    contour = np.array(points)
    inside = filled([contour], SHAPE)
    for row in range(0, 40, 7):
        for column in range(0, 50, 7):
            assert inside[row, column] == is_inside(contour, row, column)


def test_a_contour_within_a_contour_is_a_hole_and_one_within_that_is_an_island() -> None:
    inside = filled([circle(20, 25, radius) for radius in (15, 10, 5)], SHAPE)
    assert [inside[20, 25 + step] for step in (0, 7, 12, 17)] == [True, False, True, False]


def test_a_keyhole_contour_leaves_its_hole_open() -> None:
    outer, inner = circle(20, 25, 15), circle(20, 25, 8)[::-1]
    keyhole = np.concatenate([outer, outer[:1], inner[-1:], inner])
    np.testing.assert_array_equal(filled([keyhole], SHAPE), filled([outer, inner], SHAPE))


def test_squares_that_share_an_edge_through_pixel_centres_share_no_pixel() -> None:
    left = np.array([(5.0, 5), (5, 10), (10, 10), (10, 5)])
    right = left + np.array([0, 5])
    below = left + np.array([5, 0])
    squares = [filled([one], SHAPE) for one in (left, right, below)]
    assert [one.sum() for one in squares] == [25, 25, 25]
    assert np.sum(squares, axis=0).max() == 1


def test_parts_beyond_the_image_are_cut_off() -> None:
    inside = filled([circle(0, 0, 10)], SHAPE)
    assert inside[0, 0]
    assert inside[0, 9]
    assert inside.sum() == pytest.approx(np.pi * 100 / 4, rel=0.15)
    assert filled([np.array([(-5.0, -5), (-5, 99), (99, 99), (99, -5)])], SHAPE).all()
