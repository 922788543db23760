"""A masked contribution as it is sent, hashed once: for the signature, and to know it again."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_common.crypto.mask_stream import Words
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.secagg.packing import pack_in_place
from fedward_common.wire.envelope import HashedArray, hashed


@dataclass(frozen=True)
class MaskedVector:
    """A masked contribution as it is sent; each array knows its hash.

    Attributes:
        words: Packed, shape (packed_bytes * num_words,), bytes.
        lane: Shape (num_fields,), int64.
    """

    words: HashedArray
    lane: HashedArray

    @classmethod
    def of(cls, words: Words, lane: NDArray[np.uint64], packed_bytes: int) -> "MaskedVector":
        """Take masked words and lane, which are packed within their memory."""
        sent = hashed({"words": pack_in_place(words, packed_bytes), "lane": lane.view(np.int64)})
        return cls(sent["words"], sent["lane"])

    @property
    def sha256(self) -> SecretBytes:
        """Hash of all that is sent."""
        both = f"{self.words.known_sha256}:{self.lane.known_sha256}"
        return SecretBytes(hashlib.sha256(both.encode()).digest())
