"""Signed messages as files: what proves later who said what to whom.

The bytes are those that were signed, so that whoever has the sender's key can check them again.
"""

from dataclasses import dataclass

from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.envelope import Envelope
from fedward_common.wire.messages import plain_dataclass, plain_values


@dataclass(frozen=True)
class SignedExchange:
    """A request and the answer to it, as each was signed."""

    request: Envelope
    reply: Envelope


def encode_envelope(envelope: Envelope) -> bytes:
    """Give an envelope's canonical bytes."""
    return encode_canonically(plain_values(envelope))


def decode_envelope(unverified: bytes) -> Envelope:
    """Read what `encode_envelope` wrote; nothing of it is verified.

    Raises:
        MalformedMessageError: It is none.
    """
    return plain_dataclass(Envelope, decode_canonically(unverified))


def encode_exchange(exchange: SignedExchange) -> bytes:
    """Give the canonical bytes of both envelopes."""
    return encode_canonically(plain_values(exchange))


def decode_exchange(unverified: bytes) -> SignedExchange:
    """Read what `encode_exchange` wrote; nothing of it is verified.

    Raises:
        MalformedMessageError: It is none.
    """
    return plain_dataclass(SignedExchange, decode_canonically(unverified))
