"""What happens at a consortium's office, one value each, and as lines of its register.

Nothing that happened is ever changed: a certificate, a roster or a removal is one line more. A line
holds all that came of one command, so a command that was killed happened wholly or not at all.
"""

import base64
import binascii
import dataclasses
import typing
from dataclasses import dataclass
from typing import Any

from fedward_common.consortium.roster import Role
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_common.settings import from_table


@dataclass(frozen=True)
class Founded:
    """The authority was made; `authority` is its certificate, DER."""

    at_seconds: int
    consortium: str
    authority: bytes
    certificate_days: int
    roster_days: int


@dataclass(frozen=True)
class Invited:
    """A token was given out; only the public half of its key is kept."""

    at_seconds: int
    invitation_key: bytes
    site: str
    organisation: str
    role: Role
    expires_at_seconds: int


@dataclass(frozen=True)
class Requested:
    """A request came online and waits for a person; of a renewal there is no invitation."""

    at_seconds: int
    site: str
    invitation_key: bytes
    request: bytes


@dataclass(frozen=True)
class Admitted:
    """A member was certified, for the first time or with a new key; the roster changed."""

    at_seconds: int
    invitation_key: bytes
    request_sha256: str
    site: str
    organisation: str
    role: Role
    key: bytes
    node_key: bytes
    certificate: bytes
    roster: bytes
    roster_version: int


@dataclass(frozen=True)
class Renewed:
    """A member has its next certificate, for the same key; the roster is as it was."""

    at_seconds: int
    request_sha256: str
    site: str
    certificate: bytes


@dataclass(frozen=True)
class Revoked:
    """A member was removed; the roster changed."""

    at_seconds: int
    site: str
    roster: bytes
    roster_version: int


@dataclass(frozen=True)
class Withdrawn:
    """Open invitations of a site that is no member count no longer."""

    at_seconds: int
    site: str


@dataclass(frozen=True)
class RosterIssued:
    """The next version, for the members there are."""

    at_seconds: int
    roster: bytes
    roster_version: int


Event = Founded | Invited | Requested | Admitted | Renewed | Revoked | Withdrawn | RosterIssued
_KINDS: dict[str, type[Any]] = {
    "founded": Founded,
    "invited": Invited,
    "requested": Requested,
    "admitted": Admitted,
    "renewed": Renewed,
    "revoked": Revoked,
    "withdrawn": Withdrawn,
    "roster": RosterIssued,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def line_of(event: Event) -> dict[str, Any]:
    """Give an event as JSON values; bytes in base64."""
    fields = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in dataclasses.asdict(event).items()
    }
    return {"event": _NAMES[type(event)], **fields}


def event_in(line: dict[str, Any]) -> Event:
    """Read what `line_of` gave.

    Raises:
        CorruptFileError: It is no event of this version.
    """
    kind = _KINDS.get(str(line.get("event")))
    try:
        if kind is None:
            raise ConfigurationError(f"{line.get('event')!r} is unknown")
        hints = typing.get_type_hints(kind)
        fields = {
            name: base64.b64decode(value, validate=True) if hints.get(name) is bytes else value
            for name, value in line.items()
            if name not in ("event", "index", "previous")
        }
        event: Event = from_table(kind, fields)
    except (ConfigurationError, binascii.Error, ValueError, TypeError) as error:
        raise CorruptFileError(
            f"line {line.get('index', -1) + 1} of the register cannot be read: {error}",
            hint="restore the office from its backup; a newer release may have written the line",
        ) from error
    return event
