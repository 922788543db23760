import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.dicom import made_series as made

from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicom.series_geometry import check_series, grid_of_series

ORIENTATIONS = [
    made.AXIAL,
    made.AXIAL_FEET_FIRST,
    made.SAGITTAL,
    made.CORONAL,
    made.OBLIQUE,
]


def code_of(instances: Sequence[InstanceFacts]) -> str:
    with pytest.raises(UnusableCaseError) as caught:
        check_series(instances)
    return caught.value.code


def order_of(instances: Sequence[InstanceFacts]) -> list[int]:
    return [int(one.locator) for one in check_series(instances)]


def of(count: int = 6, **made_as: Any) -> list[InstanceFacts]:
    return made.facts(made.made_slices(made.voxels(count), **made_as))


def along_z(*heights: float, **made_as: Any) -> list[InstanceFacts]:
    return of(len(heights), gap_mm=1.0, places=heights, **made_as)


@given(
    orientation=st.sampled_from(ORIENTATIONS),
    count=st.integers(2, 8),
    shuffled=st.randoms(use_true_random=False),
)
def test_a_regular_series_is_sorted_from_any_order_and_in_any_direction(
    orientation: Sequence[float], count: int, shuffled: Any
) -> None:
    instances = of(count, orientation=orientation)
    shuffled.shuffle(instances)
    series = check_series(instances)
    places = np.array([one.image_position_mm for one in series])
    step = places[-1] - places[0]
    assert step[np.argmax(np.abs(step))] > 0
    numbers = [int(one.locator) for one in series]
    assert numbers in (list(range(count)), list(range(count))[::-1])


def test_axial_slices_run_from_feet_to_head_also_where_they_were_taken_the_other_way() -> None:
    assert order_of(of(4)) == [0, 1, 2, 3]
    assert order_of(of(4, orientation=made.AXIAL_FEET_FIRST)) == [3, 2, 1, 0]
    assert order_of(of(4, places=[3, 0, 2, 1])) == [1, 3, 2, 0]


def test_names_numbers_and_empty_series_numbers_say_nothing_about_the_order() -> None:
    instances = of(12)
    lexical = sorted(instances, key=lambda one: one.locator)
    unnumbered = [dataclasses.replace(one, instance_number=None) for one in lexical]
    assert order_of(unnumbered) == list(range(12))


def test_a_missing_slice_is_refused() -> None:
    assert code_of(along_z(0, 1, 2, 4, 5)) == "E_MISSING_SLICE"
    assert code_of(along_z(0, 1, 4, 5)) == "E_MISSING_SLICE"


def test_two_of_three_slices_are_refused_by_their_thickness() -> None:
    assert code_of(along_z(0, 2)) == "E_MISSING_SLICE"
    assert order_of(along_z(0, 1)) == [0, 1]


def test_two_of_three_slices_are_refused_by_their_declared_spacing() -> None:
    assert code_of(along_z(0, 2, SpacingBetweenSlices="1.0")) == "E_MISSING_SLICE"
    thin = along_z(0, 2, SpacingBetweenSlices="2.0", SliceThickness="0.5")
    assert order_of(thin) == [0, 1]


def test_two_slices_whose_header_says_nothing_of_their_distance_are_refused() -> None:
    assert code_of(along_z(0, 1, SliceThickness=None)) == "E_NO_GEOMETRY"


def test_every_second_slice_of_a_declared_spacing_is_refused() -> None:
    assert code_of(along_z(0, 2, 4, 6, SpacingBetweenSlices="1.0")) == "E_MISSING_SLICE"


def test_a_spacing_that_names_the_space_left_between_slices_is_understood() -> None:
    slices = along_z(0, 3.6, 7.2, SpacingBetweenSlices="0.6", SliceThickness="3.0")
    assert order_of(slices) == [0, 1, 2]


def test_gantry_tilt_is_refused() -> None:
    assert code_of(of(6, tilt_degrees=15)) == "E_GANTRY_TILT"
    assert code_of(of(3, gap_mm=1.0, tilt_degrees=15)) == "E_GANTRY_TILT"
    assert code_of(of(120, gap_mm=1.0, tilt_degrees=0.5)) == "E_GANTRY_TILT"


def test_interleaved_phases_are_refused() -> None:
    early, late = of(5, TemporalPositionIdentifier=1), of(5, TemporalPositionIdentifier=2)
    of_one_series = [
        dataclasses.replace(
            one,
            series_instance_uid=early[0].series_instance_uid,
            frame_of_reference_uid=early[0].frame_of_reference_uid,
        )
        for one in late
    ]
    assert code_of([*early, *of_one_series]) == "E_MIXED_PHASES"
    untold = [dataclasses.replace(one, phase="") for one in [*early, *of_one_series]]
    assert code_of(untold) == "E_MIXED_PHASES"
    assert code_of([*early, *of_one_series[:2]]) == "E_MIXED_PHASES"


def test_phases_shifted_against_each_other_are_refused() -> None:
    instances = along_z(0, 0.3, 1, 1.3, 2, 2.3)
    phased = [
        dataclasses.replace(one, phase=f"acquisition={number % 2}")
        for number, one in enumerate(instances)
    ]
    assert code_of(phased) == "E_MIXED_PHASES"


def test_echoes_that_share_one_even_stack_are_refused_but_acquisitions_may() -> None:
    instances = of(6)
    halves = [
        dataclasses.replace(one, phase=f"echo={number // 3}")
        for number, one in enumerate(instances)
    ]
    assert code_of(halves) == "E_MIXED_PHASES"
    acquired = [
        dataclasses.replace(one, phase=f"trigger={number};acquisition={number}")
        for number, one in enumerate(instances)
    ]
    assert order_of(acquired) == list(range(6))


def test_a_slice_missing_between_two_acquisitions_is_no_mixture() -> None:
    instances = along_z(0, 1, 2, 4, 5, 6)
    acquired = [
        dataclasses.replace(one, phase=f"acquisition={number // 3}")
        for number, one in enumerate(instances)
    ]
    assert code_of(acquired) == "E_MISSING_SLICE"


def test_a_localizer_is_refused_by_its_type_and_by_its_direction() -> None:
    slices = made.made_slices(made.voxels())
    named = made.made_localizer(slices[0])
    unnamed = made.made_localizer(slices[0], ImageType=["ORIGINAL", "PRIMARY"])
    assert code_of(made.facts([*slices, named])) == "E_LOCALIZER"
    assert code_of(made.facts([unnamed, *slices])) == "E_LOCALIZER"


def test_one_doubled_position_is_refused() -> None:
    assert code_of(along_z(0, 1, 2, 2, 3)) == "E_DUPLICATE_POSITION"


def test_uneven_gaps_are_refused() -> None:
    assert code_of(along_z(0, 1, 2.4, 3.4)) == "E_IRREGULAR_SPACING"
    assert code_of(along_z(0, 1, 2.04, 3)) == "E_IRREGULAR_SPACING"
    gaps = [5.04] * 60 + [4.96] * 60  # each within 1 %, the middle half a slice off
    assert code_of(along_z(*np.cumsum(gaps))) == "E_IRREGULAR_SPACING"


def test_positions_rounded_to_hundredths_pass() -> None:
    heights = [round(0.625 * index, 2) for index in range(40)]
    assert len(order_of(along_z(*heights))) == 40


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": 9},
        {"columns": 11},
        {"samples_per_pixel": 3},
        {"photometric_interpretation": "MONOCHROME1"},
        {"pixel_spacing_mm": (0.8, 0.71)},
        {"series_instance_uid": "1.2"},
        {"frame_of_reference_uid": "1.2"},
        {"number_of_frames": 4},
    ],
)
def test_a_slice_of_another_kind_is_refused(changed: dict[str, Any]) -> None:
    instances = of()
    instances[3] = dataclasses.replace(instances[3], **changed)
    assert code_of(instances) == "E_SERIES_MIXED"


@pytest.mark.parametrize(
    "changed",
    [
        {"image_position_mm": None},
        {"image_orientation": None},
        {"pixel_spacing_mm": None},
        {"pixel_spacing_mm": (0.0, 1.0)},
        {"image_position_mm": (0.0, float("nan"), 0.0)},
        {"image_orientation": (0.0,) * 6},
        {"image_orientation": (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)},
    ],
)
def test_a_slice_without_a_sound_geometry_is_refused(changed: dict[str, Any]) -> None:
    instances = of()
    instances[3] = dataclasses.replace(instances[3], **changed)
    assert code_of(instances) == "E_NO_GEOMETRY"


def test_empty_shells_and_single_slices_are_refused() -> None:
    assert code_of([]) == "E_SERIES_EMPTY"
    shells = [dataclasses.replace(one, has_pixels=False) for one in of()]
    assert code_of(shells) == "E_SERIES_EMPTY"
    assert code_of([*of()[:3], shells[3]]) == "E_NO_PIXEL_DATA"
    assert code_of(of(1)) == "E_TOO_FEW_SLICES"


def test_one_multi_frame_file_is_a_series() -> None:
    (enhanced,) = made.facts([made.made_enhanced(made.voxels(4), [2, 0, 3, 1])])
    assert check_series([enhanced]) == (enhanced,)


@given(orientation=st.sampled_from(ORIENTATIONS), gap=st.floats(0.5, 9))
def test_the_grid_goes_through_every_slice(orientation: Sequence[float], gap: float) -> None:
    series = check_series(of(5, orientation=orientation, gap_mm=round(gap, 2)))
    grid = grid_of_series(series)
    for index, one in enumerate(series):
        place = grid.affine @ [index, 0, 0, 1]
        np.testing.assert_allclose(place[:3], np.array(one.image_position_mm), atol=1e-4)
    np.testing.assert_allclose(grid.spacing_mm, (round(gap, 2), 0.8, 0.7), rtol=1e-5)
    row, column = grid.steps_mm[1], grid.steps_mm[2]
    np.testing.assert_allclose(np.array(column) / 0.7, orientation[:3], atol=1e-6)
    np.testing.assert_allclose(np.array(row) / 0.8, orientation[3:], atol=1e-6)
