import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.errors import PrivacyError
from fedward_common.privacy.disclosures import (
    MAX_COUNT,
    Disclosure,
    Gaussian,
    JointSteps,
    SampledGaussian,
    Unbounded,
    from_plain,
    to_plain,
)

above_zero = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
rates = st.floats(min_value=0, exclude_min=True, max_value=1)
counts = st.integers(1, MAX_COUNT)
slacks = st.floats(min_value=0, max_value=1, exclude_max=True)
reasons = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=200)
disclosures: st.SearchStrategy[Disclosure] = st.one_of(
    st.builds(SampledGaussian, above_zero, rates, counts),
    st.builds(Gaussian, above_zero, counts),
    st.builds(JointSteps, above_zero, rates, counts, slacks),
    st.builds(Unbounded, reasons),
)
EACH: tuple[Disclosure, ...] = (
    SampledGaussian(1.5, 0.25, 3),
    Gaussian(2.0, 4),
    JointSteps(1.5, 0.25, 3, 1e-9),
    Unbounded("no mechanism"),
)
each = pytest.mark.parametrize("disclosure", EACH, ids=lambda one: type(one).__name__)


def refusal(act: Any, *args: Any) -> str:
    with pytest.raises(PrivacyError) as caught:
        act(*args)
    assert caught.value.hint
    return caught.value.code


@given(disclosure=disclosures)
def test_a_disclosure_comes_back_from_json_as_it_was(disclosure: Disclosure) -> None:
    read = from_plain(json.loads(json.dumps(to_plain(disclosure))))
    assert read == disclosure
    assert type(read) is type(disclosure)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf, -math.inf, True, "1", None])
def test_a_noise_multiplier_that_is_no_finite_number_above_0_is_refused(wrong: Any) -> None:
    assert refusal(SampledGaussian, wrong, 0.5, 1) == "INVALID_DISCLOSURE"
    assert refusal(Gaussian, wrong, 1) == "INVALID_DISCLOSURE"
    assert refusal(JointSteps, wrong, 0.5, 1, 0.0) == "INVALID_DISCLOSURE"


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.0000001, math.nan, math.inf, True, None])
def test_a_sampling_rate_outside_of_0_and_1_is_refused(wrong: Any) -> None:
    assert refusal(SampledGaussian, 1.0, wrong, 1) == "INVALID_DISCLOSURE"
    assert refusal(JointSteps, 1.0, wrong, 1, 0.0) == "INVALID_DISCLOSURE"


@pytest.mark.parametrize("wrong", [0, -1, 1.0, math.nan, MAX_COUNT + 1, True, "1"])
def test_a_count_that_is_no_whole_number_above_0_is_refused(wrong: Any) -> None:
    assert refusal(SampledGaussian, 1.0, 0.5, wrong) == "INVALID_DISCLOSURE"
    assert refusal(Gaussian, 1.0, wrong) == "INVALID_DISCLOSURE"
    assert refusal(JointSteps, 1.0, 0.5, wrong, 0.0) == "INVALID_DISCLOSURE"


@pytest.mark.parametrize("wrong", [-1e-30, 1.0, math.nan, math.inf, True])
def test_a_slack_of_delta_outside_of_0_and_1_is_refused(wrong: Any) -> None:
    assert refusal(JointSteps, 1.0, 0.5, 1, wrong) == "INVALID_DISCLOSURE"


@pytest.mark.parametrize("wrong", ["", "  ", "two\nlines", "\x1b[2J", "x" * 201, None, 3])
def test_a_reason_is_one_printable_line(wrong: Any) -> None:
    assert refusal(Unbounded, wrong) == "INVALID_DISCLOSURE"


def test_numbers_of_numpy_are_kept_as_pythons_so_that_equal_disclosures_are_written_alike() -> None:
    one = SampledGaussian(np.float32(1.5), np.float64(0.25), np.int64(3))  # type: ignore[arg-type]
    assert repr(one) == repr(EACH[0])
    assert json.dumps(to_plain(one)) == json.dumps(to_plain(EACH[0]))


@each
def test_a_key_more_or_less_is_refused(disclosure: Disclosure) -> None:
    table = to_plain(disclosure)
    assert refusal(from_plain, {**table, "refund": 1.0}) == "INVALID_DISCLOSURE"
    for key in table.keys() - {"kind"}:
        less = {name: value for name, value in table.items() if name != key}
        assert refusal(from_plain, less) == "INVALID_DISCLOSURE"


@each
def test_a_value_of_another_type_is_refused(disclosure: Disclosure) -> None:
    table = to_plain(disclosure)
    for field in dataclasses.fields(disclosure):
        wrongs: tuple[Any, ...] = (None, True, "", [], {}, math.nan, -1, -1.0)
        for wrong in wrongs:
            assert refusal(from_plain, {**table, field.name: wrong}) == "INVALID_DISCLOSURE"


def test_a_whole_number_is_no_float_in_a_ledger() -> None:
    table = to_plain(EACH[0])
    assert refusal(from_plain, {**table, "noise_multiplier": 2}) == "INVALID_DISCLOSURE"
    assert refusal(from_plain, {**table, "num_steps": 3.0}) == "INVALID_DISCLOSURE"


@pytest.mark.parametrize(
    "table", [None, [], "gaussian", 3, {}, {"kind": None}, {"kind": ["gaussian"]}, {"kind": "x"}]
)
def test_what_names_no_known_kind_is_refused(table: object) -> None:
    assert refusal(from_plain, table) == "UNKNOWN_DISCLOSURE"


def test_a_new_kind_is_refused_by_name_until_the_ledger_has_a_word_for_it() -> None:
    @dataclasses.dataclass(frozen=True)
    class Laplace:
        scale: float

    with pytest.raises(PrivacyError, match="Laplace") as caught:
        to_plain(Laplace(1.0))  # type: ignore[arg-type]
    assert caught.value.code == "UNKNOWN_DISCLOSURE"


@each
def test_a_disclosure_cannot_be_changed(disclosure: Disclosure) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(disclosure, dataclasses.fields(disclosure)[0].name, 100.0)
