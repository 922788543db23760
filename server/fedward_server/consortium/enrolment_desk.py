"""What a listener answers to a request that came online, without the authority's key.

A request of an open invitation, or of a member for its next certificate, is kept until a person at
the office has decided; who asks again with the same bytes is told how it stands. Nothing else is
kept, so nobody without an invitation makes the register grow. A refusal is a code.
"""

import hashlib
from dataclasses import dataclass

from fedward_common.consortium.enrolment_answer import refused, waiting
from fedward_common.consortium.enrolment_request import (
    JoinRequest,
    RenewalRequest,
    read_request,
)
from fedward_common.errors import FedwardError
from fedward_server.consortium.office_events import Requested
from fedward_server.consortium.office_rules import admissible, answer_for, renewable
from fedward_server.consortium.office_state import OfficeState, apply


@dataclass(frozen=True)
class Answered:
    """What comes of a request.

    Attributes:
        state: What the office knows now.
        answer: Bytes for whoever asked.
        event: What happened, to be kept before the answer leaves; None if nothing did.
    """

    state: OfficeState
    answer: bytes
    event: Requested | None = None


def answer_enrolment(state: OfficeState, unverified: bytes, *, now_seconds: float) -> Answered:
    """Answer a request that came from anybody.

    Args:
        state: What the office knows.
        unverified: What came.
        now_seconds: Since 1970, UTC.
    """
    try:
        request = read_request(unverified)
        if isinstance(request, JoinRequest):
            return _join(state, request, unverified, now_seconds)
        return _renew(state, request, unverified, now_seconds)
    except FedwardError as error:
        return Answered(state, refused(error.code))


def _join(state: OfficeState, request: JoinRequest, content: bytes, now_seconds: float) -> Answered:
    invitation = admissible(state, request, site=request.site, now_seconds=now_seconds)
    if invitation.answered_sha256:
        member = state.members.get(request.site)
        if member is None or member.key != request.key.raw:
            return Answered(state, refused("NOT_A_MEMBER"))
        return Answered(state, answer_for(state, request.site))
    if invitation.waiting and invitation.waiting != content:
        # One token, two keys: only a person can tell which of them is the hospital's.
        return Answered(state, refused("INVITATION_TAKEN"))
    if invitation.waiting:
        return Answered(state, waiting())
    return _kept(
        state, Requested(int(now_seconds), request.site, request.invitation_key.raw, content)
    )


def _renew(
    state: OfficeState, request: RenewalRequest, content: bytes, now_seconds: float
) -> Answered:
    member = renewable(state, request)
    if member.answered_sha256 == hashlib.sha256(content).hexdigest():
        return Answered(state, answer_for(state, member.site))
    if member.waiting and _follows(member.waiting) == request.certificate_sha256:
        # Ed25519 lets a member sign the same request in many ways; one of them is enough to keep.
        return Answered(state, waiting())
    return _kept(state, Requested(int(now_seconds), member.site, b"", content))


def _follows(kept: bytes) -> bytes:
    """Give which certificate a kept renewal request follows."""
    request = read_request(kept)
    return request.certificate_sha256 if isinstance(request, RenewalRequest) else b""


def _kept(state: OfficeState, event: Requested) -> Answered:
    return Answered(apply(state, event), waiting(), event)
