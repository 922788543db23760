"""A secret between two parties that holds if either X25519 or ML-KEM-768 holds.

X25519 (RFC 7748) and ML-KEM-768 (FIPS 203) run side by side, and HKDF takes both secrets: who
breaks one of the two learns nothing. A changed ML-KEM ciphertext cannot be told from a good one:
`decapsulate` then gives a pseudorandom secret (FIPS 203, implicit rejection), so that the two
parties end with different keys. Where that matters, the caller binds the ciphertext into the
context, or finds it when a sealed message does not open.
"""

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedward_common.crypto.entropy import Entropy, draw
from fedward_common.crypto.key_derivation import derive_key
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import MalformedMessageError, UnverifiedMessageError

__all__ = [
    "CIPHERTEXT_BYTES",
    "PRIVATE_BYTES",
    "PUBLIC_BYTES",
    "SHARED_BYTES",
    "X25519_BYTES",
    "Entropy",
    "HybridPrivateKey",
    "HybridPublicKey",
    "Kem",
    "SystemKem",
    "combined_key",
    "decapsulate",
    "diffie_hellman",
    "diffie_hellman_with_point",
    "ephemeral_diffie_hellman",
]

X25519_BYTES = 32
MLKEM_PUBLIC_BYTES = 1184
MLKEM_SEED_BYTES = 64
PUBLIC_BYTES = X25519_BYTES + MLKEM_PUBLIC_BYTES
PRIVATE_BYTES = X25519_BYTES + MLKEM_SEED_BYTES
CIPHERTEXT_BYTES = 1088
SHARED_BYTES = 32


@dataclass(frozen=True)
class HybridPublicKey:
    """Both public halves; once built, each can be used.

    Attributes:
        x25519: 32 bytes. A point of low order is found in `diffie_hellman` only.
        mlkem768: 1184 bytes that pass the modulus check of FIPS 203 section 7.2.

    Raises:
        MalformedMessageError: Another length, or a coefficient outside the field.
    """

    x25519: bytes
    mlkem768: bytes

    def __post_init__(self) -> None:
        if len(self.x25519) != X25519_BYTES or len(self.mlkem768) != MLKEM_PUBLIC_BYTES:
            raise MalformedMessageError(
                f"a public key has {len(self.x25519)} and {len(self.mlkem768)} bytes, "
                f"{X25519_BYTES} and {MLKEM_PUBLIC_BYTES} are needed"
            )
        try:
            _ = self.for_encapsulation
        except ValueError as error:
            raise MalformedMessageError(
                "a public key holds a coefficient that ML-KEM-768 does not have"
            ) from error

    @cached_property
    def for_encapsulation(self) -> MLKEM768PublicKey:
        """The ML-KEM-768 half, as the library takes it."""
        return MLKEM768PublicKey.from_public_bytes(self.mlkem768)

    def to_bytes(self) -> bytes:
        """Give 1216 bytes: X25519, then ML-KEM-768."""
        return self.x25519 + self.mlkem768

    @classmethod
    def from_bytes(cls, unverified: bytes) -> "HybridPublicKey":
        """Take the bytes of `to_bytes`.

        Raises:
            MalformedMessageError: Another length, or not a key of ML-KEM-768.
        """
        if len(unverified) != PUBLIC_BYTES:
            raise MalformedMessageError(
                f"a public key has {len(unverified)} bytes, {PUBLIC_BYTES} are needed"
            )
        return _public_key_of(bytes(unverified))


@functools.lru_cache(maxsize=512)
def _public_key_of(raw: bytes) -> HybridPublicKey:
    """Check a key once; every step of a round meets the same ones again."""
    return HybridPublicKey(raw[:X25519_BYTES], raw[X25519_BYTES:])


class HybridPrivateKey:
    """Both private halves; never shown, and stored only through `to_secret`."""

    def __init__(self, x25519: X25519PrivateKey, mlkem768: MLKEM768PrivateKey) -> None:
        self._x25519 = x25519
        self._mlkem768 = mlkem768

    def __repr__(self) -> str:
        return "HybridPrivateKey(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not copied or serialised by accident")

    @classmethod
    def generate(cls, entropy: Entropy) -> "HybridPrivateKey":
        """Make a pair of keys from 96 random bytes."""
        return cls.from_secret(SecretBytes(draw(entropy, PRIVATE_BYTES)))

    @classmethod
    def from_secret(cls, secret: SecretBytes) -> "HybridPrivateKey":
        """Take the secret of `to_secret`.

        Raises:
            MalformedMessageError: It has not 96 bytes.
        """
        raw = secret.reveal_exactly(PRIVATE_BYTES)
        return cls(
            X25519PrivateKey.from_private_bytes(raw[:X25519_BYTES]),
            MLKEM768PrivateKey.from_seed_bytes(raw[X25519_BYTES:]),
        )

    def to_secret(self) -> SecretBytes:
        """Give 96 bytes: the X25519 key, then d and z of FIPS 203."""
        return SecretBytes(self._x25519.private_bytes_raw() + self._mlkem768.private_bytes_raw())

    @cached_property
    def public(self) -> HybridPublicKey:
        """The public halves."""
        return HybridPublicKey(
            self._x25519.public_key().public_bytes_raw(),
            self._mlkem768.public_key().public_bytes_raw(),
        )


class Kem(Protocol):
    """Makes a secret for the holder of an ML-KEM-768 key."""

    def encapsulate(self, public: HybridPublicKey) -> tuple[bytes, SecretBytes]:
        """Give the ciphertext, 1088 bytes, and the secret in it, 32 bytes."""


class SystemKem:
    """ML-KEM-768 with the randomness of the cryptographic library, which takes no other."""

    def encapsulate(self, public: HybridPublicKey) -> tuple[bytes, SecretBytes]:
        """Give the ciphertext, 1088 bytes, and the secret in it, 32 bytes."""
        secret, ciphertext = public.for_encapsulation.encapsulate()
        return ciphertext, SecretBytes(secret)


def decapsulate(private: HybridPrivateKey, ciphertext: bytes) -> SecretBytes:
    """Open a ciphertext of ML-KEM-768.

    Returns:
        32 bytes. For a ciphertext that was changed, or made for another key, these are
        pseudorandom: nothing tells.

    Raises:
        MalformedMessageError: The ciphertext has not 1088 bytes.
    """
    if len(ciphertext) != CIPHERTEXT_BYTES:
        raise MalformedMessageError(
            f"a ciphertext of ML-KEM-768 has {len(ciphertext)} bytes, {CIPHERTEXT_BYTES} are needed"
        )
    return SecretBytes(private._mlkem768.decapsulate(ciphertext))


def diffie_hellman(private: HybridPrivateKey, public: HybridPublicKey) -> SecretBytes:
    """Agree by X25519; both sides come to the same 32 bytes.

    Raises:
        UnverifiedMessageError: The public key is a point of low order, which gives zeros whatever
            the private key is (RFC 7748 section 6.1).
    """
    return diffie_hellman_with_point(private, public.x25519)


def diffie_hellman_with_point(private: HybridPrivateKey, unverified_point: bytes) -> SecretBytes:
    """Agree with a peer who sent the 32 bytes of an X25519 key alone; as `diffie_hellman`."""
    return _exchanged(private._x25519, unverified_point)


def ephemeral_diffie_hellman(
    public: HybridPublicKey, entropy: Entropy
) -> tuple[bytes, SecretBytes]:
    """Agree with the holder of a key by a new X25519 key that is dropped at once.

    Returns:
        The new public key, 32 bytes, to be sent; what both agree on, 32 bytes.

    Raises:
        UnverifiedMessageError: The public key is a point of low order.
    """
    ephemeral = X25519PrivateKey.from_private_bytes(draw(entropy, X25519_BYTES))
    return ephemeral.public_key().public_bytes_raw(), _exchanged(ephemeral, public.x25519)


def combined_key(
    diffie_hellman: SecretBytes, kem: SecretBytes, *, label: str, context: bytes
) -> SecretBytes:
    """Derive one key from both secrets; 32 bytes.

    Args:
        diffie_hellman: What X25519 gave, 32 bytes.
        kem: What ML-KEM-768 gave, 32 bytes. It comes first, in the order of NIST SP 800-56C:
            an approved secret, then another.
        label: The purpose.
        context: What the key is bound to. It should hold both public keys, or the hash of a
            directory that does.

    Raises:
        MalformedMessageError: A secret has another length.
    """
    joined = kem.reveal_exactly(SHARED_BYTES) + diffie_hellman.reveal_exactly(SHARED_BYTES)
    return derive_key(SecretBytes(joined), label=label, context=context)


def _exchanged(private: X25519PrivateKey, unverified_point: bytes) -> SecretBytes:
    try:
        return SecretBytes(private.exchange(X25519PublicKey.from_public_bytes(unverified_point)))
    except ValueError as error:
        raise UnverifiedMessageError(
            "a public key of X25519 is a point of low order or not 32 bytes"
        ) from error
