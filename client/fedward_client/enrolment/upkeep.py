"""What a running daemon does about its membership: the next certificate in time, and removals.

Nothing here stops a round: a certificate is exchanged in one step for another of the same key, and
who is gone from the roster is gone at the next message. What does not work is told once by its
code, kept for `fedward-site status`, and tried again.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fedward_client.enrolment.accepted_members import newest_members
from fedward_client.enrolment.membership_files import (
    enrolment_folder,
    note_membership,
    own_certificate,
    own_key,
)
from fedward_client.enrolment.node_news import DUPLICATE, duplicate_at
from fedward_client.enrolment.office_line import Send
from fedward_client.enrolment.renewal import renew_if_due
from fedward_client.enrolment.roster_news import take_removals
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.clock import Clock
from fedward_common.consortium.enrolment_answer import roster_in
from fedward_common.consortium.roster_request import make_roster_request
from fedward_common.errors import ConfigurationError, FedwardError
from fedward_common.event_lines import Tell
from fedward_common.settings import from_table

ROSTER_SECONDS = 30.0
RENEWAL_SECONDS = 60.0
NEWS_SECONDS = 60.0
LATE_DAYS = 14
TELL_AGAIN_SECONDS = 3600

WAITS = "RENEWAL_WAITS"

_DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class UpkeepRecord:
    """What became of the last tries.

    Attributes:
        renewal: A code; `RENEWAL_WAITS` where the office has the request, empty where all is well.
        renewal_since_seconds: Since when it is so; 1970, UTC.
        roster: A code of why no news of the roster can be had; empty where they can.
        roster_since_seconds: Since when it is so.
        duplicate_at_seconds: When another machine last showed this site's key; 1970, UTC, and 0
            for never.
    """

    renewal: str = ""
    renewal_since_seconds: float = 0.0
    roster: str = ""
    roster_since_seconds: float = 0.0
    duplicate_at_seconds: float = 0.0


@dataclass(frozen=True)
class MembershipStatus:
    """For a person's eyes.

    Attributes:
        until_seconds: Last second in which the certificate counts; 1970, UTC.
        days_left: Until then; negative when it is over.
        is_late: The renewal should have come by now.
    """

    until_seconds: int
    days_left: float
    is_late: bool
    record: UpkeepRecord


class Upkeep:
    """Looks after a membership.

    Args:
        home: Of the site.
        send: Carries requests.
        tell: Writes lines of the log.
        clock: Counts the time between two tries.
        utc_seconds: Gives seconds since 1970; certificates are judged by it.
        draw: Gives so many bytes that nobody can foresee.
    """

    def __init__(
        self,
        home: SiteHome,
        send: Send,
        tell: Tell,
        clock: Clock,
        utc_seconds: Callable[[], float],
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._home = home
        self._send = send
        self._tell = tell
        self._clock = clock
        self._utc_seconds = utc_seconds
        self._draw = draw
        self._next_roster = self._next_renewal = self._next_news = clock.now_seconds()
        self._looked_at = 0
        self._told_late_days: int | None = None
        self._told_duplicate_at = -float(TELL_AGAIN_SECONDS)

    def tick(self) -> None:
        """Do what is due; nothing that goes wrong leaves this."""
        try:
            self._do_what_is_due(self._clock.now_seconds())
        except Exception as error:  # a daemon that went on without renewing would end on its day
            code = error.code if isinstance(error, FedwardError) else type(error).__name__
            self._tell("membership.unkept", code=code)

    def _do_what_is_due(self, now: float) -> None:
        if now >= self._next_renewal:
            self._next_renewal = now + RENEWAL_SECONDS
            self._keep(renewal=_code_of(self._renew))
            self._tell_if_late()
        if now >= self._next_roster:
            self._next_roster = now + ROSTER_SECONDS
            self._keep(roster=_code_of(self._look_for_removals))
        if now >= self._next_news:
            self._next_news = now + NEWS_SECONDS
            self._look_for_others()

    def _renew(self) -> str:
        outcome = renew_if_due(self._home, self._send, now_seconds=self._utc_seconds())
        if outcome == "renewed":
            self._tell("certificate.renewed", days=round(self._days_left(), 1))
        return WAITS if outcome == "waiting" else ""

    def _look_for_removals(self) -> str:
        authority, own = own_certificate(self._home, now_seconds=None)
        newest = newest_members(self._home)
        known = max(self._looked_at, newest.version if newest is not None else 0)
        request = make_roster_request(
            own_key(self._home),
            consortium=authority.consortium,
            site=own.site,
            known_version=known,
        )
        signed = roster_in(self._send(request))
        if signed:
            now_seconds = self._utc_seconds()
            self._looked_at, gone = take_removals(self._home, signed, now_seconds=now_seconds)
            if gone:
                self._tell("roster.removed", version=self._looked_at, sites=list(gone))
        return ""

    def _look_for_others(self) -> None:
        """Hear whether another machine shows this site's key, and tell it at most once an hour."""
        before = read_upkeep(self._home)
        try:
            at = duplicate_at(self._home, self._send, self._draw)
        except FedwardError:  # an earlier release; or nobody answers, which the roster's code says
            return
        now_seconds = self._utc_seconds()
        # A time to come would hide what comes before it.
        if not before.duplicate_at_seconds < at < now_seconds + _DAY_SECONDS:
            return
        fields = asdict(before) | {"duplicate_at_seconds": float(at)}
        self._write(fields)
        if now_seconds >= self._told_duplicate_at + TELL_AGAIN_SECONDS:
            self._told_duplicate_at = now_seconds
            self._tell("node.duplicate", code=DUPLICATE, at_seconds=at)
            note_membership(
                self._home, "node.duplicate", now_seconds=now_seconds, at_seconds=at, code=DUPLICATE
            )

    def _write(self, fields: dict[str, Any]) -> None:
        path = enrolment_folder(self._home) / "upkeep.json"
        write_atomically(path, json.dumps(fields).encode())

    def _keep(self, *, renewal: str | None = None, roster: str | None = None) -> None:
        """Remember how it stands, and tell what changed."""
        before, now = read_upkeep(self._home), self._utc_seconds()
        fields = asdict(before)
        for name, code in (("renewal", renewal), ("roster", roster)):
            if code is not None and code != fields[name]:
                fields[name], fields[f"{name}_since_seconds"] = code, now
                self._tell_change(name, code)
        if fields != asdict(before):
            self._write(fields)

    def _tell_change(self, name: str, code: str) -> None:
        if code == WAITS:
            self._tell("certificate.waits", days=round(self._days_left(), 1))
        elif code:
            event = "certificate.unrenewed" if name == "renewal" else "roster.unknown"
            self._tell(event, code=code)

    def _tell_if_late(self) -> None:
        """Say once a day that the certificate is about to end, or did."""
        status = membership_status(self._home, now_seconds=self._utc_seconds())
        days = int(status.days_left) if status is not None and status.is_late else None
        if status is not None and days is not None and days != self._told_late_days:
            code = status.record.renewal
            self._tell("certificate.late", days=round(status.days_left, 1), code=code)
        self._told_late_days = days

    def _days_left(self) -> float:
        status = membership_status(self._home, now_seconds=self._utc_seconds())
        return status.days_left if status is not None else 0.0


def membership_status(home: SiteHome, *, now_seconds: float) -> MembershipStatus | None:
    """Say how a site's certificate stands; None where it is no member, or its files are damaged."""
    try:
        _, own = own_certificate(home, now_seconds=None)
    except FedwardError:
        return None
    days_left = (own.not_after_seconds - now_seconds) / _DAY_SECONDS
    life_days = (own.not_after_seconds - own.not_before_seconds) / _DAY_SECONDS
    # Short certificates are renewed at two thirds as well, so half of the last third is late.
    is_late = days_left < min(LATE_DAYS, life_days / 6)
    return MembershipStatus(own.not_after_seconds, days_left, is_late, read_upkeep(home))


def read_upkeep(home: SiteHome) -> UpkeepRecord:
    """Read what the daemon last noted; what is not there or damaged says nothing."""
    try:
        content = json.loads((home.folder / "enrolment" / "upkeep.json").read_bytes())
        return from_table(UpkeepRecord, content)
    except (OSError, ValueError, ConfigurationError):
        return UpkeepRecord()


def _code_of(work: Callable[[], str]) -> str:
    try:
        return work()
    except FedwardError as error:
        return error.code
    except OSError as error:
        return type(error).__name__
