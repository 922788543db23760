import tracemalloc
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.common.crypto.crypto_vectors import unhex, vectors

from fedward_common.crypto.mask_stream import BLOCK_BYTES, Mask, Words, apply_masks
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import MalformedMessageError

BLOCK_WORDS = BLOCK_BYTES // 4
WORDS: Any = st.sampled_from([np.uint32, np.uint64])
masks_of = st.lists(
    st.builds(Mask, st.binary(min_size=32, max_size=32).map(SecretBytes), negative=st.booleans()),
    max_size=4,
)
# Empty, tiny, odd, and one word to either side of the borders of blocks of 4 and 8 bytes a word.
lengths = st.one_of(
    st.integers(0, 40),
    st.sampled_from(
        [border + step for border in (BLOCK_WORDS // 2, BLOCK_WORDS) for step in (-1, 0, 1)]
    ),
    st.just(2 * BLOCK_WORDS + 3),
)


def mask(number: int, *, negative: bool = False) -> Mask:
    return Mask(SecretBytes(bytes([number]) * 32), negative)


def keystream(key: bytes, num_bytes: int) -> bytes:
    """The library's counter mode, in one piece."""
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(num_bytes))


def arrays(num_words: int, num_fields: int, dtype: Any, seed: int) -> tuple[Words, Any]:
    rng = np.random.default_rng(seed)
    most = np.iinfo(dtype).max
    words = rng.integers(0, most, size=num_words, dtype=dtype, endpoint=True)
    return words, rng.integers(0, 2**64 - 1, size=num_fields, dtype=np.uint64, endpoint=True)


def slowly_masked(array: NDArray[Any], signed: list[tuple[int, bytes]]) -> list[int]:
    """Whole numbers of Python, one word after the other."""
    size, modulus = array.itemsize, 1 << 8 * array.itemsize
    masked = [int(word) for word in array]
    for sign, stream in signed:
        for index in range(array.size):
            word = int.from_bytes(stream[size * index : size * (index + 1)], "little")
            masked[index] = (masked[index] + sign * word) % modulus
    return masked


def test_the_library_has_the_counter_mode_of_nist() -> None:
    known = vectors("aes256_ctr_nist")
    key, counter, text, expected = unhex(known, "key", "counter", "plaintext", "ciphertext")
    cipher = Cipher(algorithms.AES(key), modes.CTR(counter))
    assert cipher.encryptor().update(text) == expected


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("num_fields", [0, 1, 2, 6])
def test_a_mask_on_zeros_is_the_published_keystream(num_fields: int, dtype: Any) -> None:
    known = vectors("aes256_ctr")
    key, stream = unhex(known, "key", "stream")
    lane = np.zeros(num_fields, dtype=np.uint64)
    words = np.zeros((len(stream) - lane.nbytes) // np.dtype(dtype).itemsize, dtype=dtype)
    apply_masks(words, lane, [Mask(SecretBytes(key), negative=False)])
    assert lane.astype("<u8").tobytes() + words.astype(words.dtype.newbyteorder("<")).tobytes() == (
        stream
    )


@given(
    num_words=st.integers(0, 40),
    num_fields=st.integers(0, 5),
    dtype=WORDS,
    masks=masks_of,
    seed=st.integers(0, 99),
    inverse=st.booleans(),
)
def test_masks_are_added_or_subtracted_in_the_ring(
    num_words: int, num_fields: int, dtype: Any, masks: list[Mask], seed: int, inverse: bool
) -> None:
    words, lane = arrays(num_words, num_fields, dtype, seed)
    streams = [
        (-1 if one.negative != inverse else 1, keystream(one.key.reveal(), 8 * (40 + 5)))
        for one in masks
    ]
    expected_lane = slowly_masked(lane, streams)
    expected = slowly_masked(words, [(sign, stream[lane.nbytes :]) for sign, stream in streams])
    apply_masks(words, lane, masks, inverse=inverse)
    assert (words.tolist(), lane.tolist()) == (expected, expected_lane)


@given(
    num_words=lengths,
    num_fields=st.one_of(st.integers(0, 9), st.just(BLOCK_BYTES // 8 + 1)),
    dtype=WORDS,
)
@settings(max_examples=40)
def test_the_keystream_goes_on_across_lane_and_blocks(
    num_words: int, num_fields: int, dtype: Any
) -> None:
    words, lane = np.zeros(num_words, dtype=dtype), np.zeros(num_fields, dtype=np.uint64)
    apply_masks(words, lane, [mask(7)])
    expected = keystream(bytes([7]) * 32, lane.nbytes + words.nbytes)
    assert (lane.tobytes() + words.tobytes()).hex() == expected.hex()


@given(num_words=lengths, num_fields=st.integers(0, 3), dtype=WORDS, masks=masks_of)
@settings(max_examples=40)
def test_what_is_masked_and_unmasked_is_as_before(
    num_words: int, num_fields: int, dtype: Any, masks: list[Mask]
) -> None:
    words, lane = arrays(num_words, num_fields, dtype, seed=5)
    before = words.copy(), lane.copy()
    apply_masks(words, lane, masks)
    apply_masks(words, lane, masks[::-1], inverse=True)
    np.testing.assert_array_equal(words, before[0])
    np.testing.assert_array_equal(lane, before[1])


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_the_masks_of_pairs_vanish_from_the_sum_of_all_sites(dtype: Any) -> None:
    num_sites, total, expected = 4, np.zeros(50, dtype=dtype), np.zeros(50, dtype=dtype)
    lane_total = np.zeros(3, dtype=np.uint64)
    for site in range(num_sites):
        words, lane = arrays(50, 3, dtype, seed=site)
        expected += words
        lane[:] = site
        pairs = [
            mask(10 * min(site, other) + max(site, other), negative=site > other)
            for other in range(num_sites)
            if other != site
        ]
        apply_masks(words, lane, pairs)
        total += words
        lane_total += lane
    np.testing.assert_array_equal(total, expected)
    assert lane_total.tolist() == [6, 6, 6]


def test_the_low_bits_of_a_masked_word_are_masked_in_the_smaller_ring() -> None:
    words, lane = arrays(50, 1, np.uint32, seed=1)
    words &= np.uint32(0xFFFFFF)
    before = words.copy()
    apply_masks(words, lane, [mask(1), mask(2, negative=True)])
    cut = words & np.uint32(0xFFFFFF)  # what a packed word of 3 bytes keeps
    apply_masks(cut, lane, [mask(1), mask(2, negative=True)], inverse=True)
    np.testing.assert_array_equal(cut & np.uint32(0xFFFFFF), before)


def test_no_mask_changes_nothing() -> None:
    words, lane = arrays(5, 2, np.uint32, seed=1)
    before = words.tolist(), lane.tolist()
    apply_masks(words, lane, [])
    assert (words.tolist(), lane.tolist()) == before


def test_masks_change_nothing_beside_a_view() -> None:
    whole = np.zeros(30, dtype=np.uint32)
    apply_masks(whole[10:20], np.zeros(0, dtype=np.uint64), [mask(1)])
    assert not whole[:10].any()
    assert whole[10:20].any()
    assert not whole[20:].any()


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "unusable",
    [
        np.zeros(4, dtype=np.int32),
        np.zeros(4, dtype=np.float32),
        np.zeros(4, dtype=np.uint16),
        np.zeros(4, dtype=np.dtype(np.uint32).newbyteorder()),
        np.zeros((2, 2), dtype=np.uint32),
        np.zeros(8, dtype=np.uint32)[::2],
        read_only(np.zeros(4, dtype=np.uint32)),
    ],
    ids=["signed", "float", "narrow", "swapped", "table", "strided", "read-only"],
)
def test_an_array_that_cannot_be_masked_in_place_is_refused(unusable: Any) -> None:
    lane = np.zeros(2, dtype=np.uint64)
    with pytest.raises(ValueError, match="mask"):
        apply_masks(unusable, lane, [mask(1)])
    assert not unusable.any()
    assert not lane.any()


def test_a_lane_of_another_kind_is_refused() -> None:
    words = np.zeros(2, dtype=np.uint32)
    lane: Any = np.zeros(2, dtype=np.uint32)
    with pytest.raises(ValueError, match="uint32"):
        apply_masks(words, lane, [mask(1)])
    assert not words.any()


@pytest.mark.parametrize("num_bytes", [0, 16, 24, 31, 33])
def test_one_unusable_key_leaves_all_as_it_was(num_bytes: int) -> None:
    words, lane = np.zeros(4, dtype=np.uint32), np.zeros(2, dtype=np.uint64)
    with pytest.raises(MalformedMessageError, match="32 are needed"):
        apply_masks(words, lane, [mask(1), Mask(SecretBytes(bytes(num_bytes)), negative=False)])
    assert not words.any()
    assert not lane.any()


def test_many_masks_on_a_long_vector_need_little_memory() -> None:
    words, lane = np.zeros(2_000_000, dtype=np.uint32), np.zeros(3, dtype=np.uint64)
    masks = [mask(number) for number in range(30)]
    tracemalloc.start()
    try:
        apply_masks(words, lane, masks)
        assert tracemalloc.get_traced_memory()[1] < 2 * BLOCK_BYTES
    finally:
        tracemalloc.stop()
