"""What an office knows: a pure function of what happened there, in order."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fedward_common.consortium.roster import Role
from fedward_common.errors import CorruptFileError
from fedward_server.consortium.office_events import (
    Admitted,
    Event,
    Founded,
    Invited,
    Renewed,
    Requested,
    Revoked,
    RosterIssued,
    Withdrawn,
)


@dataclass(frozen=True)
class OpenInvitation:
    """An invitation and what became of it.

    Attributes:
        waiting: A request that came online and nobody decided on; empty without one.
        answered_sha256: Of the one request that it let in, in hex; empty before.
        is_withdrawn: Whether the office took it back.
    """

    key: bytes
    site: str
    organisation: str
    role: Role
    expires_at_seconds: int
    waiting: bytes = b""
    answered_sha256: str = ""
    is_withdrawn: bool = False

    @property
    def is_open(self) -> bool:
        """Whether a request may still come of it, if it is in time."""
        return not self.answered_sha256 and not self.is_withdrawn


@dataclass(frozen=True)
class Member:
    """Who was certified and not removed.

    Attributes:
        certificate: The newest, DER.
        answered_sha256: Of the request that it answered, in hex.
        waiting: A renewal request that came online; empty without one.
    """

    site: str
    organisation: str
    role: Role
    key: bytes
    node_key: bytes
    certificate: bytes
    answered_sha256: str
    waiting: bytes = b""


@dataclass(frozen=True)
class OfficeState:
    """Everything an office knows but the authority's key.

    Attributes:
        authority: The authority's certificate, DER.
        invitations: By the public half of their keys.
        members: By site; the coordinator is one of them.
        roster: Signed bytes of the newest version; empty before the first.
    """

    consortium: str
    authority: bytes
    certificate_days: int
    roster_days: int
    invitations: Mapping[bytes, OpenInvitation] = field(default_factory=dict)
    members: Mapping[str, Member] = field(default_factory=dict)
    roster: bytes = b""
    roster_version: int = 0


def state_after(events: Iterable[Event]) -> OfficeState | None:
    """Give what an office knows after these events; None where nothing happened yet.

    Raises:
        CorruptFileError: They cannot have happened in this order.
    """
    state: OfficeState | None = None
    for event in events:
        if isinstance(event, Founded) == (state is not None):
            raise CorruptFileError("the register does not begin once", hint="restore the backup")
        if isinstance(event, Founded):
            state = OfficeState(
                event.consortium, event.authority, event.certificate_days, event.roster_days
            )
        elif state is not None:
            state = apply(state, event)
    return state


def apply(state: OfficeState, event: Event) -> OfficeState:
    """Give what an office knows after one thing more has happened."""
    if isinstance(event, Admitted):
        return _after_admission(state, event)
    if isinstance(event, Renewed):
        member = replace(
            state.members[event.site],
            certificate=event.certificate,
            answered_sha256=event.request_sha256,
            waiting=b"",
        )
        return replace(state, members={**state.members, event.site: member})
    if isinstance(event, Requested):
        return _after_request(state, event)
    if isinstance(event, Invited):
        return _after_invitation(state, event)
    if isinstance(event, Revoked | Withdrawn):
        members = {name: one for name, one in state.members.items() if name != event.site}
        state = _without_open_invitations(replace(state, members=members), event.site)
    if isinstance(event, Revoked | RosterIssued):
        return replace(state, roster=event.roster, roster_version=event.roster_version)
    return state


def _after_invitation(state: OfficeState, event: Invited) -> OfficeState:
    # Of two tokens for one site the older may be the one that got lost.
    state = _without_open_invitations(state, event.site)
    invitation = OpenInvitation(
        event.invitation_key,
        event.site,
        event.organisation,
        event.role,
        event.expires_at_seconds,
    )
    return replace(state, invitations={**state.invitations, event.invitation_key: invitation})


def _after_request(state: OfficeState, event: Requested) -> OfficeState:
    if event.invitation_key:
        invitation = replace(state.invitations[event.invitation_key], waiting=event.request)
        return replace(state, invitations={**state.invitations, event.invitation_key: invitation})
    member = replace(state.members[event.site], waiting=event.request)
    return replace(state, members={**state.members, event.site: member})


def _after_admission(state: OfficeState, event: Admitted) -> OfficeState:
    invitation = replace(
        state.invitations[event.invitation_key], answered_sha256=event.request_sha256, waiting=b""
    )
    fields = {one.name for one in dataclasses.fields(Member)} - {"waiting", "answered_sha256"}
    member = Member(
        **{name: getattr(event, name) for name in fields}, answered_sha256=event.request_sha256
    )
    return replace(
        state,
        invitations={**state.invitations, event.invitation_key: invitation},
        members={**state.members, event.site: member},
        roster=event.roster,
        roster_version=event.roster_version,
    )


def _without_open_invitations(state: OfficeState, site: str) -> OfficeState:
    invitations = {
        key: replace(one, is_withdrawn=True) if one.site == site and one.is_open else one
        for key, one in state.invitations.items()
    }
    return replace(state, invitations=invitations)
