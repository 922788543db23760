"""What `fedward consortium invite | approve | renew` do: how a member gets its certificates."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.enrolment_request import (
    MAX_REQUEST_BYTES,
    JoinRequest,
    RenewalRequest,
    read_request,
)
from fedward_common.consortium.fingerprint_words import verify_words
from fedward_common.consortium.invitation import Invitation, token_of
from fedward_common.consortium.roster import Role
from fedward_common.consortium.tls_authority import tls_authority_of_pem
from fedward_common.errors import ConfigurationError, StoppedError
from fedward_common.identities import COORDINATOR
from fedward_server.consortium.desk import Desk, read_bounded
from fedward_server.consortium.issuing import (
    Authority,
    end_of_certificate,
    lapsed_members,
)
from fedward_server.consortium.office_display import (
    date_of,
    print_json,
    say,
    statement_of,
)
from fedward_server.consortium.office_events import (
    Admitted,
    Invited,
    Renewed,
)
from fedward_server.consortium.office_folder import Office
from fedward_server.consortium.office_rules import (
    admissible,
    admit,
    answer_for,
    invite,
    renew,
    renewable,
)
from fedward_server.consortium.office_state import OfficeState

_MAX_PEM_BYTES = 1 << 16


def run_invite(
    desk: Desk,
    site: str | None,
    *,
    organisation: str,
    is_coordinator: bool,
    days: int,
    address: str,
    tls_authority: Path | None = None,
    out: Path | None,
) -> None:
    """Invite a site or the coordinator, and give its token once."""
    name = _invited_name(site, is_coordinator=is_coordinator)
    role: Role = "coordinator" if is_coordinator else "site"
    trusted = b"" if tls_authority is None else _tls_authority_in(tls_authority)
    given: list[Invitation] = []

    def decide(state: OfficeState) -> Invited:
        event, invitation = invite(
            state, site=name, organisation=organisation, role=role, days=days, address=address,
            now_seconds=desk.now_seconds(), entropy=os.urandom, tls_authority=trusted,
        )  # fmt: skip
        given.append(invitation)
        return event

    Office(desk.folder).change(decide)
    token = token_of(given[0])
    if out is not None:
        write_atomically(out, f"{token}\n".encode(), mode=0o600)
    until = date_of(given[0].expires_at_seconds)
    if desk.json:
        shown = {"token": token} if out is None else {"token_file": str(out)}
        print_json({"site": name, "organisation": organisation, "expires": until, **shown})
        return
    where = f"The token is in {out}" if out else "The token stands below and is shown once"
    command = "fedward coordinator join" if is_coordinator else "fedward-site join"
    say(f"{name!r} of {organisation!r} may join until {until}. {where}: a secret for whoever runs")
    say(f"  {command} --token-file FILE")
    if out is None:
        sys.stdout.write(f"{token}\n")


def run_approve(
    desk: Desk, site: str, *, request_file: Path | None, out: Path | None, fingerprint: str | None
) -> None:
    """Admit who asks, once a person has compared the fingerprint words."""
    office = Office(desk.folder)
    state = office.state()
    request = _join_request(state, site, request_file)
    invitation = admissible(state, request, site=site, now_seconds=desk.now_seconds())
    if not invitation.answered_sha256:
        _confirm(desk, request, is_known=site in state.members, fingerprint=fingerprint)
        state = _admit_one(desk, office, desk.authority(office, state), request)
    _give_answer(desk, state, site, out, words=request.words())


def run_approve_waiting(desk: Desk, sites: Sequence[str] | None) -> None:
    """Admit several whose requests came online; a person compares the words of each.

    Args:
        desk: With somebody to be asked.
        sites: None is everybody whose request waits.

    Raises:
        ConfigurationError: No request waits, or nobody is there to compare.
        StoppedError: Somebody's words were not confirmed; the others are admitted.
    """
    office = Office(desk.folder)
    state = office.state()
    requests = [_join_request(state, one, None) for one in sites or _waiting_sites(state)]
    for request in requests:
        admissible(state, request, site=request.site, now_seconds=desk.now_seconds())
    compared = [one for one in requests if _is_confirmed(desk, state, one)]
    if compared:
        authority = desk.authority(office, state)
        for request in compared:
            state = _admit_one(desk, office, authority, request)
    if desk.json:
        print_json(statement_of(state, desk.now_seconds()))
    else:
        for request in compared:
            _say_member(state, request.site)
    if left := [one.site for one in requests if one not in compared]:
        raise StoppedError(f"not admitted: {', '.join(left)}", hint="their requests still wait")


def run_renew(desk: Desk, site: str | None, *, request_file: Path | None, out: Path | None) -> None:
    """Give members their next certificate; without a site, all whose request came online."""
    office = Office(desk.folder)
    state = office.state()
    requests = _renewals(state, site, request_file)
    if not requests:
        _show_nothing_waits(desk)
        return
    for one in requests:
        renewable(state, one)
    authority = desk.authority(office, state)
    for request in requests:
        state = _renew_one(desk, office, authority, request)
    if out is not None:
        write_atomically(out, answer_for(state, requests[0].site))
    if desk.json:
        print_json(statement_of(state, desk.now_seconds()))
        return
    for request in requests:
        until = date_of(end_of_certificate(state.members[request.site]))
        say(f"{request.site!r} has a certificate until {until}; the roster is as it was.")
    if out is not None:
        say(f"Send {out} to the site; there: fedward-site renew --answer {out.name}")


def _tls_authority_in(file: Path) -> bytes:
    content = read_bounded(file, _MAX_PEM_BYTES)
    return tls_authority_of_pem(content)


def _invited_name(site: str | None, *, is_coordinator: bool) -> str:
    if is_coordinator and site in (None, COORDINATOR):
        return COORDINATOR
    if is_coordinator or site is None:
        raise ConfigurationError(
            "either a site's name or --coordinator is needed",
            hint="fedward consortium invite SITE --organisation NAME",
        )
    return site


def _join_request(state: OfficeState, site: str, file: Path | None) -> JoinRequest:
    if file is not None:
        request = read_request(read_bounded(file, MAX_REQUEST_BYTES))
    else:
        # A request of an invitation that was replaced waits for nobody any more.
        invited = [one for one in state.invitations.values() if one.site == site and one.is_open]
        if not any(one.waiting for one in invited):
            raise ConfigurationError(
                f"no request of {site[:60]!r} waits here", hint="give the file with --request"
            )
        request = read_request(next(one.waiting for one in invited if one.waiting))
    if not isinstance(request, JoinRequest):
        raise ConfigurationError(
            "this request is for a member's next certificate",
            hint=f"fedward consortium renew {site} --request FILE --out FILE",
        )
    return request


def _renewals(state: OfficeState, site: str | None, file: Path | None) -> list[RenewalRequest]:
    if file is not None:
        contents = [read_bounded(file, MAX_REQUEST_BYTES)]
    else:
        members = [one for one in state.members.values() if site in (None, one.site)]
        contents = [one.waiting for one in members if one.waiting]
    found = []
    for content in contents:
        request = read_request(content)
        if not isinstance(request, RenewalRequest) or site not in (None, request.site):
            raise ConfigurationError(
                "this is no renewal request of that site",
                hint="fedward consortium approve SITE is for a site's first certificate",
            )
        found.append(request)
    return found


def _renew_one(
    desk: Desk, office: Office, authority: Authority, request: RenewalRequest
) -> OfficeState:
    def decide(now: OfficeState) -> Renewed | None:
        return renew(now, authority, request, now_seconds=desk.now_seconds(), entropy=os.urandom)

    return office.change(decide)[0]


def _admit_one(
    desk: Desk, office: Office, authority: Authority, request: JoinRequest
) -> OfficeState:
    def decide(now: OfficeState) -> Admitted | None:
        return admit(
            now, authority, request, site=request.site, now_seconds=desk.now_seconds(),
            entropy=os.urandom,
        )  # fmt: skip

    return office.change(decide)[0]


def _waiting_sites(state: OfficeState) -> list[str]:
    found = sorted(one.site for one in state.invitations.values() if one.is_open and one.waiting)
    if not found:
        raise ConfigurationError(
            "no request to join waits here", hint="fedward consortium roster shows who is invited"
        )
    return found


def _is_confirmed(desk: Desk, state: OfficeState, request: JoinRequest) -> bool:
    try:
        _confirm(desk, request, is_known=request.site in state.members, fingerprint=None)
    except StoppedError:
        return False
    return True


def _confirm(desk: Desk, request: JoinRequest, *, is_known: bool, fingerprint: str | None) -> None:
    """See that a person compared the words with the hospital."""
    words = request.words()
    if fingerprint is not None:
        verify_words(words, fingerprint)
        return
    say(f"Request of {request.site!r}, {request.organisation!r}:")
    say(f"  {' '.join(words)}")
    if is_known:
        say("It is a member already: its present key will count no longer.")
    if desk.ask is None:
        raise ConfigurationError(
            "nobody compared the fingerprint words with the hospital",
            hint="call a number that you know, then give --fingerprint with the words you heard",
            code="FINGERPRINT_NOT_COMPARED",
        )
    if not desk.ask("Did the hospital read these eight words to you over the telephone?"):
        raise StoppedError("stopped", hint="nobody was admitted")


def _give_answer(
    desk: Desk, state: OfficeState, site: str, out: Path | None, *, words: tuple[str, ...]
) -> None:
    if out is not None:
        write_atomically(out, answer_for(state, site))
    if desk.json:
        until = date_of(end_of_certificate(state.members[site]))
        shown = {"site": site, "words": list(words), "certificate_until": until}
        print_json(shown | {"roster_version": state.roster_version, "out": str(out or "")})
        return
    _say_member(state, site)
    if out is not None:
        command = "fedward coordinator" if site == COORDINATOR else "fedward-site"
        say(f"Send {out} back; there: {command} join --answer {out.name}")
    for one in lapsed_members(state, now_seconds=desk.now_seconds()):
        say(f"{one!r} is not in it: its certificate counts no longer")


def _say_member(state: OfficeState, site: str) -> None:
    until = date_of(end_of_certificate(state.members[site]))
    say(f"{site!r} is a member until {until}, from roster version {state.roster_version} on.")


def _show_nothing_waits(desk: Desk) -> None:
    if desk.json:
        print_json({"renewed": []})
        return
    say("No renewal waits here.")
