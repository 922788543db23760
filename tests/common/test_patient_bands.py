import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.patient_bands import PatientBand, band_of, weight_of

counts = st.integers(1, 10**12)
caps = st.integers(1, 10**9)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        (-1, 0, 0), (0, 0, 0), (1, 1, 9), (9, 1, 9), (10, 10, 19), (19, 10, 19), (20, 20, 49),
        (49, 20, 49), (50, 50, 99), (99, 50, 99), (100, 100, 199), (999, 500, 999),
        (1000, 1000, 1999), (12_345, 10_000, 19_999),
    ],
)  # fmt: skip
def test_a_count_is_in_the_band_worked_by_hand(count: int, low: int, high: int) -> None:
    assert band_of(count) == PatientBand(low, high)


@given(count=counts)
def test_the_band_holds_the_count_and_all_in_it_share_it(count: int) -> None:
    band = band_of(count)
    assert band.low <= count <= band.high
    assert band_of(band.low) == band_of(band.high) == band


@given(count=counts)
def test_bands_leave_no_gap(count: int) -> None:
    assert band_of(band_of(count).high + 1).low == band_of(count).high + 1


@given(count=counts)
def test_a_band_never_names_one_count(count: int) -> None:
    assert band_of(count).high - band_of(count).low >= 8


@given(count=st.integers(0, 10**12), cap=caps)
def test_a_weight_is_above_0_and_at_most_1(count: int, cap: int) -> None:
    assert 0 < weight_of(band_of(count), cap) <= 1


@given(fewer=counts, more=counts, cap=caps)
def test_more_patients_never_weigh_less(fewer: int, more: int, cap: int) -> None:
    fewer, more = sorted((fewer, more))
    assert weight_of(band_of(fewer), cap) <= weight_of(band_of(more), cap)


@given(count=counts, cap=caps)
def test_all_counts_of_a_band_weigh_the_same(count: int, cap: int) -> None:
    band = band_of(count)
    assert weight_of(band_of(band.low), cap) == weight_of(band_of(band.high), cap)


def test_a_weight_is_the_lower_end_over_the_cap() -> None:
    assert weight_of(PatientBand(20, 49), 1000) == 0.02
    assert weight_of(PatientBand(2000, 4999), 1000) == 1.0


def test_a_band_is_written_as_people_say_it() -> None:
    assert str(band_of(25)) == "20 to 49"
