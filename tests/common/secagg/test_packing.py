from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from numpy.typing import NDArray

from fedward_common.errors import AggregationRefusedError, MalformedMessageError
from fedward_common.secagg.packing import add_packed, pack, pack_in_place, unpack

DTYPES: dict[int, Any] = {3: np.uint32, 4: np.uint32, 8: np.uint64}
SIZES = sorted(DTYPES)
# Over more than one block of 2**15 words, and no multiple of it.
LONG = 2 * (1 << 15) + 5


def random_words(packed_bytes: int, length: int, seed: int = 1) -> NDArray[Any]:
    dtype = DTYPES[packed_bytes]
    most = (1 << 8 * packed_bytes) - 1
    return np.random.default_rng(seed).integers(0, most, length, dtype=dtype, endpoint=True)


def words_of(packed_bytes: int) -> st.SearchStrategy[NDArray[Any]]:
    most = (1 << 8 * packed_bytes) - 1
    shapes = st.integers(0, 40).map(lambda n: (n,))
    return np_st.arrays(DTYPES[packed_bytes], shapes, elements=st.integers(0, most))


def test_three_bytes_of_each_word_worked_by_hand() -> None:
    words = np.array([0x030201, 0xFF665544], dtype=np.uint32)
    assert pack(words, 3).tolist() == [1, 2, 3, 0x44, 0x55, 0x66]
    assert words.tolist() == [0x030201, 0xFF665544]


@pytest.mark.parametrize(
    ("packed_bytes", "packed"), [(4, [4, 3, 2, 1]), (8, [4, 3, 2, 1] + 4 * [0])]
)
def test_words_are_little_endian(packed_bytes: int, packed: list[int]) -> None:
    words = np.array([0x01020304], dtype=DTYPES[packed_bytes])
    assert pack(words, packed_bytes).tolist() == packed


@given(data=st.data(), packed_bytes=st.sampled_from(SIZES))
def test_what_was_packed_is_unpacked(data: st.DataObject, packed_bytes: int) -> None:
    words = data.draw(words_of(packed_bytes))
    packed = pack(words, packed_bytes)
    assert packed.size == packed_bytes * words.size
    np.testing.assert_array_equal(unpack(packed, packed_bytes, words.size), words)


@pytest.mark.parametrize("packed_bytes", SIZES)
def test_words_of_several_blocks_make_the_journey(packed_bytes: int) -> None:
    words = random_words(packed_bytes, LONG)
    back = unpack(pack(words, packed_bytes), packed_bytes, LONG)
    assert back.dtype == words.dtype
    np.testing.assert_array_equal(back, words)


@pytest.mark.parametrize("packed_bytes", SIZES)
@pytest.mark.parametrize("length", [1, 7, LONG])
def test_packing_in_place_gives_the_same_bytes_in_the_same_memory(
    packed_bytes: int, length: int
) -> None:
    words = random_words(packed_bytes, length)
    expected = pack(words.copy(), packed_bytes)
    packed = pack_in_place(words, packed_bytes)
    np.testing.assert_array_equal(packed, expected)
    assert np.shares_memory(packed, words)


@pytest.mark.parametrize("packed_bytes", [4, 8])
def test_whole_words_are_never_copied(packed_bytes: int) -> None:
    words = random_words(packed_bytes, 10)
    packed = pack(words, packed_bytes)
    assert np.shares_memory(packed, words)
    assert np.shares_memory(unpack(packed, packed_bytes, 10), words)


@pytest.mark.parametrize("packed_bytes", SIZES)
def test_adding_packed_words_is_adding_unpacked_ones(packed_bytes: int) -> None:
    first, second = (random_words(packed_bytes, LONG, seed) for seed in (1, 2))
    total = first.copy()
    add_packed(total, pack(second, packed_bytes), packed_bytes)
    ring = (1 << 8 * packed_bytes) - 1
    np.testing.assert_array_equal(total, (first + second) & DTYPES[packed_bytes](ring))


def test_a_ring_of_24_bits_wraps_around_at_24_bits() -> None:
    total = np.array([0xFFFFFF, 5], dtype=np.uint32)
    add_packed(total, pack(np.array([2, 0xFFFFFF], dtype=np.uint32), 3), 3)
    assert total.tolist() == [1, 4]


def test_bytes_that_forbid_writing_are_added_and_unpacked() -> None:
    for packed_bytes in SIZES:
        words = random_words(packed_bytes, 9)
        received = np.frombuffer(pack(words, packed_bytes).tobytes(), dtype=np.uint8)
        total = np.zeros_like(words)
        add_packed(total, received, packed_bytes)
        np.testing.assert_array_equal(total, words)
        np.testing.assert_array_equal(unpack(received, packed_bytes, 9), words)


def test_bytes_at_an_odd_place_in_memory_are_added_and_unpacked() -> None:
    for packed_bytes in SIZES:
        words = random_words(packed_bytes, 9)
        frame = b"\0" + pack(words, packed_bytes).tobytes()
        received = np.frombuffer(frame, dtype=np.uint8)[1:]
        total = np.zeros_like(words)
        add_packed(total, received, packed_bytes)
        np.testing.assert_array_equal(total, words)
        np.testing.assert_array_equal(unpack(received, packed_bytes, 9), words)


UNFIT: list[tuple[str, Any]] = [
    ("a byte too few", np.zeros(11, dtype=np.uint8)),
    ("a byte too many", np.zeros(13, dtype=np.uint8)),
    ("nothing", np.zeros(0, dtype=np.uint8)),
    ("signed", np.zeros(12, dtype=np.int8)),
    ("two rows", np.zeros((2, 6), dtype=np.uint8)),
    ("every second byte", np.zeros(24, dtype=np.uint8)[::2]),
]


@pytest.mark.parametrize("unfit", [u for _, u in UNFIT], ids=[name for name, _ in UNFIT])
def test_bytes_of_a_peer_that_do_not_fit_are_refused_and_nothing_is_added(unfit: Any) -> None:
    total = np.array([1, 2, 3, 4], dtype=np.uint32)
    with pytest.raises(MalformedMessageError, match=r"4 words of 3 bytes"):
        unpack(unfit, 3, 4)
    with pytest.raises(MalformedMessageError, match=r"\(12,\)"):
        add_packed(total, unfit, 3)
    assert total.tolist() == [1, 2, 3, 4]


def test_a_longer_encoding_is_not_taken_for_the_agreed_one() -> None:
    total = np.zeros(4, dtype=np.uint32)
    with pytest.raises(MalformedMessageError):
        add_packed(total, np.zeros(16, dtype=np.uint8), 3)


@pytest.mark.parametrize(
    ("words", "packed_bytes"),
    [
        (np.zeros(4, dtype=np.uint64), 3),
        (np.zeros(4, dtype=np.uint64), 4),
        (np.zeros(4, dtype=np.uint32), 8),
        (np.zeros(4, dtype=np.int32), 4),
        (np.zeros(4, dtype=np.uint32), 5),
        (np.zeros((2, 2), dtype=np.uint32), 4),
        (np.zeros(8, dtype=np.uint32)[::2], 4),
    ],
)
def test_words_of_another_kind_are_refused(words: Any, packed_bytes: int) -> None:
    for work in (pack, pack_in_place):
        with pytest.raises(AggregationRefusedError, match="uint32"):
            work(words, packed_bytes)
    with pytest.raises(AggregationRefusedError, match="uint32"):
        add_packed(words, np.zeros(4 * packed_bytes, dtype=np.uint8), packed_bytes)
