import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.volume_grid import Grid, grid_of, part_of_grid, turned_to_lps

SHAPE = (4, 5, 6)
TILTED = np.array([[0.96, -0.224, -0.168], [0.28, 0.768, 0.576], [0.0, -0.6, 0.8]])
TURNS = [
    np.diag(signs) @ np.eye(3)[list(axes)]
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def grid(turn: NDArray[np.float64]) -> Grid:
    return grid_of(SHAPE, (3.0, 0.8, 0.7), (-10.0, 20.0, 7.0), (TILTED @ turn).ravel())


def made_of(shape: Any, origin: Any, steps: Any) -> Grid:
    slices, rows, columns = (tuple(step) for step in steps)
    return Grid(tuple(shape), tuple(origin), (slices, rows, columns))


def place(of: Grid, index: Any) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (of.affine @ [*index, 1.0])[:3]
    return found


def values() -> NDArray[np.int16]:
    return np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


@given(turn=st.sampled_from(TURNS))
def test_turning_moves_no_voxel_in_the_patient(turn: NDArray[np.float64]) -> None:
    turned, found = turned_to_lps(values(), grid(turn))
    assert turned.shape == found.shape
    for index in np.ndindex(SHAPE):
        at = np.rint(np.linalg.inv(found.affine) @ [*place(grid(turn), index), 1.0]).astype(int)
        np.testing.assert_allclose(place(found, at[:3]), place(grid(turn), index), atol=1e-9)
        assert turned[tuple(at[:3])] == values()[index]
    steps = np.array(found.steps_mm)
    assert np.all(np.diag(steps[:, ::-1]) > 0)  # slices to z, rows to y, columns to x
    assert np.linalg.det(np.array(found.direction).reshape(3, 3)) == pytest.approx(1)


@given(turn=st.sampled_from(TURNS))
def test_an_array_turned_in_any_way_is_put_back_on_its_grid(turn: NDArray[np.float64]) -> None:
    image = grid(np.eye(3))
    order = [int(np.argmax(np.abs(row))) for row in turn]
    signs = [int(turn[axis, order[axis]]) for axis in range(3)]
    moved = values().transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    steps = [np.array(image.steps_mm[axis]) * sign for axis, sign in zip(order, signs, strict=True)]
    origin = np.array(image.origin_mm)
    for axis, sign in zip(order, signs, strict=True):
        if sign < 0:
            origin = origin + np.array(image.steps_mm[axis]) * (SHAPE[axis] - 1)
    lies_at = made_of(moved.shape, origin, steps)
    part, back = part_of_grid(image, moved, lies_at)
    np.testing.assert_array_equal(back, values())
    assert [one.indices(length) for one, length in zip(part, SHAPE, strict=True)] == [
        (0, length, 1) for length in SHAPE
    ]


def test_a_smaller_array_takes_its_part_of_the_grid() -> None:
    image = grid(np.eye(3))
    lies_at = made_of((1, 2, 3), place(image, (2, 3, 1)), image.steps_mm)
    part, back = part_of_grid(image, values()[2:3, 3:5, 1:4], lies_at)
    np.testing.assert_array_equal(values()[part], back)


@pytest.mark.parametrize(
    "index", [(0, 0, 0.4), (0, 0, 1), (-1, 0, 0), (0, float("nan"), 0), (0, 1e38, 0)]
)
def test_an_array_that_leaves_the_grid_or_lies_between_its_voxels_is_refused(index: Any) -> None:
    image = grid(np.eye(3))
    lies_at = made_of(SHAPE, place(image, index), image.steps_mm)
    with pytest.raises(UnusableCaseError) as caught:
        part_of_grid(image, values(), lies_at)
    assert caught.value.code == "E_MASK_GEOMETRY"


def test_a_grid_gives_back_what_it_was_made_of() -> None:
    turn = TURNS[17]
    facts = grid(turn).facts()
    np.testing.assert_allclose(facts["spacing_mm"], (3.0, 0.8, 0.7))
    np.testing.assert_allclose(facts["origin_mm"], (-10.0, 20.0, 7.0))
    np.testing.assert_allclose(facts["direction"], (TILTED @ turn).ravel(), atol=1e-12)
