from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.joint_federation import joint_job

from fedward_common.errors import ConfigurationError, WeightsMismatchError
from fedward_common.privacy.joint_constants import joint_constants_of
from fedward_common.privacy.joint_mechanism import decode, encode
from fedward_common.privacy.noise_source import SeededNoise
from fedward_common.secagg.codec import RingCodec
from fedward_common.secagg.packing import add_packed, pack

LENGTH = 6


def shares(*values: int) -> NDArray[np.int64]:
    return np.array([value % 2**64 for value in values], dtype=np.uint64).view(np.int64)


def summed(codec: RingCodec, contributions: list[NDArray[np.int64]]) -> list[int]:
    total: Any = np.zeros(codec.length, np.uint64 if codec.packed_bytes == 8 else np.uint32)
    for contribution in contributions:
        add_packed(
            total, pack(codec.words_of(contribution), codec.packed_bytes), codec.packed_bytes
        )
    return [int(value) for value in codec.sum_of(total)]


@pytest.mark.parametrize(
    ("bits", "packed_bytes"), [(2, 3), (24, 3), (25, 4), (32, 4), (33, 8), (40, 8), (64, 8)]
)
def test_a_ring_takes_the_fewest_bytes_that_hold_it(bits: int, packed_bytes: int) -> None:
    codec = RingCodec(bits, 1)
    assert codec.packed_bytes == packed_bytes
    assert codec.words_of(shares(0)).itemsize == (8 if packed_bytes == 8 else 4)


@given(data=st.data(), bits=st.integers(2, 64), num_sites=st.integers(1, 6))
def test_the_sum_of_shares_is_their_sum_in_the_ring(
    data: st.DataObject, bits: int, num_sites: int
) -> None:
    codec = RingCodec(bits, LENGTH)
    row = st.lists(st.integers(0, 2**bits - 1), min_size=LENGTH, max_size=LENGTH)
    rows = data.draw(st.lists(row, min_size=num_sites, max_size=num_sites))
    wanted = [sum(column) % 2**bits for column in zip(*rows, strict=True)]
    assert summed(codec, [shares(*values) for values in rows]) == wanted


@pytest.mark.parametrize("bits", [20, 24, 30, 32, 40, 64])
def test_the_total_shows_nothing_of_how_often_shares_wrapped(bits: int) -> None:
    # 5 + (-2) and 1 + 2 are the same in the ring; as plain numbers they differ by 2**bits.
    codec = RingCodec(bits, 1)
    wrapped = [codec.words_of(shares(value)) for value in (5, 2**bits - 2)]
    plain = [codec.words_of(shares(value)) for value in (1, 2)]
    packed = codec.packed_bytes
    totals = [pack(words[0] + words[1], packed) for words in (wrapped, plain)]
    assert totals[0].tobytes() == totals[1].tobytes()


@pytest.mark.parametrize("ring_bits", [24, 30, 32, 40, 64])
def test_shares_of_the_joint_mechanism_decode_as_without_a_codec(ring_bits: int) -> None:
    job = joint_job(ring_bits=ring_bits, fraction_bits=8, noise_multiplier=4.0)
    constants = joint_constants_of(job, 4, LENGTH)
    sent = [
        encode(constants, np.linspace(-1.0, 1.0, LENGTH) * site, SeededNoise(7, site))
        for site in range(4)
    ]
    direct = np.asarray(np.sum(sent, axis=0)) & np.uint64(2**ring_bits - 1)
    codec = RingCodec(ring_bits, LENGTH)
    through_codec = np.array(summed(codec, [s.view(np.int64) for s in sent]), dtype=np.uint64)
    np.testing.assert_array_equal(decode(constants, through_codec), decode(constants, direct))


def test_shares_are_not_changed_and_words_are_a_copy() -> None:
    for bits in (24, 32, 64):
        given_shares = shares(1, 2, 3)
        words = RingCodec(bits, 3).words_of(given_shares)
        assert not np.shares_memory(words, given_shares)
        words += words.dtype.type(9)
        assert given_shares.tolist() == [1, 2, 3]


@pytest.mark.parametrize("bits", [2, 24, 32, 63])
@pytest.mark.parametrize("beyond", [0, -1])
def test_a_number_beyond_the_ring_is_refused(bits: int, beyond: int) -> None:
    outside = shares(2**bits if beyond == 0 else -1)
    with pytest.raises(WeightsMismatchError, match=f"{bits} bits"):
        RingCodec(bits, 1).words_of(outside)
    assert RingCodec(bits, 1).words_of(shares(2**bits - 1)).size == 1


@pytest.mark.parametrize(
    "unfit",
    [
        np.zeros(2, np.int64),
        np.zeros(3, np.uint64),
        np.zeros(3, np.float64),
        np.zeros((3, 1), np.int64),
    ],
)
def test_shares_of_another_shape_or_type_are_refused(unfit: Any) -> None:
    with pytest.raises(WeightsMismatchError, match="shares"):
        RingCodec(32, 3).words_of(unfit)


@pytest.mark.parametrize("unfit", [np.zeros(3, np.uint64), np.zeros(2, np.uint32)])
def test_a_total_of_another_shape_or_type_is_refused(unfit: Any) -> None:
    with pytest.raises(WeightsMismatchError, match="a sum"):
        RingCodec(32, 3).sum_of(unfit)


@pytest.mark.parametrize(("bits", "length"), [(1, 3), (65, 3), (32, 0)])
def test_a_ring_that_cannot_work_is_never_built(bits: int, length: int) -> None:
    with pytest.raises(ConfigurationError, match=r"privacy\.ring_bits"):
        RingCodec(bits, length)


def test_the_descriptor_tells_rings_apart() -> None:
    codecs = [RingCodec(32, 3), RingCodec(31, 3), RingCodec(32, 4)]
    assert len({codec.descriptor() for codec in codecs}) == 3
