"""Sealed bytes: AES-256-GCM under a key that seals one message and no other.

The nonce is zero and is not sent. That is sound because every key is derived or drawn for one
message (NIST SP 800-38D section 8: no pair of key and nonce twice), and it leaves no nonce to get
wrong. Who calls `seal` answers for the key being fresh.

GCM does not commit to its key: a sealed message can be made to open under two keys. A receiver who
is given the key by others compares the key with its commitment before it opens anything.
"""

import io

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedward_common.crypto.entropy import Entropy
from fedward_common.crypto.key_agreement import (
    CIPHERTEXT_BYTES,
    X25519_BYTES,
    HybridPrivateKey,
    HybridPublicKey,
    Kem,
    combined_key,
    decapsulate,
    diffie_hellman_with_point,
    ephemeral_diffie_hellman,
)
from fedward_common.crypto.key_derivation import KEY_BYTES
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import (
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)

TAG_BYTES = 16
BOX_HEADER_BYTES = X25519_BYTES + CIPHERTEXT_BYTES
MAX_PLAINTEXT_BYTES = 2**31 - 1 - TAG_BYTES

_NONCE = bytes(12)
_BOX_LABEL = "fedward sealed box v1"

Content = bytes | bytearray | memoryview
"""What is sealed or opened; a view must be contiguous, of any type and shape."""


def seal(key: SecretBytes, plaintext: Content, *, associated: bytes) -> bytes:
    """Encrypt and authenticate one message.

    Args:
        key: 32 bytes that seal nothing else, ever.
        plaintext: Just under 2 GiB at most.
        associated: What is authenticated and not sent: sender, recipient, purpose.

    Returns:
        The ciphertext, then a tag of 16 bytes.

    Raises:
        ConfigurationError: The plaintext is longer than the cipher takes.
        MalformedMessageError: The key has not 32 bytes.
    """
    return _cipher(key).encrypt(_NONCE, _plaintext_bytes(plaintext), associated)


def seal_into(
    key: SecretBytes, plaintext: Content, *, associated: bytes, room: memoryview
) -> memoryview:
    """Do what `seal` does in memory of the caller, which many messages in turn may use.

    Args:
        key: 32 bytes that seal nothing else, ever.
        plaintext: Just under 2 GiB at most.
        associated: What is authenticated and not sent.
        room: Bytes that may be written over: as many as the plaintext has, and a tag, or more.

    Returns:
        The beginning of `room`: the ciphertext, then a tag of 16 bytes.

    Raises:
        ConfigurationError: The plaintext is longer than the cipher takes.
        MalformedMessageError: The key has not 32 bytes.
    """
    content = _plaintext_bytes(plaintext)
    sealed = room[: len(content) + TAG_BYTES]
    _cipher(key).encrypt_into(_NONCE, content, associated, sealed)
    return sealed


def open_sealed(key: SecretBytes, sealed: Content, *, associated: bytes) -> bytes:
    """Give the plaintext of `seal`.

    Raises:
        UnverifiedMessageError: Key, ciphertext or associated data are not those it was sealed with.
        MalformedMessageError: The key has not 32 bytes.
    """
    try:
        return _cipher(key).decrypt(_NONCE, _bytes_of(sealed), associated)
    except (InvalidTag, OverflowError) as error:
        raise UnverifiedMessageError(
            "a sealed message does not open",
            hint="it was changed on the way, or sealed for another recipient or purpose",
        ) from error


def seal_to(
    public: HybridPublicKey, plaintext: Content, *, associated: bytes, entropy: Entropy, kem: Kem
) -> bytes:
    """Seal one message to the holder of a key. Anyone can, so it says nothing of the sender.

    Args:
        public: The recipient's key.
        plaintext: Just under 2 GiB at most; the result is the one copy that is made.
        associated: What is authenticated and not sent.
        entropy: Gives 32 bytes for the X25519 key of this message.
        kem: Makes the ML-KEM-768 secret of this message.

    Returns:
        An X25519 key (32 bytes), an ML-KEM-768 ciphertext (1088), then what `seal` gives.

    Raises:
        ConfigurationError: The plaintext is longer than the cipher takes.
        UnverifiedMessageError: The recipient's X25519 key is of low order.
    """
    content = _plaintext_bytes(plaintext)
    point, agreed = ephemeral_diffie_hellman(public, entropy)
    ciphertext, secret = kem.encapsulate(public)
    key = _box_key(public, point + ciphertext, agreed, secret)
    # `getvalue` hands out this very object: joining the parts would copy a large plaintext again.
    box = io.BytesIO(bytes(BOX_HEADER_BYTES + len(content) + TAG_BYTES))
    with box.getbuffer() as room:
        room[:BOX_HEADER_BYTES] = point + ciphertext
        _cipher(key).encrypt_into(_NONCE, content, associated, room[BOX_HEADER_BYTES:])
    return box.getvalue()


def open_box(private: HybridPrivateKey, sealed: Content, *, associated: bytes) -> bytes:
    """Give the plaintext of `seal_to`.

    Raises:
        MalformedMessageError: It is shorter than any sealed message.
        UnverifiedMessageError: It was changed, sealed to another key, or with other associated
            data.
    """
    view = _bytes_of(sealed)
    if len(view) < BOX_HEADER_BYTES + TAG_BYTES:
        raise MalformedMessageError(
            f"a sealed message has {len(view)} bytes, "
            f"{BOX_HEADER_BYTES + TAG_BYTES} are needed at least"
        )
    header = bytes(view[:BOX_HEADER_BYTES])
    agreed = diffie_hellman_with_point(private, header[:X25519_BYTES])
    secret = decapsulate(private, header[X25519_BYTES:])
    key = _box_key(private.public, header, agreed, secret)
    return open_sealed(key, view[BOX_HEADER_BYTES:], associated=associated)


def _box_key(
    public: HybridPublicKey, header: bytes, agreed: SecretBytes, secret: SecretBytes
) -> SecretBytes:
    """Bind the key to the recipient and to both halves of what was sent."""
    context = public.to_bytes() + header
    return combined_key(agreed, secret, label=_BOX_LABEL, context=context)


def _cipher(key: SecretBytes) -> AESGCM:
    return AESGCM(key.reveal_exactly(KEY_BYTES))


def _plaintext_bytes(plaintext: Content) -> memoryview:
    content = _bytes_of(plaintext)
    if len(content) > MAX_PLAINTEXT_BYTES:
        raise ConfigurationError(
            f"a message to seal has {len(content)} bytes, {MAX_PLAINTEXT_BYTES} are the most",
            hint="the model is too large to be sent in one piece",
        )
    return content


def _bytes_of(content: Content) -> memoryview:
    """View an array of any type as its bytes; Python casts no empty view."""
    view = memoryview(content)
    return view.cast("B") if view.nbytes else memoryview(b"")
