"""What the office's commands print: tables for a person, one JSON object for a program."""

import functools
import hashlib
import json
import sys
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedward_common.command_line import printable
from fedward_common.consortium.certificates import read_authority
from fedward_common.consortium.roster import Roster
from fedward_server.consortium.issuing import DAY_SECONDS, end_of_certificate, read_own_roster
from fedward_server.consortium.office_state import Member, OfficeState

# A hospital renews at two thirds of its certificate's life; the office should not be later.
_SOON_DAYS = 14


def date_of(seconds: int) -> str:
    """Give a moment as a date and a minute, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def say(text: str) -> None:
    """Print a line for a person, beside what a program reads."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(escape(printable(text)))


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def statement_of(state: OfficeState, now_seconds: float) -> dict[str, Any]:
    """Give what the office knows as plain values, without anything secret."""
    authority = read_authority(state.authority)
    return {
        "consortium": state.consortium,
        "authority_sha256": hashlib.sha256(state.authority).hexdigest(),
        "authority_counts_until": date_of(authority.not_after_seconds),
        "roster": _roster_of(state, now_seconds),
        "members": [_row_of(state, one, now_seconds) for _, one in sorted(state.members.items())],
        "invitations": [
            {
                "site": one.site,
                "organisation": one.organisation,
                "expires": date_of(one.expires_at_seconds),
                "expired": now_seconds > one.expires_at_seconds,
                "request_waiting": bool(one.waiting),
            }
            for one in state.invitations.values()
            if one.is_open
        ],
    }


def show_roster(statement: dict[str, Any]) -> None:
    """Print members, invitations, and how long the roster counts."""
    console = Console(highlight=False)
    members = Table(box=box.SIMPLE_HEAD, title=escape(printable(statement["consortium"])))
    for name in ("site", "organisation", "certificate until", "state"):
        members.add_column(name)
    for one in statement["members"]:
        cells = one["site"], one["organisation"], one["certificate_until"], one["state"]
        members.add_row(*(escape(printable(cell)) for cell in cells))
    console.print(members)
    for one in statement["invitations"]:
        how = "a request waits" if one["request_waiting"] else "no request yet"
        how = "expired" if one["expired"] and not one["request_waiting"] else how
        line = f"invited: {one['site']}, {one['organisation']}, until {one['expires']}: {how}"
        console.print(escape(printable(line)), soft_wrap=True)
    console.print(_line_on(statement["roster"]), soft_wrap=True)


def _line_on(roster: dict[str, Any] | None) -> str:
    if roster is None:
        return "No roster yet: it begins with the coordinator."
    line = f"Roster version {roster['version']}, counts until {roster['counts_until']}."
    if roster["is_ending"]:
        line += " Issue it anew: fedward consortium roster --refresh"
    return line


def _roster_of(state: OfficeState, now_seconds: float) -> dict[str, Any] | None:
    if not state.roster:
        return None
    until = _present(state).issued_at_seconds + state.roster_days * DAY_SECONDS
    soon = min(_SOON_DAYS, state.roster_days / 3) * DAY_SECONDS
    return {
        "version": state.roster_version,
        "sha256": hashlib.sha256(state.roster).hexdigest(),
        "issued": date_of(_present(state).issued_at_seconds),
        "counts_until": date_of(until),
        "is_ending": now_seconds > until - soon,
    }


@functools.lru_cache(maxsize=1)
def _roster_in(signed: bytes, authority_der: bytes) -> Roster:
    return read_own_roster(signed, read_authority(authority_der))


def _present(state: OfficeState) -> Roster:
    return _roster_in(state.roster, state.authority)


def _row_of(state: OfficeState, member: Member, now_seconds: float) -> dict[str, Any]:
    until = end_of_certificate(member)
    is_listed = any(one.site == member.site for one in _present(state).entries)
    return {
        "site": member.site,
        "organisation": member.organisation,
        "role": member.role,
        "certificate_until": date_of(until),
        "in_roster": is_listed,
        "state": _state_of(member, until, is_listed, now_seconds),
    }


def _state_of(member: Member, until: int, is_listed: bool, now_seconds: float) -> str:
    if now_seconds > until:
        return "lapsed: renew its certificate"
    if member.waiting:
        return "renewal waits: fedward consortium renew"
    if not is_listed:
        return "not in the roster: fedward consortium roster --refresh"
    if now_seconds > until - _SOON_DAYS * DAY_SECONDS:
        return "its renewal has not come"
    return "member"
