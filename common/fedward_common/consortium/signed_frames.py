"""A small signed question or answer beside the protocol of a run, and who of the roster asked.

The kind is the context of the signature, so that one is never taken for another.
"""

from dataclasses import dataclass
from typing import Any

from fedward_common.consortium.roster import Roster
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import MalformedMessageError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import Plain, decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

MAX_FRAME_BYTES = 1024


@dataclass(frozen=True)
class Frame:
    """What came, before its signature was checked."""

    kind: str
    body: bytes
    signature: bytes

    def unverified_body(self) -> Any:
        """Give the body as plain values.

        Raises:
            MalformedMessageError: It is not canonical.
        """
        return decode_canonically(self.body, max_bytes=MAX_FRAME_BYTES)


def signed_frame(key: SigningKey, kind: str, body: dict[str, Plain]) -> bytes:
    """Sign a body under its kind."""
    encoded = encode_canonically(body)
    signature = key.sign(encoded, context=kind)
    return encode_canonically({"kind": kind, "body": encoded, "signature": signature})


def is_of_kind(unverified: bytes, kind: str) -> bool:
    """Say whether bytes are meant as a frame of this kind."""
    return kind.encode() in unverified[:MAX_FRAME_BYTES]


def frame_in(unverified: bytes, kind: str) -> Frame:
    """Read a frame, whose signature nobody has checked yet.

    Raises:
        MalformedMessageError: It is none, or of another kind.
    """
    decoded = decode_canonically(unverified, max_bytes=MAX_FRAME_BYTES)
    frame = plain_dataclass(Frame, decoded)
    if frame.kind != kind:
        raise MalformedMessageError(f"{frame.kind[:40]!r} came, {kind!r} was wanted")
    return frame


def require_of_member(frame: Frame, consortium: str, site: str, roster: Roster) -> None:
    """Check that a member of the roster, and no other, signed a frame.

    Raises:
        UnverifiedMessageError: `REQUEST_OTHER_CONSORTIUM`, `NOT_A_MEMBER`, or a signature does not
            fit.
    """
    if consortium != roster.consortium:
        raise UnverifiedMessageError(
            "the request is for another consortium", code="REQUEST_OTHER_CONSORTIUM"
        )
    try:
        member = roster.entry_of(site)
    except UnverifiedMessageError as error:
        raise UnverifiedMessageError(str(error), hint=error.hint, code="NOT_A_MEMBER") from error
    member.key.verify(frame.signature, frame.body, context=frame.kind)
