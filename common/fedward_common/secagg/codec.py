"""Vectors as integers of a ring, so that sums over sites are exact and can be masked.

Rules of the fixed-point codec, with b bits and at most n sites:
- Nothing is encoded that is not finite. A value is clipped to its section's range R, and how many
  were is counted; then it is weighted, scaled by 2**f and rounded to a whole number.
- f = b - 1 - ceil(log2 n) - ceil(log2 R), so that R is 2**(b-1) / n steps at most. What rounding
  puts beyond L = floor((2**(b-1) - 1) / n) is set to it. So the sum of n sites lies within
  +-(2**(b-1) - 1) whatever they send through this codec: it cannot wrap around.
- Rounding is to the nearest whole number, ties to even: within half a step of 2**-f for each site,
  and within a whole step in the last half step before L. Or it is up or down at random.
- The sum is decoded exactly, then rounded once to float32.

The sum is of weight times value; whoever has the sum of the weights divides.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedward_common.crypto.entropy import Entropy, draw
from fedward_common.crypto.mask_stream import Words
from fedward_common.errors import ConfigurationError, WeightsMismatchError
from fedward_common.secagg.fixed_point import (
    Rounding,
    blocks_of,
    ceil_log2,
    clip_and_count,
    largest_size,
    round_to_nearest,
    rounding_at_random,
)
from fedward_common.wire.canonical_cbor import encode_canonically

MIN_FRACTION_BITS = 8
_SMALLEST_RANGE = 2.0**-64
_KEY_BYTES = 32


@dataclass(frozen=True)
class Section:
    """A vector of a contribution.

    Attributes:
        name: The vector's, for instance "update".
        length: Its values.
        value_range: R; each value is clipped to +-R.
    """

    name: str
    length: int
    value_range: float

    def __post_init__(self) -> None:
        if not self.name or self.length < 1:
            raise ConfigurationError(
                f"a section {self.name!r} of {self.length} values: a name and a value are needed"
            )
        if not (math.isfinite(self.value_range) and self.value_range >= _SMALLEST_RANGE):
            raise ConfigurationError(
                f"secure_aggregation.value_range is {self.value_range} for {self.name!r}: a finite "
                f"number of {_SMALLEST_RANGE:g} or more is needed",
                hint="take a bound that hardly any value of an update exceeds, for instance 1.0",
            )


@dataclass(frozen=True)
class Encoded:
    """One site's contribution as ring elements.

    Attributes:
        words: Shape (length,); the low `bits` bits of each word, two's complement; the sections in
            the codec's order. Made for the caller, who may mask it in place.
        num_clipped: Values that lay beyond their range.
    """

    words: NDArray[np.uint32]
    num_clipped: int


@dataclass(frozen=True)
class VectorCodec:
    """Fixed-point numbers of `bits` bits.

    Attributes:
        bits: 24 or 32.
        max_sites: n; no sum may have more sites.
        sections: The vectors, one after the other.
        stochastic: Round at random, up with the chance of the fraction that is cut off. The
            expected sum then has no rounding error: the chance is right to 2**-52 of a step,
            except beyond L.

    Raises:
        ConfigurationError: Fewer than `MIN_FRACTION_BITS` are left for the fraction, or the
            sections are none or have a name twice.
    """

    bits: Literal[24, 32]
    max_sites: int
    sections: tuple[Section, ...]
    stochastic: bool = False

    def __post_init__(self) -> None:
        if self.bits not in (24, 32):
            raise ConfigurationError(
                f"secure_aggregation.bits is {self.bits}: 24 or 32 is needed",
                hint="24 bits send a quarter less, 32 bits round less",
            )
        if self.max_sites < 1:
            raise ConfigurationError(f"a codec for {self.max_sites} sites: at least 1 is needed")
        names = [section.name for section in self.sections]
        if not names or len(set(names)) < len(names):
            raise ConfigurationError(
                f"a codec with the sections {names}: at least one is needed, each name once"
            )
        for section in self.sections:
            self._require_fraction(section)

    @property
    def length(self) -> int:
        """Ring elements of a contribution."""
        return sum(section.length for section in self.sections)

    @property
    def largest_integer(self) -> int:
        """L: no site's whole number is larger in size."""
        return int((2 ** (self.bits - 1) - 1) // self.max_sites)

    @property
    def packed_bytes(self) -> int:
        """Bytes of an element on the wire."""
        return self.bits // 8

    def fraction_bits(self, section: Section) -> int:
        """f: a step of the section is 2**-f."""
        sites_bits = (self.max_sites - 1).bit_length()
        return self.bits - 1 - sites_bits - ceil_log2(section.value_range)

    def descriptor(self) -> bytes:
        """Give canonical bytes of everything that encoding and decoding depend on."""
        return encode_canonically(
            {
                "codec": "fixed-point v1",
                "bits": self.bits,
                "max_sites": self.max_sites,
                "stochastic": self.stochastic,
                "sections": [[s.name, s.length, float(s.value_range)] for s in self.sections],
            }
        )

    def encode(
        self, values: Mapping[str, NDArray[np.float32]], weight: float, *, entropy: Entropy | None
    ) -> Encoded:
        """Turn one site's vectors into ring elements.

        Args:
            values: A contiguous float32 vector for each section, as long as the section says.
                They are not changed.
            weight: In (0, 1]; it multiplies every value after the clip.
            entropy: For stochastic rounding, which draws one key of it; else not asked.

        Returns:
            New words; beside them, a block is all the memory that is needed.

        Raises:
            WeightsMismatchError: Another set of vectors, or one of another length or type.
            UnusableUpdateError: A value is not finite; then nothing was encoded.
            ConfigurationError: The weight is outside (0, 1], or rounding is stochastic and there is
                no entropy.
        """
        largest = self._checked(values)
        if not 0.0 < weight <= 1.0:
            raise ConfigurationError(
                f"an aggregation weight is {weight}: a number above 0, of 1 at most, is needed",
                hint="a weight is a site's share of the largest that the manifest allows",
            )
        round_block = self._rounding(entropy)
        words = np.empty(self.length, dtype=np.uint32)
        num_clipped = 0
        for section, place in self._places():
            vector, part = values[section.name], words[place]
            scale = math.ldexp(weight, self.fraction_bits(section))
            bound = section.value_range if largest[section.name] > section.value_range else None
            for block in blocks_of(section.length):
                scaled = vector[block].astype(np.float64)
                if bound is not None:
                    num_clipped += clip_and_count(scaled, bound)
                scaled *= scale
                self._write(round_block(scaled), part[block])
        return Encoded(words, num_clipped)

    def decode(self, total: NDArray[np.uint32]) -> dict[str, NDArray[np.float32]]:
        """Turn the unmasked sum of contributions into sums of weight times value.

        Args:
            total: Shape (length,); bits above the ring's are ignored.

        Returns:
            A vector for each section. Each value is the exact sum of the sites' whole numbers times
            the step, rounded once to float32.

        Raises:
            WeightsMismatchError: A total of another shape or type.
        """
        self._require_total(total)
        decoded = {}
        for section, place in self._places():
            whole, fraction_bits = total[place], self.fraction_bits(section)
            vector = np.empty(section.length, dtype=np.float32)
            step = math.ldexp(1.0, -fraction_bits)
            for block in blocks_of(section.length):
                vector[block] = self._centred(whole[block]) * np.float64(step)
            decoded[section.name] = vector
        return decoded

    def _checked(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
        """Check every vector before any is encoded; give the largest size of a value in each."""
        if set(values) != {section.name for section in self.sections}:
            raise WeightsMismatchError(
                f"vectors {sorted(values)} came, {[s.name for s in self.sections]} are needed"
            )
        return {s.name: largest_size(s.name, values[s.name], s.length) for s in self.sections}

    def _places(self) -> Iterator[tuple[Section, slice]]:
        start = 0
        for section in self.sections:
            yield section, slice(start, start + section.length)
            start += section.length

    def _rounding(self, entropy: Entropy | None) -> Rounding:
        """Choose how a block is rounded."""
        if not self.stochastic:
            return round_to_nearest
        if entropy is None:
            raise ConfigurationError(
                "stochastic rounding without randomness: a source of random bytes is needed",
                hint="give the operating system's source",
            )
        return rounding_at_random(draw(entropy, _KEY_BYTES))

    def _write(self, whole: NDArray[np.float64], words: NDArray[np.uint32]) -> None:
        """Bound whole numbers and store them in two's complement."""
        largest = float(self.largest_integer)
        np.clip(whole, -largest, largest, out=whole)
        np.copyto(words.view(np.int32), whole, casting="unsafe")  # exact: |whole| < 2**31
        if self.bits == 24:
            words &= np.uint32(0xFFFFFF)

    def _centred(self, words: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Read the upper half of the ring as negative numbers."""
        if self.bits == 32:
            return words.view(np.int32)
        return (words << np.uint32(8)).view(np.int32) >> np.int32(8)

    def _require_total(self, total: NDArray[np.uint32]) -> None:
        if total.dtype != np.uint32 or total.shape != (self.length,):
            raise WeightsMismatchError(
                f"a sum is {total.dtype} of shape {total.shape}: uint32 of shape "
                f"({self.length},) is needed"
            )

    def _require_fraction(self, section: Section) -> None:
        if self.fraction_bits(section) < MIN_FRACTION_BITS:
            raise ConfigurationError(
                f"secure_aggregation.bits = {self.bits} leaves {self.fraction_bits(section)} bits "
                f"for the fraction of {section.name!r}, with secure_aggregation.value_range = "
                f"{section.value_range:g} and {self.max_sites} sites: {MIN_FRACTION_BITS} are "
                "needed",
                hint="take bits = 32, a smaller value_range, or fewer sites",
            )


@dataclass(frozen=True)
class RingCodec:
    """Numbers that are elements of a ring already: the shares of the joint mechanism.

    A ring of 2**bits lies in the top bits of a packed element of 3, 4 or 8 bytes. The sum of the
    elements then wraps exactly where the ring does. In the low bits it would show how often the
    sites' numbers wrapped together, which is more than the sum of the ring.

    Attributes:
        bits: 2 to 64.
        length: Elements of a contribution.
    """

    bits: int
    length: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 64 or self.length < 1:
            raise ConfigurationError(
                f"privacy.ring_bits is {self.bits} for {self.length} numbers: 2 to 64 and at "
                "least one number are needed",
                hint="32 bits are enough for most jobs",
            )

    @property
    def packed_bytes(self) -> int:
        """Bytes of an element on the wire: the fewest of 3, 4 and 8 that hold the ring."""
        return next(size for size in (3, 4, 8) if 8 * size >= self.bits)

    def descriptor(self) -> bytes:
        """Give canonical bytes of everything that the words depend on."""
        return encode_canonically({"codec": "ring v1", "bits": self.bits, "length": self.length})

    def words_of(self, shares: NDArray[np.int64]) -> Words:
        """Turn one site's shares into words.

        Args:
            shares: Shape (length,), contiguous; each in [0, 2**bits), with 64 bits as the same
                bits of an int64. Not changed.

        Returns:
            A new array, uint32 or (8 bytes) uint64, which the caller may mask in place.

        Raises:
            WeightsMismatchError: Another shape or type, or a number outside the ring.
        """
        if shares.dtype != np.int64 or shares.shape != (self.length,):
            raise WeightsMismatchError(
                f"shares are {shares.dtype} of shape {shares.shape}: int64 of shape "
                f"({self.length},) is needed"
            )
        unsigned = shares.view(np.uint64)
        if int(unsigned.max()) >> self.bits:
            raise WeightsMismatchError(
                f"a share has numbers beyond the ring of {self.bits} bits",
                hint="the ring of the shares and of the codec must be the same",
            )
        if self.packed_bytes == 8:
            return unsigned << np.uint64(self._unused_bits)
        words = unsigned.astype(np.uint32)
        words <<= np.uint32(self._unused_bits)
        return words

    def sum_of(self, total: Words) -> NDArray[np.uint64]:
        """Turn the unmasked sum of words into the sum of the shares.

        Returns:
            A new array of shape (length,), each in [0, 2**bits).

        Raises:
            WeightsMismatchError: A total of another shape or type.
        """
        needed = np.dtype(np.uint64 if self.packed_bytes == 8 else np.uint32)
        if total.dtype != needed or total.shape != (self.length,):
            raise WeightsMismatchError(
                f"a sum is {total.dtype} of shape {total.shape}: {needed} of shape "
                f"({self.length},) is needed"
            )
        shares = total.astype(np.uint64)
        shares >>= np.uint64(self._unused_bits)
        shares &= np.uint64((1 << self.bits) - 1)
        return shares

    @property
    def _unused_bits(self) -> int:
        return 8 * self.packed_bytes - self.bits
