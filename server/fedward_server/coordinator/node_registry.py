"""Which nodes Flower lets connect: those whose key a site of the present roster stated.

The statements lie in `nodes/`; roster and statements are read again and again, so a site that joins
may connect within seconds, and one that the roster no longer has is cut off as soon.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from fedward_common.consortium.node_key import MAX_STATEMENT_BYTES, verify_node_key
from fedward_common.consortium.roster import Roster
from fedward_common.errors import FedwardError, UnverifiedMessageError
from fedward_common.event_lines import Tell
from fedward_common.identities import SiteId
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_setup import roster_beside


class Nodes(Protocol):
    """What the registry asks of Flower."""

    def nodes(self) -> Mapping[bytes, int]:
        """Give each registered node's id by its key in PEM."""
        ...

    def register_node(self, public_key: bytes) -> None:
        """Let a node connect; raises `ConfigurationError` where its key is not taken."""
        ...

    def forget_node(self, node_id: int) -> None:
        """Let a node connect no more."""
        ...


class NodeRegistry:
    """Keeps Flower's list of nodes as the roster has it.

    Args:
        home: Of the coordinator.
        nodes: Flower's list.
        tell: Writes lines of the log.
        utc_seconds: Gives seconds since 1970.
        know: Takes the keys that sites stated, in PEM, whenever they changed.
    """

    def __init__(
        self,
        home: CoordinatorHome,
        nodes: Nodes,
        tell: Tell,
        utc_seconds: Callable[[], float],
        know: Callable[[Mapping[bytes, SiteId]], None] = lambda _: None,
    ) -> None:
        self._home = home
        self._nodes = nodes
        self._tell = tell
        self._utc_seconds = utc_seconds
        self._know = know
        self._told: set[tuple[str, str]] = set()
        self._last: Mapping[bytes, SiteId] | None = None

    def refresh(self) -> None:
        """Register what is new, and forget what is no longer stated by a member.

        Raises:
            ConfigurationError: There is no roster that counts.
        """
        stated = self._stated_keys()
        if stated == self._last:
            return
        self._know(stated)
        registered = self._nodes.nodes()
        for key, node_id in registered.items():
            if key not in stated:
                self._nodes.forget_node(node_id)
                self._tell("node.forgotten")
        for key, site in stated.items():
            if key not in registered:
                self._register(key, site)
        self._last = stated

    def _register(self, key: bytes, site: SiteId) -> None:
        try:
            self._nodes.register_node(key)
        except FedwardError as error:
            self._tell_once("node.refused", site, error.code)
        else:
            self._tell("node.registered", site=site)

    def _stated_keys(self) -> Mapping[bytes, SiteId]:
        content = self._home.roster_file.read_bytes()
        now_seconds = self._utc_seconds()
        roster = roster_beside(self._home.key_file, content, now_seconds=now_seconds)
        stated: dict[bytes, SiteId] = {}
        for file in sorted(self._home.nodes.glob("*.cbor")):
            try:
                key, site = _statement_in(file.stem, _first_bytes(file), roster)
                if key in stated:
                    raise UnverifiedMessageError("two sites state one key", code="NODE_KEY_TAKEN")
                stated[key] = site
            except FedwardError as error:
                self._tell_once("node.refused", file.stem[:60], error.code)
        return stated

    def _tell_once(self, event: str, site: str, code: str) -> None:
        if (site, code) not in self._told:
            self._told.add((site, code))
            self._tell(event, site=site, code=code)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_STATEMENT_BYTES + 1)


def _statement_in(name: str, unverified: bytes, roster: Roster) -> tuple[bytes, SiteId]:
    stated = verify_node_key(unverified, roster)
    if stated.site != name:
        raise UnverifiedMessageError(
            "the statement is of another site than its file", code="NODE_KEY_FOREIGN"
        )
    return stated.public_key, stated.site
