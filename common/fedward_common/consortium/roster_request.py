"""A member's question whether there is a newer roster, so that removals reach it at once.

It is signed, for a roster names hospitals and is no business of a stranger's. Who answers is not
believed for it: the roster that comes is signed by the consortium's authority, or is worth nothing.
"""

from dataclasses import dataclass

from fedward_common.consortium.roster import Roster
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import MalformedMessageError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import Plain, decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass

MAX_ROSTER_REQUEST_BYTES = 1024

_KIND = "fedward roster request 1"


@dataclass(frozen=True)
class RosterRequest:
    """A request whose signature was checked.

    Attributes:
        known_version: The newest that the member looked at; 0 for none.
    """

    consortium: str
    site: str
    known_version: int


@dataclass(frozen=True)
class _Frame:
    kind: str
    body: bytes
    signature: bytes


def make_roster_request(
    key: SigningKey, *, consortium: str, site: str, known_version: int
) -> bytes:
    """Ask for the roster, if it is newer than `known_version`."""
    body: dict[str, Plain] = {
        "consortium": consortium,
        "site": site,
        "known_version": known_version,
    }
    encoded = encode_canonically(body)
    signature = key.sign(encoded, context=_KIND)
    return encode_canonically({"kind": _KIND, "body": encoded, "signature": signature})


def is_roster_request(unverified: bytes) -> bool:
    """Say whether bytes are meant as one."""
    return _KIND.encode() in unverified[:MAX_ROSTER_REQUEST_BYTES]


def verify_roster_request(unverified: bytes, roster: Roster) -> RosterRequest:
    """Check a request.

    Args:
        unverified: What came.
        roster: The present one; only its members are answered.

    Raises:
        MalformedMessageError: It is no such request.
        UnverifiedMessageError: `REQUEST_OTHER_CONSORTIUM`, `NOT_A_MEMBER`, or a signature does not
            fit.
    """
    frame = plain_dataclass(
        _Frame, decode_canonically(unverified, max_bytes=MAX_ROSTER_REQUEST_BYTES)
    )
    if frame.kind != _KIND:
        raise MalformedMessageError("this is no request for a roster")
    decoded = decode_canonically(frame.body, max_bytes=MAX_ROSTER_REQUEST_BYTES)
    request = plain_dataclass(RosterRequest, decoded)
    if request.consortium != roster.consortium:
        raise UnverifiedMessageError(
            "the request is for another consortium", code="REQUEST_OTHER_CONSORTIUM"
        )
    try:
        member = roster.entry_of(request.site)
    except UnverifiedMessageError as error:
        raise UnverifiedMessageError(str(error), hint=error.hint, code="NOT_A_MEMBER") from error
    member.key.verify(frame.signature, frame.body, context=_KIND)
    return request
