"""One site's part of secure aggregation, ours and that of Flower's SecAgg+, on the same vector.

Each client is made with the keys of its peers, as if they had been exchanged before. `deal` is what
it does before training ends: keys and sealed shares. `mask` is the part that grows with the model.
Messages, signatures and the network are left out on both sides.

Flower's functions are called in the order of its own `secaggplus_mod`, on a list of layers, with
the defaults of its `SecAggPlusWorkflow` (range 8, 2**22 steps, modulus 2**32).
"""

import os
from typing import Any, Literal, Protocol

import numpy as np
from flwr.common import ndarray_to_bytes
from flwr.common.secure_aggregation.crypto import (  # noqa: TID251  # measured beside ours
    shamir as flower_shamir,
)
from flwr.common.secure_aggregation.crypto import (  # noqa: TID251
    symmetric_encryption as flower_encryption,
)
from flwr.common.secure_aggregation.ndarrays_arithmetic import (  # noqa: TID251
    factor_combine,
    parameters_addition,
    parameters_mod,
    parameters_multiply,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import quantize  # noqa: TID251
from flwr.common.secure_aggregation.secaggplus_utils import (  # noqa: TID251
    pseudo_rand_gen,
    share_keys_plaintext_concat,
)
from flwr.supercore.primitives import asymmetric as flower_keys
from numpy.typing import NDArray

from fedward_common.crypto.key_agreement import (
    HybridPrivateKey,
    SystemKem,
    combined_key,
    decapsulate,
    diffie_hellman,
)
from fedward_common.crypto.key_derivation import derive_key
from fedward_common.crypto.mask_stream import Mask, apply_masks
from fedward_common.crypto.sealing import seal
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.shamir import split
from fedward_common.secagg.codec import Section, VectorCodec
from fedward_common.secagg.lane import LaneField, LaneLayout
from fedward_common.secagg.packing import pack, pack_in_place
from fedward_common.secagg.thresholds import threshold_of

WEIGHT = 0.5
LAYER_VALUES = 1 << 19
LANE_NUMBERS = 1024  # losses, and histograms of 512 bins for two classes
_CONTEXT = bytes(200)


class AggregationClient(Protocol):
    """One site among others."""

    def deal(self) -> None:
        """Make keys, and seal shares of the secrets for every peer."""

    def mask(self, update: NDArray[np.float32]) -> object:
        """Encode and mask, the agreement on pair keys included; give what is to be sent."""

    def upload_bytes(self, masked: Any) -> int:
        """Count the bytes that leave the site."""


class FedwardClient:
    """X25519 with ML-KEM-768, and keystreams of AES-256-CTR.

    The site has the highest id, so it opens a ciphertext of every peer: the dearest case.
    """

    def __init__(self, num_parameters: int, num_sites: int, bits: Literal[24, 32]) -> None:
        self.codec = VectorCodec(bits, num_sites, (Section("update", num_parameters, 1.0),))
        self._lane = LaneLayout((LaneField("sums", LANE_NUMBERS, 1 << 40),), num_sites)
        self._num_sites = num_sites
        self._own = HybridPrivateKey.generate(os.urandom)
        self._peers = [HybridPrivateKey.generate(os.urandom).public for _ in range(num_sites - 1)]
        self._ciphertexts = [SystemKem().encapsulate(self._own.public)[0] for _ in self._peers]

    def deal(self) -> None:
        """Make two pairs of keys, share two secrets, encapsulate and seal for every peer."""
        keys = [HybridPrivateKey.generate(os.urandom) for _ in ("seal", "mask")]
        shares = [
            split(
                SecretBytes(os.urandom(32)),
                num_shares=self._num_sites,
                threshold=threshold_of(self._num_sites),
                entropy=os.urandom,
            )
            for _ in ("self mask", "recovery")
        ]
        for place, peer in enumerate(self._peers):
            _, secret = SystemKem().encapsulate(peer)
            agreed = diffie_hellman(keys[0], peer)
            key = combined_key(agreed, secret, label="seal", context=_CONTEXT)
            pair = shares[0][place].reveal() + shares[1][place].reveal()
            seal(key, pair, associated=_CONTEXT)

    def mask(self, update: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Encode and mask; give packed words and lane."""
        words = self.codec.encode({"update": update}, WEIGHT, entropy=os.urandom).words
        lane = self._lane.encode({"sums": np.zeros(LANE_NUMBERS, dtype=np.int64)})
        apply_masks(words, lane, self._masks())
        return pack_in_place(words, self.codec.packed_bytes), pack(lane, 8)

    def upload_bytes(self, masked: Any) -> int:
        """Count packed words and lane."""
        return sum(part.nbytes for part in masked)

    def _masks(self) -> list[Mask]:
        own_seed = SecretBytes(os.urandom(32))
        masks = [Mask(derive_key(own_seed, label="self mask", context=_CONTEXT), negative=False)]
        for peer, ciphertext in zip(self._peers, self._ciphertexts, strict=True):
            secret = decapsulate(self._own, ciphertext)
            agreed = diffie_hellman(self._own, peer)
            key = combined_key(agreed, secret, label="pair mask", context=_CONTEXT)
            masks.append(Mask(key, negative=True))
        return masks


class FlowerClient:
    """ECDH on P-384, and masks of numpy's Mersenne Twister from seeds of 32 bits."""

    clipping_range = 8.0
    target_range = 1 << 22
    mod_range = 1 << 32

    def __init__(self, num_sites: int) -> None:
        self._num_sites = num_sites
        own, _ = flower_keys.generate_key_pairs()
        self._own = flower_keys.private_key_to_bytes(own)
        pairs = [flower_keys.generate_key_pairs() for _ in range(num_sites - 1)]
        self._peers = [flower_keys.public_key_to_bytes(public) for _, public in pairs]

    def deal(self) -> None:
        """As `_setup` and `_share_keys` do."""
        own_keys = [flower_keys.generate_key_pairs()[0] for _ in ("masks", "sealing")]
        private = [flower_keys.private_key_to_bytes(key) for key in own_keys]
        threshold = threshold_of(self._num_sites)
        seed_shares, key_shares = (
            flower_shamir.create_shares(secret, threshold, self._num_sites)
            for secret in (os.urandom(32), private[0])
        )
        for place, peer in enumerate(self._peers):
            plaintext = share_keys_plaintext_concat(0, place, seed_shares[place], key_shares[place])
            flower_encryption.encrypt(_flower_key(private[1], peer), plaintext)

    def mask(self, update: NDArray[np.float32]) -> list[NDArray[Any]]:
        """As `_collect_masked_vectors` does."""
        layers = np.split(update, range(LAYER_VALUES, update.size, LAYER_VALUES))
        factor = round(WEIGHT * self.target_range)
        parameters = parameters_multiply(layers, factor / self.target_range)
        quantized = quantize(parameters, self.clipping_range, self.target_range)
        quantized = factor_combine(factor, quantized)
        shapes = [layer.shape for layer in quantized]
        private_mask = pseudo_rand_gen(os.urandom(32), self.mod_range, shapes)
        quantized = parameters_addition(quantized, private_mask)
        for peer in self._peers:
            pair_mask = pseudo_rand_gen(_flower_key(self._own, peer), self.mod_range, shapes)
            quantized = parameters_subtraction(quantized, pair_mask)
        return parameters_mod(quantized, self.mod_range)

    def upload_bytes(self, masked: Any) -> int:
        """Count what its own serialisation makes of the layers."""
        return sum(len(ndarray_to_bytes(layer)) for layer in masked)


def _flower_key(private: bytes, public: bytes) -> bytes:
    return flower_encryption.generate_shared_key(
        flower_keys.bytes_to_private_key(private), flower_keys.bytes_to_public_key(public)
    )
