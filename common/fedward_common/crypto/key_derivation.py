"""Keys for one purpose each, derived from a secret by HKDF-SHA256 (RFC 5869).

The salt is empty: every secret here is uniform already or the output of a key agreement (RFC 5869
section 3.1). The label goes in front with its length, so that no byte moves between it and the
context and no two purposes share a key.
"""

import hmac

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import MalformedMessageError

KEY_BYTES = 32
_HASH_BYTES = 32


def derive_key(secret: SecretBytes, *, label: str, context: bytes) -> SecretBytes:
    """Derive the key of one purpose.

    Args:
        secret: 32 bytes or more.
        label: The purpose, for instance `"fedward secagg self mask v1"`.
        context: What the key is bound to (run, round, sites); in one canonical encoding.

    Returns:
        32 bytes.

    Raises:
        MalformedMessageError: The secret is shorter than 32 bytes.
    """
    if len(secret) < KEY_BYTES:
        raise MalformedMessageError(
            f"a secret has {len(secret)} bytes, a key is derived from {KEY_BYTES} or more"
        )
    return SecretBytes(_expand(secret.reveal(), framed(label, context), KEY_BYTES))


def framed(label: str, content: bytes) -> bytes:
    """Join label and content: the label's length as 2 big-endian bytes, the label, the content."""
    name = label.encode()
    return len(name).to_bytes(2, "big") + name + content


def _expand(secret: bytes, info: bytes, num_bytes: int) -> bytes:
    # RFC 5869 sections 2.2 and 2.3; a library's object a key costs ten times as much.
    extracted = hmac.digest(bytes(_HASH_BYTES), secret, "sha256")
    blocks = [b""]
    for number in range(1, -(-num_bytes // _HASH_BYTES) + 1):
        blocks.append(hmac.digest(extracted, blocks[-1] + info + bytes((number,)), "sha256"))
    return b"".join(blocks)[:num_bytes]
