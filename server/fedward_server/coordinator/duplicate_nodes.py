"""Sees that two nodes show one site's key: Flower refuses the second, and nobody told the first.

A node that was killed comes back under its key too, and is refused until Flower believes that the
one before is gone; that one is silent then. So a refusal counts only if a node with the same key is
heard after it, longer than a daemon's last node takes to end, and no node was let in meanwhile. Who
is heard has shown the key: Flower checked its signature, or answers 401.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedward_common.clock import Clock
from fedward_common.event_lines import Tell
from fedward_common.identities import SiteId
from fedward_server.coordinator.listener_gates import FLEET, Event, Scope, Send

DUPLICATE = "node.duplicate"
CODE = "NODE_DUPLICATE"

_ACTIVATE = FLEET + "activate-node"
_DEACTIVATE = FLEET + "deactivate-node"
_LET_IN, _NOT_LET_IN = 200, 412  # what Flower answers to `activate-node`
_HEADER = b"flwr-public-key"  # holds the key in PEM, in base64
_GONE_SECONDS = 15.0  # a site's node ends within 10 once its daemon was killed
_TELL_AGAIN_SECONDS = 600.0


@dataclass
class _Seen:
    """Of one site: when a node was turned away, and what came of it."""

    refused_at: float | None = None
    times: int = 0
    last_utc_seconds: int = 0
    told_at: float = float("-inf")


class DuplicateNodes:
    """Watches what the public listener answers; it never changes an answer.

    Args:
        tell: Writes lines of the log.
        clock: Counts the time since a refusal.
        utc_seconds: Gives seconds since 1970.
    """

    def __init__(self, tell: Tell, clock: Clock, utc_seconds: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._utc_seconds = utc_seconds
        self._site_of: Mapping[bytes, SiteId] = {}
        self._seen: dict[SiteId, _Seen] = {}

    def know(self, site_of: Mapping[bytes, SiteId]) -> None:
        """Take the nodes' keys, in PEM, that sites stated; other keys are nobody's."""
        self._site_of = dict(site_of)

    def last_of(self, site: str) -> int:
        """Give when a second node last showed a site's key, in seconds since 1970; 0 for never."""
        seen = self._seen.get(SiteId(site))
        return 0 if seen is None else seen.last_utc_seconds

    def times(self) -> Mapping[str, float]:
        """Give how often it was seen, by site; only where it was."""
        return {site: one.times for site, one in sorted(self._seen.items()) if one.times}

    def watching(self, scope: Scope, send: Send) -> Send:
        """Give what sends an answer on, and looks at its status."""
        site = self._site_of.get(_key_in(scope))
        if site is None:
            return send
        path, begun = scope["path"], self._clock.now_seconds()

        async def watched(event: Event) -> None:
            if event["type"] == "http.response.start":
                self._take(site, path, event["status"], begun)
            await send(event)

        return watched

    def _take(self, site: SiteId, path: str, status: int, begun: float) -> None:
        seen = self._seen.setdefault(site, _Seen())
        if path == _ACTIVATE:
            if status == _LET_IN:
                seen.refused_at = None
            elif status == _NOT_LET_IN and seen.refused_at is None:
                seen.refused_at = self._clock.now_seconds()
        elif seen.refused_at is not None and path != _DEACTIVATE and status == _LET_IN:
            self._note_if_heard(site, seen, seen.refused_at, begun)

    def _note_if_heard(self, site: SiteId, seen: _Seen, refused_at: float, begun: float) -> None:
        if begun <= refused_at + _GONE_SECONDS:
            return
        now = self._clock.now_seconds()
        seen.refused_at = None
        seen.times += 1
        seen.last_utc_seconds = int(self._utc_seconds())
        if now >= seen.told_at + _TELL_AGAIN_SECONDS:
            seen.told_at = now
            self._tell(DUPLICATE, site=site, code=CODE)


def _key_in(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == _HEADER:
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                break
    return b""
