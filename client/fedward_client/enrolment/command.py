"""What `fedward-site join | renew | leave | roster` do and print."""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedward_client.cohort_confirmation import ask_on_terminal
from fedward_client.enrolment.accepted_members import (
    KnownMembers,
    accept_waiting,
    accepted_members,
    waiting_members,
)
from fedward_client.enrolment.joining import (
    Request,
    begin_joining,
    finish_joining,
    pending_request,
)
from fedward_client.enrolment.leaving import leave
from fedward_client.enrolment.membership_files import note_membership, own_certificate
from fedward_client.enrolment.office_line import office_line
from fedward_client.enrolment.online_joining import join_online
from fedward_client.enrolment.renewal import take_renewal, write_renewal_request
from fedward_client.site_home import SiteHome
from fedward_common.command_line import printable
from fedward_common.consortium.certificates import is_renewal_due
from fedward_common.consortium.enrolment_answer import MAX_ANSWER_BYTES, Membership
from fedward_common.consortium.invitation import token_given
from fedward_common.consortium.tls_authority import pem_of_tls_authority
from fedward_common.errors import ConfigurationError, MalformedMessageError, StoppedError

Now = Callable[[], float]


def run_join(
    home: Path,
    *,
    token: str | None,
    token_file: Path | None,
    answer: Path | None,
    cohort: str,
    json_output: bool,
    waits: bool = True,
    now_seconds: Now = time.time,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Make the site's request, or become a member by the office's answer.

    Raises:
        ConfigurationError: Two of token, token file and answer were given, or what was given cannot
            be used.
        UnverifiedMessageError: Online: the office refuses, or is another server.
        FedwardError: Online: `OFFICE_UNREACHABLE`.
        StoppedError: Online: a person ended the waiting.
    """
    if answer is None:
        if token is None and token_file is None:
            request = pending_request(home)
        else:
            given = token_given(token, token_file, answer)
            request = begin_joining(home, given, cohort=cohort, now_seconds=now_seconds())
        if not request.invitation.address:
            _show_request(request, json_output=json_output)
            return
        _ask_online(home, request, wait if waits else None, now_seconds, json_output=json_output)
        return
    token_given(token, token_file, answer)
    membership = finish_joining(home, _read(answer), now_seconds=now_seconds())
    if membership is None:
        raise ConfigurationError(
            "nobody at the office has decided yet", hint="ask again when somebody has"
        )
    _show_membership(membership, json_output=json_output)


def _ask_online(
    folder: Path,
    request: Request,
    wait: Callable[[float], None] | None,
    now_seconds: Now,
    *,
    json_output: bool,
) -> None:
    invited = request.invitation
    pem = pem_of_tls_authority(invited.tls_authority).decode()
    if not json_output:
        _say(f"{invited.site!r} of {invited.organisation!r} asks to join {invited.consortium!r}")
        _say(f"at {invited.address}. Call the office at a number that you know, and read out:")
        _say(f"     {' '.join(request.words)}")
    try:
        membership = join_online(
            SiteHome(folder.absolute()), request, office_line(invited.address, pem),
            now_seconds=now_seconds, wait=wait, say=_say,
        )  # fmt: skip
    except KeyboardInterrupt as interrupt:
        raise StoppedError(
            "stopped waiting for the office",
            hint="fedward-site join asks again with the same request, whenever you like",
        ) from interrupt
    if membership is not None:
        _show_membership(membership, json_output=json_output)
    elif json_output:
        shown = {"member": False, "site": invited.site, "sent": True}
        _print_json(shown | {"request": str(request.file), "words": list(request.words)})
    else:
        _say("The request waits at the office. When it has decided: fedward-site join")


def _show_membership(membership: Membership, *, json_output: bool) -> None:
    until = _date_of(membership.certificate.not_after_seconds)
    if json_output:
        shown = {"member": True, "site": membership.certificate.site, "certificate_until": until}
        _print_json(shown | {"roster_version": membership.roster.version})
        return
    _say(f"This site is a member of {membership.authority.consortium!r} until {until}.")
    _say("With whom: fedward-site roster. What a job may do here: policy.toml in the home.")


def run_renew(
    home_folder: Path, *, answer: Path | None, json_output: bool, now_seconds: Now = time.time
) -> None:
    """Make the request for the next certificate, or take the office's answer to it."""
    home = SiteHome(home_folder.absolute())
    if answer is not None:
        took = take_renewal(home, _read(answer), now_seconds=now_seconds())
        until = _date_of(took.not_after_seconds)
        if json_output:
            _print_json({"renewed": True, "certificate_until": until})
            return
        _say(f"This site's certificate counts until {until}.")
        return
    _, own = own_certificate(home, now_seconds=None)
    write_renewal_request(home)
    file = home.folder / "enrolment" / "renewal.cbor"
    due = is_renewal_due(own, now_seconds=now_seconds())
    until = _date_of(own.not_after_seconds)
    if json_output:
        _print_json(
            {"renewed": False, "request": str(file), "due": due, "certificate_until": until}
        )
        return
    _say(
        f"The present certificate counts until {until}; its renewal is {'' if due else 'not '}due."
    )
    _say(f"Send {file} to the office; then: fedward-site renew --answer FILE")


def run_leave(home: Path, *, yes: bool, json_output: bool, now_seconds: Now = time.time) -> None:
    """End the membership, once somebody meant it.

    Raises:
        ConfigurationError: Nobody is there to be asked, and `--yes` was not given.
        StoppedError: The person said no.
    """
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfigurationError(
                "leaving removes the site's keys for ever", hint="if it is meant, say --yes"
            )
        if not ask_on_terminal("Leaving removes this site's keys for ever. Go on?"):
            raise StoppedError("stopped", hint="nothing was changed")
    had = leave(home, now_seconds=now_seconds())
    if json_output:
        _print_json({"left": had})
        return
    if not had:
        _say("There is no membership to end.")
        return
    _say("The keys and the certificate are gone; ledger, cohorts and audit log are as they were.")
    _say("Tell the office, which removes the site with: fedward consortium revoke SITE")


def run_roster(
    home_folder: Path, *, accept: int | None, json_output: bool, now_seconds: Now = time.time
) -> None:
    """Show with whom this site takes part and who waits; or accept who waits."""
    home = SiteHome(home_folder.absolute())
    if accept is not None:
        accepted = accept_waiting(home, accept)
        note_membership(
            home, "roster accepted", now_seconds=now_seconds(), roster_version=accepted.version
        )
    known, waiting = accepted_members(home), waiting_members(home)
    if json_output:
        _print_json({"accepted": _plain(known), "waiting": _plain(waiting)})
        return
    _show_members(known, waiting)


def _show_request(request: Request, *, json_output: bool) -> None:
    if json_output:
        shown: dict[str, Any] = {"member": False, "site": request.invitation.site}
        _print_json(shown | {"request": str(request.file), "words": list(request.words)})
        return
    invited = request.invitation
    _say(f"{invited.site!r} of {invited.organisation!r} asks to join {invited.consortium!r}.")
    _say(f"1. Send {request.file} to the consortium's office. It holds no secret.")
    _say("2. Call the office at a number that you know, and read out:")
    _say(f"     {' '.join(request.words)}")
    _say("3. With the file that it sends back: fedward-site join --answer FILE")


def _show_members(known: KnownMembers | None, waiting: KnownMembers | None) -> None:
    console = Console(highlight=False)
    if known is None and waiting is None:
        _say("This site takes part with nobody yet: fedward-site join")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("site", "organisation", "key", ""):
        table.add_column(name)
    accepted = known.members if known else ()
    for members, state in ((accepted, "accepted"), (_new(known, waiting), "waits")):
        for site, organisation, _, key in members:
            table.add_row(
                *(escape(printable(one)) for one in (site, organisation, key[:16], state))
            )
    console.print(table)
    if waiting is not None:
        _say(f"To take part with all of them: fedward-site roster --accept {waiting.version}")


def _new(known: KnownMembers | None, waiting: KnownMembers | None) -> tuple[Any, ...]:
    return () if waiting is None else waiting.others_than(known)


def _plain(known: KnownMembers | None) -> dict[str, Any] | None:
    if known is None:
        return None
    names = ("site", "organisation", "role", "key")
    members = [dict(zip(names, one, strict=True)) for one in known.members]
    return {"version": known.version, "sha256": known.sha256, "members": members}


def _date_of(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(MAX_ANSWER_BYTES + 1)
    if len(content) > MAX_ANSWER_BYTES:
        raise MalformedMessageError(f"{file} is too large for an answer of the office")
    return content


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(escape(printable(text)))


def _print_json(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content, indent=2) + "\n")
