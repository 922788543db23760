"""How a membership stands, for `fedward-site status`: as plain values, and in words."""

from datetime import UTC, datetime
from typing import Any

from fedward_client.enrolment.node_news import DUPLICATE
from fedward_client.enrolment.upkeep import WAITS, MembershipStatus


def plain_membership(status: MembershipStatus | None) -> dict[str, Any] | None:
    """Give JSON values; None where the site is no member."""
    if status is None:
        return None
    record = status.record
    return {
        "certificate_until": _moment(status.until_seconds),
        "days_left": round(status.days_left, 1),
        "is_late": status.is_late,
        "renewal": record.renewal or None,
        "renewal_since": _moment(record.renewal_since_seconds) if record.renewal else None,
        "roster": record.roster or None,
        "roster_since": _moment(record.roster_since_seconds) if record.roster else None,
        "duplicate": _moment(record.duplicate_at_seconds) if record.duplicate_at_seconds else None,
    }


def membership_lines(shown: dict[str, Any] | None) -> list[str]:
    """Give the lines for a person of what `plain_membership` gave."""
    if shown is None:
        return ["No member of a consortium: fedward-site join"]
    if shown["days_left"] < 0:
        lines = [
            f"THE CERTIFICATE ENDED {shown['certificate_until']}: this site takes part in nothing."
        ]
    else:
        left = f", {shown['days_left']:g} days" if shown["is_late"] else ""
        lines = [f"Certificate until {shown['certificate_until']}{left}."]
    if shown["renewal"] == WAITS:
        lines.append(f"Its renewal waits at the office since {shown['renewal_since']}.")
    elif shown["renewal"]:
        lines.append(f"Its renewal fails since {shown['renewal_since']}: {shown['renewal']}.")
    if shown["is_late"]:
        lines.append(
            "THE RENEWAL IS LATE: call the consortium's office, or go by files: fedward-site renew"
        )
    if shown["roster"]:
        lines.append(
            f"No news of the roster since {shown['roster_since']}: {shown['roster']}. "
            "Who was removed may still be counted in."
        )
    if shown["duplicate"]:
        lines.append(
            f"ANOTHER MACHINE SHOWED THIS SITE'S KEY, last on {shown['duplicate']} "
            f"({DUPLICATE}): if nobody here copied the home, it was stolen; call the consortium's "
            "office, which revokes it."
        )
    return lines


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
