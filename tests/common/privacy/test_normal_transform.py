import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward_common.privacy.normal_transform import (
    BYTES_PER_PAIR,
    LARGEST_NORMAL,
    box_muller,
    num_bytes_for,
    uniform_53_bits,
)


def bytes_of(radius_words: list[int], direction_words: list[int]) -> NDArray[np.uint8]:
    radii = np.array(radius_words, dtype="<u8").tobytes()
    directions = np.array(direction_words, dtype="<u4").tobytes()
    return np.frombuffer(radii + directions, dtype=np.uint8)


def slow_pair(radius_word: int, direction_word: int) -> tuple[float, float]:
    """The definition, one pair at a time."""
    uniform = ((radius_word >> 11) + 0.5) * 2.0**-53
    radius = math.sqrt(-2.0 * math.log(uniform))
    signed = direction_word - 2**32 if direction_word >= 2**31 else direction_word
    angle = math.pi * signed / 2**31
    return radius * math.cos(angle), radius * math.sin(angle)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=40
    )
)
def test_a_pair_of_values_is_what_the_definition_says(words: list[tuple[int, int]]) -> None:
    values = box_muller(bytes_of([w[0] for w in words], [w[1] for w in words]))
    expected = [slow_pair(*pair) for pair in words]
    # 4e-6: the roundings of a float32 direction of up to half a turn, times the largest radius.
    np.testing.assert_allclose(values[: len(words)], [pair[0] for pair in expected], atol=4e-6)
    np.testing.assert_allclose(values[len(words) :], [pair[1] for pair in expected], atol=4e-6)


def test_half_a_turn_at_a_radius_worked_by_hand() -> None:
    # The uniform number is 1/2, so the radius is sqrt(2 ln 2); the direction is a quarter turn.
    values = box_muller(bytes_of([2**63], [2**30]))
    np.testing.assert_allclose(values, [0.0, math.sqrt(2 * math.log(2))], atol=1e-7)


def test_zero_bytes_give_the_largest_value_and_ones_the_smallest_radius() -> None:
    assert box_muller(bytes_of([0], [0]))[0] == pytest.approx(LARGEST_NORMAL, abs=2e-4)
    assert box_muller(bytes_of([0], [0]))[0] <= LARGEST_NORMAL
    assert np.all(np.abs(box_muller(bytes_of([2**64 - 1], [0]))) < 1e-7)


def test_no_bytes_give_infinity_or_nan() -> None:
    for word in (0, 1, 2**11 - 1, 2**11, 2**63, 2**64 - 1):
        for direction in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
            assert np.all(np.isfinite(box_muller(bytes_of([word], [direction]))))


def test_an_odd_number_of_values_takes_the_bytes_of_one_more() -> None:
    assert num_bytes_for(3) == num_bytes_for(4) == 2 * BYTES_PER_PAIR
    assert num_bytes_for(0) == 0


def test_uniform_numbers_are_below_one_and_use_the_upper_53_bits() -> None:
    words = np.array([0, 2**11 - 1, 2**11, 2**63, 2**64 - 1], dtype="<u8")
    expected = [0.0, 0.0, 2.0**-53, 0.5, 1.0 - 2.0**-53]
    assert uniform_53_bits(words.view(np.uint8)).tolist() == expected
