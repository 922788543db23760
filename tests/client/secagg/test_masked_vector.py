"""What is sent of a masked contribution, and by what it is known again."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward_client.secagg.masked_vector import MaskedVector
from fedward_common.crypto.mask_stream import Words
from fedward_common.secagg.packing import pack
from fedward_common.wire.envelope import hash_of_array


def words_of(packed_bytes: int) -> Words:
    numbers = np.random.default_rng(5).integers(0, 1 << 63, 40_000)
    return numbers.astype(np.uint64) if packed_bytes == 8 else numbers.astype(np.uint32)


def lane_of() -> NDArray[np.uint64]:
    return np.arange(7, dtype=np.uint64) << np.uint64(60)


@pytest.mark.parametrize("packed_bytes", [3, 4, 8])
def test_words_are_packed_and_each_array_knows_its_hash(packed_bytes: int) -> None:
    packed = pack(words_of(packed_bytes), packed_bytes)
    vector = MaskedVector.of(words_of(packed_bytes), lane_of(), packed_bytes)
    np.testing.assert_array_equal(vector.words, packed)
    np.testing.assert_array_equal(vector.lane.view(np.uint64), lane_of())
    assert vector.words.known_sha256 == hash_of_array(packed)
    assert vector.lane.known_sha256 == hash_of_array(lane_of().view(np.int64))


@pytest.mark.parametrize("packed_bytes", [3, 4, 8])
def test_another_word_or_lane_is_another_vector(packed_bytes: int) -> None:
    words, lane = words_of(packed_bytes), lane_of()
    vector = MaskedVector.of(words.copy(), lane, packed_bytes)
    other_words, other_lane = words.copy(), lane.copy()
    other_words[-1] ^= other_words.dtype.type(1)
    other_lane[0] += np.uint64(1)
    assert MaskedVector.of(words.copy(), lane, packed_bytes).sha256 == vector.sha256
    assert MaskedVector.of(other_words, lane, packed_bytes).sha256 != vector.sha256
    assert MaskedVector.of(words.copy(), other_lane, packed_bytes).sha256 != vector.sha256
