"""What the office decides: each takes what is known and what is asked, and gives what happens.

Pure: time, randomness and the authority's key are arguments. Everything is checked again under the
office's lock, so what a person saw before cannot be overtaken by another command.
"""

import hashlib

from fedward_common.consortium.enrolment_answer import admitted
from fedward_common.consortium.enrolment_request import JoinRequest, RenewalRequest
from fedward_common.consortium.invitation import Invitation, parse_member_name
from fedward_common.consortium.organisations import parse_organisation, without_spelling
from fedward_common.consortium.roster import Role
from fedward_common.crypto.entropy import Entropy, draw
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import ConfigurationError, UnverifiedMessageError
from fedward_common.identities import COORDINATOR, parse_site_ids
from fedward_server.consortium.issuing import (
    DAY_SECONDS,
    Authority,
    next_certificate,
    next_roster,
)
from fedward_server.consortium.office_events import (
    Admitted,
    Invited,
    Renewed,
    Revoked,
    RosterIssued,
    Withdrawn,
)
from fedward_server.consortium.office_state import Member, OfficeState, OpenInvitation


def invite(
    state: OfficeState,
    *,
    site: str,
    organisation: str,
    role: Role,
    days: int,
    address: str,
    now_seconds: float,
    entropy: Entropy,
    tls_authority: bytes = b"",
) -> tuple[Invited, Invitation]:
    """Invite a site or a coordinator; an earlier invitation of the same name counts no longer.

    Raises:
        ConfigurationError: A name cannot be used or could be confused with a member's, or a member
            of this name belongs to another organisation.
    """
    name = parse_member_name(site, role)
    parse_organisation(organisation)
    _require_distinct(state, name, organisation)
    invitation = Invitation(
        state.consortium,
        hashlib.sha256(state.authority).digest(),
        name,
        organisation,
        role,
        int(now_seconds) + days * DAY_SECONDS,
        address,
        SigningKey.from_raw(draw(entropy, 32)),
        tls_authority,
    )
    public = invitation.key.verifying_key.raw
    happened = Invited(
        int(now_seconds), public, name, organisation, role, invitation.expires_at_seconds
    )
    return happened, invitation


def admissible(
    state: OfficeState, request: JoinRequest, *, site: str, now_seconds: float
) -> OpenInvitation:
    """Check that a request may be granted, and give the invitation that it came of.

    Args:
        state: What the office knows.
        request: Verified.
        site: Whom the person at the office means to admit.
        now_seconds: Since 1970, UTC.

    Raises:
        UnverifiedMessageError: `REQUEST_OTHER_CONSORTIUM`, `REQUEST_OTHER_SITE`,
            `INVITATION_UNKNOWN`, `INVITATION_OTHER`, `INVITATION_USED`, `INVITATION_WITHDRAWN`,
            `INVITATION_EXPIRED` or `REQUEST_KEY_TAKEN`.
    """
    own = state.consortium, hashlib.sha256(state.authority).digest()
    if (request.consortium, request.authority_sha256) != own:
        raise _refused("REQUEST_OTHER_CONSORTIUM", "the request is for another consortium")
    if request.site != site:
        raise _refused(
            "REQUEST_OTHER_SITE", f"the request is of {request.site!r}, not of {site[:60]!r}"
        )
    invitation = state.invitations.get(request.invitation_key.raw)
    if invitation is None:
        raise _refused("INVITATION_UNKNOWN", "this office never gave the request's invitation out")
    asked = request.site, request.organisation, request.role
    if (invitation.site, invitation.organisation, invitation.role) != asked:
        raise _refused("INVITATION_OTHER", "the invitation was for another site or organisation")
    if invitation.answered_sha256 not in ("", request.sha256):
        raise _refused("INVITATION_USED", f"the invitation of {request.site!r} was used before")
    if invitation.is_withdrawn:
        raise _refused("INVITATION_WITHDRAWN", f"the invitation of {request.site!r} was replaced")
    others = (one for one in state.members.values() if one.site != request.site)
    if any(one.key == request.key.raw for one in others):
        raise _refused("REQUEST_KEY_TAKEN", f"the key of {request.site!r} is another member's")
    is_answered = invitation.answered_sha256 == request.sha256
    came_in_time = hashlib.sha256(invitation.waiting).hexdigest() == request.sha256
    if now_seconds > invitation.expires_at_seconds and not (is_answered or came_in_time):
        raise _refused("INVITATION_EXPIRED", f"the invitation of {request.site!r} has expired")
    return invitation


def admit(
    state: OfficeState,
    authority: Authority,
    request: JoinRequest,
    *,
    site: str,
    now_seconds: float,
    entropy: Entropy,
) -> Admitted | None:
    """Certify who asks, and issue the roster that has it; None if this was done before.

    Raises:
        UnverifiedMessageError: As `admissible`.
        ConfigurationError: The certificate or the roster cannot be issued.
    """
    invitation = admissible(state, request, site=site, now_seconds=now_seconds)
    if invitation.answered_sha256:
        _require_still_member(state, request)
        return None
    member = Member(
        request.site,
        request.organisation,
        request.role,
        request.key.raw,
        request.node_key,
        next_certificate(state, authority, request, request.key, now_seconds, entropy).der,
        request.sha256,
    )
    members = {**state.members, member.site: member}
    version, roster = next_roster(state, authority, members, now_seconds)
    return Admitted(
        int(now_seconds),
        request.invitation_key.raw,
        request.sha256,
        member.site,
        member.organisation,
        member.role,
        member.key,
        member.node_key,
        member.certificate,
        roster,
        version,
    )


def renewable(state: OfficeState, request: RenewalRequest) -> Member:
    """Check that a member may have its next certificate.

    Raises:
        UnverifiedMessageError: `REQUEST_OTHER_CONSORTIUM`, `NOT_A_MEMBER`, `REQUEST_OTHER_KEY`, or
            `REPLAY`, where the request follows another certificate than the newest.
    """
    if request.consortium != state.consortium:
        raise _refused("REQUEST_OTHER_CONSORTIUM", "the request is for another consortium")
    member = state.members.get(request.site)
    if member is None:
        raise _refused("NOT_A_MEMBER", f"{request.site[:60]!r} is no member")
    if member.key != request.key.raw:
        raise _refused(
            "REQUEST_OTHER_KEY",
            f"the request of {member.site!r} is signed by another key than its certificate's",
        )
    is_newest = request.certificate_sha256 == hashlib.sha256(member.certificate).digest()
    if not is_newest and member.answered_sha256 != request.sha256:
        raise _refused("REPLAY", f"{member.site!r} was given a newer certificate since")
    return member


def renew(
    state: OfficeState,
    authority: Authority,
    request: RenewalRequest,
    *,
    now_seconds: float,
    entropy: Entropy,
) -> Renewed | None:
    """Certify a member's key for the next time; None if this was done before.

    Raises:
        UnverifiedMessageError: As `renewable`.
    """
    member = renewable(state, request)
    if member.answered_sha256 == request.sha256:
        return None
    key = VerifyingKey(member.key)
    certificate = next_certificate(state, authority, member, key, now_seconds, entropy)
    return Renewed(int(now_seconds), request.sha256, member.site, certificate.der)


def revoke(
    state: OfficeState, authority: Authority | None, site: str, *, now_seconds: float
) -> Revoked | Withdrawn:
    """Remove a member, or take an open invitation back where there is no member yet.

    Args:
        state: What the office knows.
        authority: Needed for a member alone.
        site: Its name.
        now_seconds: Since 1970, UTC.

    Raises:
        ConfigurationError: Nobody has this name, or it is the coordinator.
    """
    if site in state.members:
        if site == COORDINATOR:
            raise ConfigurationError(
                "a roster without a coordinator cannot be issued",
                hint="invite another with: fedward consortium invite --coordinator; "
                "approving it removes this one",
            )
        if authority is None:
            raise ConfigurationError("removing a member needs the authority's key")
        members = {name: one for name, one in state.members.items() if name != site}
        version, roster = next_roster(state, authority, members, now_seconds)
        return Revoked(int(now_seconds), site, roster, version)
    if not any(one.is_open and one.site == site for one in state.invitations.values()):
        raise ConfigurationError(
            f"{site[:60]!r} is no member, and no invitation of it is open",
            hint="fedward consortium roster shows who is",
        )
    return Withdrawn(int(now_seconds), site)


def issue_roster(
    state: OfficeState, authority: Authority, *, above: int, now_seconds: float
) -> RosterIssued:
    """Issue the next version for the members there are.

    Args:
        state: What the office knows.
        authority: Signs.
        above: A version that somebody has seen, where the office does not know of it.
        now_seconds: Since 1970, UTC.
    """
    version, roster = next_roster(state, authority, state.members, now_seconds, above=above)
    return RosterIssued(int(now_seconds), roster, version)


def answer_for(state: OfficeState, site: str) -> bytes:
    """Give what a member is sent: certificates, and the present roster."""
    member = state.members[site]
    return admitted(authority=state.authority, certificate=member.certificate, roster=state.roster)


def _require_distinct(state: OfficeState, name: str, organisation: str) -> None:
    """Find now what would keep a later roster from being issued."""
    invited = [one for one in state.invitations.values() if one.is_open]
    present: list[Member | OpenInvitation] = [*state.members.values(), *invited]
    for one in present:
        if one.site == name and one.organisation != organisation and name in state.members:
            raise ConfigurationError(
                f"{name!r} is a member, of {one.organisation!r}",
                hint="revoke it first if it belongs to another organisation now",
            )
        is_same = one.organisation == organisation
        if not is_same and without_spelling(one.organisation) == without_spelling(organisation):
            raise ConfigurationError(
                f"organisation {organisation!r} is known as {one.organisation!r}",
                hint="write it as it is known: organisations are counted",
            )
    parse_site_ids({one.site for one in present if one.role == "site"} | {name} - {COORDINATOR})


def _require_still_member(state: OfficeState, request: JoinRequest) -> None:
    member = state.members.get(request.site)
    if member is None or member.key != request.key.raw:
        raise _refused("INVITATION_USED", f"{request.site!r} was admitted and removed since")


_INVITE_ANEW = "invite the site anew: fedward consortium invite"
_HINTS = {
    "REQUEST_OTHER_CONSORTIUM": "it belongs to another office; check which file this is",
    "REQUEST_OTHER_SITE": "name the site that the file is of, or ask for the right file",
    "INVITATION_UNKNOWN": _INVITE_ANEW,
    "INVITATION_OTHER": "somebody changed what was invited; " + _INVITE_ANEW,
    "INVITATION_USED": "if the site did not send both requests, somebody else has its token; "
    + _INVITE_ANEW,
    "INVITATION_WITHDRAWN": "a newer invitation was given out, or it was taken back; "
    "ask the site for a request of the newest",
    "INVITATION_EXPIRED": _INVITE_ANEW,
    "REQUEST_KEY_TAKEN": "its home is a copy of the other's; join with a home of its own",
    "NOT_A_MEMBER": "it was removed, or never joined; " + _INVITE_ANEW,
    "REQUEST_OTHER_KEY": "a renewal keeps the key; for a new one, " + _INVITE_ANEW,
    "REPLAY": "ask the site for a new request, or send it the newest answer",
}


def _refused(code: str, what: str) -> UnverifiedMessageError:
    return UnverifiedMessageError(what, hint=_HINTS[code], code=code)
