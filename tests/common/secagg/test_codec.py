import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from numpy.typing import NDArray

from fedward_common.errors import ConfigurationError, UnusableUpdateError, WeightsMismatchError
from fedward_common.secagg import fixed_point
from fedward_common.secagg.codec import MIN_FRACTION_BITS, Encoded, Section, VectorCodec
from fedward_common.wire.canonical_cbor import decode_canonically

Bits = Literal[24, 32]
BITS: list[Bits] = [24, 32]
LENGTH = 5


def codec_of(
    bits: Bits = 32, sites: int = 10, *, value_range: float = 1.0, length: int = LENGTH,
    stochastic: bool = False,
) -> VectorCodec:  # fmt: skip
    return VectorCodec(bits, sites, (Section("update", length, value_range),), stochastic)


def entropy(num_bytes: int) -> bytes:
    return bytes(range(num_bytes))


def encoded(codec: VectorCodec, values: Any, weight: float = 1.0) -> Encoded:
    vector = np.asarray(values, dtype=np.float32)
    return codec.encode({"update": vector}, weight, entropy=entropy)


def whole_numbers(codec: VectorCodec, words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Read two's complement of the codec's bits, without any of its code."""
    whole: NDArray[np.int64] = words.astype(np.int64) % 2**codec.bits
    whole[whole >= 2 ** (codec.bits - 1)] -= 2**codec.bits
    return whole


def integers(codec: VectorCodec, values: Any, weight: float = 1.0) -> list[int]:
    return [int(n) for n in whole_numbers(codec, encoded(codec, values, weight).words)]


def added(contributions: list[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    total = np.zeros_like(contributions[0])
    for words in contributions:
        total += words
    return total


def step_of(codec: VectorCodec) -> float:
    return math.ldexp(1.0, -codec.fraction_bits(codec.sections[0]))


codecs = st.builds(
    codec_of,
    bits=st.sampled_from(BITS),
    sites=st.integers(1, 100),
    value_range=st.floats(2.0**-20, 1.0),
    stochastic=st.booleans(),
)
finite = np_st.arrays(np.float32, (LENGTH,), elements=st.floats(-3.0, 3.0, width=32))
weights = st.floats(0.0, 1.0, exclude_min=True)


@pytest.mark.parametrize(
    ("bits", "sites", "value_range", "fraction_bits", "largest"),
    [  # b - 1 - ceil(log2 n) - ceil(log2 R), and floor((2**(b-1) - 1) / n), by hand
        (32, 1, 1.0, 31, 2147483647),
        (32, 10, 1.0, 27, 214748364),
        (32, 16, 1.0, 27, 134217727),
        (32, 17, 1.0, 26, 126322567),
        (32, 100, 8.0, 21, 21474836),
        (32, 100, 8.1, 20, 21474836),
        (32, 100, 0.1, 27, 21474836),
        (24, 100, 1.0, 16, 83886),
        (24, 128, 256.0, 8, 65535),
    ],
)
def test_the_fraction_and_the_bound_worked_by_hand(
    bits: Bits, sites: int, value_range: float, fraction_bits: int, largest: int
) -> None:
    codec = codec_of(bits, sites, value_range=value_range)
    assert codec.fraction_bits(codec.sections[0]) == fraction_bits
    assert codec.largest_integer == largest
    assert codec.packed_bytes == bits // 8


@pytest.mark.parametrize("bits", BITS)
def test_an_update_worked_by_hand(bits: Bits) -> None:
    codec = codec_of(bits, 2, value_range=2.0)  # f = bits - 3
    one = 2 ** (bits - 3)
    contribution = encoded(codec, [1.0, -1.0, 0.25, 2.5, -9.0], weight=0.5)
    largest = 2 ** (bits - 2) - 1
    whole = [one // 2, -one // 2, one // 8, one, -one]
    assert contribution.num_clipped == 2
    assert integers(codec, [1.0, -1.0, 0.25, 2.5, -9.0], weight=0.5) == whole
    assert contribution.words.tolist() == [n % 2**bits for n in whole]
    assert integers(codec, [2.0, -2.0, 0.0, 0.0, 0.0])[:2] == [largest, -largest]


@given(data=st.data(), codec=codecs)
def test_the_decoded_sum_of_any_sites_is_exactly_the_sum_of_their_integers(
    data: st.DataObject, codec: VectorCodec
) -> None:
    num_sites = data.draw(st.integers(1, min(codec.max_sites, 12)))
    sent = [encoded(codec, data.draw(finite), data.draw(weights)) for _ in range(num_sites)]
    exact = sum(whole_numbers(codec, contribution.words) for contribution in sent)
    total = added([contribution.words for contribution in sent])
    np.testing.assert_array_equal(whole_numbers(codec, total), exact)
    decoded = codec.decode(total)["update"]
    np.testing.assert_array_equal(decoded, np.float32(exact * step_of(codec)))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("sites", [1, 2, 3, 7, 64, 100, 128, 1000])
def test_as_many_sites_as_allowed_all_at_the_bound_do_not_wrap_around(
    bits: Bits, sites: int, sign: int
) -> None:
    codec = codec_of(bits, sites)
    at_the_bound = [int(sign * codec.largest_integer) % 2**bits] * LENGTH
    words = np.array(at_the_bound, dtype=np.uint32)
    total = whole_numbers(codec, added([words] * sites))
    assert total.tolist() == [sign * sites * codec.largest_integer] * LENGTH
    assert abs(int(total[0])) < 2 ** (bits - 1)


@given(codec=codecs, values=finite, weight=weights)
def test_no_integer_is_larger_than_the_bound_whatever_is_encoded(
    codec: VectorCodec, values: NDArray[np.float32], weight: float
) -> None:
    contribution = encoded(codec, values * np.float32(1e30), weight)
    assert np.abs(whole_numbers(codec, contribution.words)).max() <= codec.largest_integer


@given(codec=codecs, values=finite, weight=weights)
def test_rounding_is_within_half_a_step_and_at_random_within_one(
    codec: VectorCodec, values: NDArray[np.float32], weight: float
) -> None:
    bound = codec.sections[0].value_range
    wanted = np.clip(values.astype(np.float64), -bound, bound) * weight / step_of(codec)
    whole = whole_numbers(codec, encoded(codec, values, weight).words)
    error = np.abs(whole - wanted)
    # In the last half step before the bound, a value may go down to the bound: a whole step.
    near_bound = np.abs(wanted) > codec.largest_integer - 1
    limit = np.where(near_bound | codec.stochastic, 1.0, 0.5)
    assert np.all(error <= limit + 2.0**-20)  # one product rounded to 53 bits, of 31 at most


@given(values=finite, weight=weights, sites=st.integers(1, 20))
def test_a_decoded_sum_is_within_half_a_step_for_each_site(
    values: NDArray[np.float32], weight: float, sites: int
) -> None:
    codec = codec_of(24, 20, value_range=4.0)
    total = added([encoded(codec, values, weight).words] * sites)
    wanted = sites * weight * values.astype(np.float64)
    error = np.abs(codec.decode(total)["update"] - wanted)
    assert np.all(error <= sites * step_of(codec) * 0.5 * (1 + 1e-6) + np.abs(wanted) * 2.0**-23)


def test_ties_go_to_the_even_integer() -> None:
    codec = codec_of(32, 10)
    halves = np.array([0.5, 1.5, 2.5, -0.5, -1.5]) * step_of(codec)
    assert integers(codec, halves) == [0, 2, 2, 0, -2]


@given(
    value_range=st.floats(2.0**-20, 1.0),
    values=np_st.arrays(np.float32, (LENGTH,), elements=st.floats(-2.0, 2.0, width=32)),
)
def test_values_beyond_the_range_are_counted_and_set_to_it(
    value_range: float, values: NDArray[np.float32]
) -> None:
    codec = codec_of(32, 4, value_range=value_range)
    beyond = [abs(float(value)) > value_range for value in values]
    contribution = encoded(codec, values)
    assert contribution.num_clipped == sum(beyond)
    whole = whole_numbers(codec, contribution.words)
    at_range = min(round(value_range / step_of(codec)), codec.largest_integer)
    assert all(abs(int(n)) == at_range for n, out in zip(whole, beyond, strict=True) if out)


def test_the_input_is_not_changed_and_may_forbid_writing() -> None:
    values = np.array([0.5, 9.0, -9.0, 0.0, 1.0], dtype=np.float32)
    before = values.copy()
    values.flags.writeable = False
    assert encoded(codec_of(), values, 0.3).num_clipped == 2
    np.testing.assert_array_equal(values, before)


def test_a_vector_of_several_blocks_is_encoded_like_its_parts() -> None:
    length = 2 * (1 << 15) + 3
    values = np.random.default_rng(3).normal(0.0, 0.5, length).astype(np.float32)
    whole = encoded(codec_of(24, length=length), values, 0.7)
    parts = [encoded(codec_of(24, length=1), [value], 0.7) for value in values[::997]]
    assert whole.words[::997].tolist() == [int(part.words[0]) for part in parts]
    assert whole.num_clipped == int(np.count_nonzero(np.abs(values) > 1.0))
    np.testing.assert_allclose(
        codec_of(24, length=length).decode(whole.words)["update"],
        0.7 * np.clip(values, -1.0, 1.0),
        atol=2.0**-18,
    )


TWO_SECTIONS = VectorCodec(32, 4, (Section("update", 2, 1.0), Section("variate", 3, 16.0)))


def test_each_section_has_its_own_range_and_place() -> None:
    values = {
        "variate": np.array([10.0, -20.0, 1.0], dtype=np.float32),
        "update": np.array([0.5, 2.0], dtype=np.float32),
    }
    contribution = TWO_SECTIONS.encode(values, 1.0, entropy=None)
    assert contribution.num_clipped == 2
    assert TWO_SECTIONS.length == 5
    decoded = TWO_SECTIONS.decode(contribution.words)
    np.testing.assert_allclose(decoded["update"], [0.5, 1.0], atol=2.0**-28)
    np.testing.assert_allclose(decoded["variate"], [10.0, -16.0, 1.0], atol=2.0**-24)


def test_bits_above_a_ring_of_24_are_ignored_when_a_sum_is_decoded() -> None:
    codec = codec_of(24)
    words = encoded(codec, [0.5, -0.5, 0.0, 1.0, -1.0]).words
    dirty = words | np.uint32(0xAB000000)
    np.testing.assert_array_equal(codec.decode(dirty)["update"], codec.decode(words)["update"])


class EveryNumber:
    """A stream whose uniform numbers are 0/16, 1/16 ... 15/16, each once."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == 32

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        assert num_bytes == 8 * 16
        return (np.arange(16, dtype=np.uint64) << np.uint64(60)).view(np.uint8)


@pytest.mark.parametrize("sixteenths", range(-40, 41))
def test_rounding_at_random_is_right_on_average_over_every_number_drawn(
    sixteenths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed_point, "KeyStream", EveryNumber)
    codec = codec_of(32, length=16, stochastic=True)
    whole = integers(codec, np.full(16, sixteenths / 16 * step_of(codec)))
    assert sum(whole) == sixteenths
    assert set(whole) <= {math.floor(sixteenths / 16), math.ceil(sixteenths / 16)}


@pytest.mark.parametrize("in_steps", [0.3, -0.3, 1000.25, -7.75])
def test_rounding_at_random_with_a_real_stream_has_the_right_mean(in_steps: float) -> None:
    length = 100_000
    codec = codec_of(24, length=length, stochastic=True)
    value = np.float32(in_steps * step_of(codec))
    whole = np.array(integers(codec, np.full(length, value)))
    fraction = (float(value) / step_of(codec)) % 1.0
    deviation = math.sqrt(fraction * (1.0 - fraction) / length)
    assert abs(whole.mean() - float(value) / step_of(codec)) < 5 * deviation
    assert set(whole) == {math.floor(in_steps), math.floor(in_steps) + 1}


def test_rounding_at_random_draws_one_key_and_to_the_nearest_none() -> None:
    asked: list[int] = []

    def counting(num_bytes: int) -> bytes:
        asked.append(num_bytes)
        return bytes(num_bytes)

    values = {"update": np.zeros(LENGTH, dtype=np.float32)}
    codec_of().encode(values, 1.0, entropy=counting)
    assert asked == []
    codec_of(stochastic=True).encode(values, 1.0, entropy=counting)
    assert asked == [32]
    with pytest.raises(ConfigurationError, match="randomness"):
        codec_of(stochastic=True).encode(values, 1.0, entropy=None)


@pytest.mark.parametrize("place", [0, 3, LENGTH - 1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_before_anything_else(
    value: float, place: int
) -> None:
    values = np.zeros(LENGTH, dtype=np.float32)
    values[place] = value
    with pytest.raises(UnusableUpdateError, match="update") as refusal:
        codec_of(stochastic=True).encode({"update": values}, 7.0, entropy=None)
    assert refusal.value.code == "NON_FINITE"


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.0 + 2.0**-52, 40.0, math.nan, math.inf])
def test_a_weight_outside_its_range_is_refused(weight: float) -> None:
    with pytest.raises(ConfigurationError, match="weight"):
        encoded(codec_of(), np.zeros(LENGTH), weight)


UNFIT: dict[str, Any] = {
    "a value too few": np.zeros(LENGTH - 1, dtype=np.float32),
    "a value too many": np.zeros(LENGTH + 1, dtype=np.float32),
    "half precision": np.zeros(LENGTH, dtype=np.float16),
    "double precision": np.zeros(LENGTH, dtype=np.float64),
    "whole numbers": np.zeros(LENGTH, dtype=np.int32),
    "complex": np.zeros(LENGTH, dtype=np.complex64),
    "objects": np.zeros(LENGTH, dtype=object),
    "two rows": np.zeros((LENGTH, 1), dtype=np.float32),
    "every second value": np.zeros(2 * LENGTH, dtype=np.float32)[::2],
    "backwards": np.zeros(LENGTH, dtype=np.float32)[::-1],
    "big-endian": np.zeros(LENGTH, dtype=">f4"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_vector_of_another_kind_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(WeightsMismatchError, match="'update'"):
        codec_of().encode({"update": UNFIT[name]}, 1.0, entropy=None)


def test_another_set_of_vectors_is_refused() -> None:
    good = np.zeros(LENGTH, dtype=np.float32)
    for values in ({}, {"updates": good}, {"update": good, "more": good}):
        with pytest.raises(WeightsMismatchError, match="needed"):
            codec_of().encode(values, 1.0, entropy=None)


@pytest.mark.parametrize(
    "total",
    [np.zeros(4, np.uint32), np.zeros(LENGTH, np.int32), np.zeros((LENGTH, 1), np.uint32)],
)
def test_a_total_of_another_shape_or_type_is_refused(total: Any) -> None:
    with pytest.raises(WeightsMismatchError, match="a sum is"):
        codec_of().decode(total)


@pytest.mark.parametrize("sites", [1, 2, 100, 128, 129, 1000])
@pytest.mark.parametrize("bits", BITS)
def test_a_codec_with_too_coarse_steps_is_never_built(bits: Bits, sites: int) -> None:
    widest = 2.0 ** (bits - 1 - MIN_FRACTION_BITS - (sites - 1).bit_length())
    edge = codec_of(bits, sites, value_range=widest)
    assert edge.fraction_bits(edge.sections[0]) == MIN_FRACTION_BITS
    with pytest.raises(ConfigurationError) as refusal:
        codec_of(bits, sites, value_range=math.nextafter(widest, math.inf))
    for named in ("secure_aggregation.bits", "secure_aggregation.value_range", f"{sites} sites"):
        assert named in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bits": 16}, "secure_aggregation.bits"),
        ({"bits": 64}, "secure_aggregation.bits"),
        ({"sites": 0}, "0 sites"),
        ({"value_range": 0.0}, "secure_aggregation.value_range"),
        ({"value_range": -1.0}, "secure_aggregation.value_range"),
        ({"value_range": math.nan}, "secure_aggregation.value_range"),
        ({"value_range": math.inf}, "secure_aggregation.value_range"),
        ({"value_range": 5e-324}, "secure_aggregation.value_range"),
        ({"length": 0}, "update"),
    ],
)
def test_a_codec_that_cannot_work_is_never_built(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        codec_of(**changes)


@pytest.mark.parametrize("names", [(), ("a", "a"), ("",)])
def test_sections_have_different_names(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        VectorCodec(32, 3, tuple(Section(name, 1, 1.0) for name in names))


def test_the_descriptor_names_everything_the_words_depend_on() -> None:
    assert decode_canonically(TWO_SECTIONS.descriptor()) == {
        "codec": "fixed-point v1",
        "bits": 32,
        "max_sites": 4,
        "stochastic": False,
        "sections": [["update", 2, 1.0], ["variate", 3, 16.0]],
    }
    codecs = [
        codec_of(),
        codec_of(24),
        codec_of(sites=11),
        codec_of(value_range=0.5),
        codec_of(length=6),
        codec_of(stochastic=True),
        VectorCodec(32, 10, (Section("variate", LENGTH, 1.0),)),
    ]
    assert len({codec.descriptor() for codec in codecs}) == len(codecs)


def test_a_whole_range_is_the_same_codec_as_a_fraction() -> None:
    assert codec_of(value_range=2).descriptor() == codec_of(value_range=2.0).descriptor()
