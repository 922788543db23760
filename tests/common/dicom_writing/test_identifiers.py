import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.dicom_writing.identifiers import (
    derived_date,
    derived_number,
    derived_time,
    derived_uid,
)

places = st.lists(st.text() | st.integers(), min_size=1, max_size=4)


@given(place=places)
def test_a_uid_is_one_that_dicom_accepts(place: list[str | int]) -> None:
    uid = derived_uid(*place)
    assert re.fullmatch(r"2\.25\.(0|[1-9][0-9]*)", uid)
    assert len(uid) <= 64
    assert uid == derived_uid(*place)


@given(place=places)
def test_dates_and_times_are_ones_that_dicom_accepts(place: list[str | int]) -> None:
    assert re.fullmatch(r"202[1-3](0[1-9]|1[0-2])([0-2][0-9]|3[01])", derived_date(*place))
    assert re.fullmatch(r"(0[89]|1[0-7])[0-5][0-9][0-5][0-9]", derived_time(*place))
    assert 0 <= derived_number(7, *place) < 7


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a", "bc"), ("ab", "c")), (("a",), ("a", "")), ((1, 2), (12,)), (("a",), ("b",))],
)
def test_different_places_have_different_uids(one: tuple[str], other: tuple[str]) -> None:
    assert derived_uid(*one) != derived_uid(*other)


def test_a_known_place_keeps_its_uid_for_ever() -> None:
    # by hand: int of the first 16 bytes of
    # sha256(b"fedward dicom identifier v1" + 8-byte length and b"phantom" + the same of b"0")
    assert derived_uid("phantom", 0) == "2.25.293319289879773288027841640405883801648"
