"""Ed25519 signatures over canonical bytes, each with a context string.

The context keeps a signature made for one purpose from being taken for another (RFC 8032 leaves
this to the application for plain Ed25519). Private keys show nothing in `repr`.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedward_common.crypto.key_derivation import framed
from fedward_common.errors import ConfigurationError, UnverifiedMessageError


class VerifyingKey:
    """The public half; 32 bytes."""

    def __init__(self, raw: bytes) -> None:
        try:
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError as error:
            raise ConfigurationError("a public key is not 32 bytes of Ed25519") from error
        self.raw = raw

    def __repr__(self) -> str:
        return f"VerifyingKey({self.raw.hex()[:16]}...)"

    # Public bytes: nobody learns anything from how long it takes to compare them.
    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, VerifyingKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def verify(self, signature: bytes, message: bytes, *, context: str) -> None:
        """Check a signature.

        Raises:
            UnverifiedMessageError: It was not made by this key over these bytes in this context.
        """
        try:
            self._key.verify(signature, framed(context, message))
        except InvalidSignature as error:
            raise UnverifiedMessageError(f"signature does not fit ({context})") from error


class SigningKey:
    """The private half; never shown, never sent."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "SigningKey(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not serialised by accident")

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_raw(cls, raw: bytes) -> "SigningKey":
        """Take the 32 bytes of `to_raw`."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(raw))
        except ValueError as error:
            raise ConfigurationError("a signing key is not 32 bytes of Ed25519") from error

    def to_raw(self) -> bytes:
        """Give the 32 secret bytes, for a file that only its owner may read."""
        return self._key.private_bytes_raw()

    @property
    def verifying_key(self) -> VerifyingKey:
        """The public half."""
        return VerifyingKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes, *, context: str) -> bytes:
        """Sign `message` for one purpose; 64 bytes."""
        return self._key.sign(framed(context, message))
