"""A member's question whether there is a newer roster, so that removals reach it at once.

It is signed, for a roster names hospitals and is no business of a stranger's. Who answers is not
believed for it: the roster that comes is signed by the consortium's authority, or is worth nothing.
"""

from dataclasses import dataclass

from fedward_common.consortium.roster import Roster
from fedward_common.consortium.signed_frames import (
    frame_in,
    is_of_kind,
    require_of_member,
    signed_frame,
)
from fedward_common.crypto.signing import SigningKey
from fedward_common.wire.canonical_cbor import Plain
from fedward_common.wire.messages import plain_dataclass

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


def make_roster_request(
    key: SigningKey, *, consortium: str, site: str, known_version: int
) -> bytes:
    """Ask for the roster, if it is newer than `known_version`."""
    body: dict[str, Plain] = {
        "consortium": consortium,
        "site": site,
        "known_version": known_version,
    }
    return signed_frame(key, _KIND, body)


def is_roster_request(unverified: bytes) -> bool:
    """Say whether bytes are meant as one."""
    return is_of_kind(unverified, _KIND)


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
    frame = frame_in(unverified, _KIND)
    request = plain_dataclass(RosterRequest, frame.unverified_body())
    require_of_member(frame, request.consortium, request.site, roster)
    return request
