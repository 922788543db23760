"""Masked vectors are uniform: nothing of what was masked is to be seen in them.

Chi-square tests with fixed keys, so each result is the same in every run. Uniform bytes fall below
`SMALLEST_CHANCE` once in a million keys; the mutants at the end show that the tests can fail.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

from fedward_common.crypto.mask_stream import Mask, apply_masks
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.secagg.codec import RingCodec, Section, VectorCodec
from fedward_common.secagg.packing import pack

SMALLEST_CHANCE = 1e-6
LENGTH = 200_000
Bits = Literal[24, 32]
Masking = Callable[[NDArray[np.uint32], str], None]


def mask_of(label: str, *, negative: bool = False) -> Mask:
    return Mask(SecretBytes(hashlib.sha256(label.encode()).digest()), negative)


def with_one_honest_pair(words: Any, label: str) -> None:
    """A self mask and masks shared with two sites, one added and one subtracted."""
    masks = [mask_of(f"{label} {name}", negative=name == "b") for name in ("self", "a", "b")]
    apply_masks(words, np.zeros(1, dtype=np.uint64), masks)


def nothing(words: NDArray[np.uint32], label: str) -> None:
    """A mask that was forgotten."""


def sixteen_bits(words: NDArray[np.uint32], label: str) -> None:
    """A mask over the low half of each word."""
    mask = np.zeros_like(words)
    with_one_honest_pair(mask, label)
    words += mask & np.uint32(0xFFFF)


def the_same_word_each_time(words: NDArray[np.uint32], label: str) -> None:
    """A mask of one word, used for all."""
    mask = np.zeros(1, dtype=np.uint32)
    with_one_honest_pair(mask, label)
    words += mask[0]


def gaussian_update() -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(0.0, 0.01, LENGTH).astype(np.float32)


UPDATES: dict[str, NDArray[np.float32]] = {
    "zeros": np.zeros(LENGTH, dtype=np.float32),
    "all at the bound": np.full(LENGTH, 1.0, dtype=np.float32),
    "small and normal": gaussian_update(),
}


def masked_bytes(bits: Bits, update: str, masking: Masking) -> NDArray[np.uint8]:
    """What leaves a site: shape (LENGTH, bytes of an element)."""
    codec = VectorCodec(bits, 10, (Section("update", LENGTH, 1.0),))
    words = codec.encode({"update": UPDATES[update]}, 0.5, entropy=None).words
    masking(words, f"{bits} {update}")
    return pack(words, codec.packed_bytes).reshape(LENGTH, codec.packed_bytes)


def chance_of(values: NDArray[Any], num_bins: int) -> float:
    """How often uniform values lie further from an even spread than these."""
    counts = np.bincount(values.astype(np.int64), minlength=num_bins)
    return float(stats.chisquare(counts).pvalue)


def smallest_chance(elements: NDArray[np.uint8]) -> float:
    """The worst of: each byte's place, the high bits, and how neighbours go together."""
    high = elements[:, -1]
    chances = [chance_of(elements[:, byte], 256) for byte in range(elements.shape[1])]
    chances += [chance_of(high >> shift, 1 << (8 - shift)) for shift in (4, 6, 7)]
    chances.append(chance_of(high[:-1:2] // 16 * 16 + high[1::2] // 16, 256))
    chances.append(chance_of(high ^ elements[:, 0], 256))
    return min(chances)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("bits", [24, 32])
def test_a_masked_vector_is_uniform_whatever_was_masked(bits: Bits, update: str) -> None:
    elements = masked_bytes(bits, update, with_one_honest_pair)
    assert smallest_chance(elements) > SMALLEST_CHANCE


@pytest.mark.parametrize("bits", [24, 32])
def test_the_difference_of_two_masked_vectors_is_uniform(bits: Bits) -> None:
    first = masked_bytes(bits, "zeros", with_one_honest_pair)
    second = masked_bytes(bits, "all at the bound", with_one_honest_pair)
    assert smallest_chance(first - second) > SMALLEST_CHANCE


@pytest.mark.parametrize("bits", [20, 24, 32, 40, 64])
def test_masked_shares_of_a_ring_are_uniform_in_all_bytes(bits: int) -> None:
    codec = RingCodec(bits, LENGTH)
    words = codec.words_of(np.zeros(LENGTH, dtype=np.int64))
    with_one_honest_pair(words, f"ring {bits}")
    elements = pack(words, codec.packed_bytes).reshape(LENGTH, codec.packed_bytes)
    assert smallest_chance(elements) > SMALLEST_CHANCE


def test_a_masked_lane_is_uniform() -> None:
    lane = np.ones(LENGTH, dtype=np.uint64)
    apply_masks(np.zeros(1, dtype=np.uint32), lane, [mask_of("lane"), mask_of("pair")])
    assert smallest_chance(pack(lane, 8).reshape(LENGTH, 8)) > SMALLEST_CHANCE


@pytest.mark.parametrize("mutant", [nothing, sixteen_bits, the_same_word_each_time])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("bits", [24, 32])
def test_a_mask_that_is_missing_or_too_short_is_found(
    bits: Bits, update: str, mutant: Masking
) -> None:
    assert smallest_chance(masked_bytes(bits, update, mutant)) < SMALLEST_CHANCE


@pytest.mark.parametrize("num_missing", [1, 2])
def test_one_place_in_ten_left_unmasked_is_found(num_missing: int) -> None:
    def almost(words: NDArray[np.uint32], label: str) -> None:
        before = words.copy()
        with_one_honest_pair(words, label)
        for start in range(num_missing):
            words[start::10] = before[start::10]

    assert smallest_chance(masked_bytes(32, "small and normal", almost)) < SMALLEST_CHANCE
