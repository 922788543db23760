"""Which nodes may connect: by the roster and by what its sites stated (F37)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    AUTHORITY_KEY,
    DAY,
    NOW,
    certificate_of,
    key_of,
)
from tests.server.coordinator.node_keys import node_line

from fedward_common.consortium.node_key import state_node_key
from fedward_common.consortium.roster import make_roster
from fedward_common.errors import ConfigurationError
from fedward_common.identities import SiteId
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.node_registry import NodeRegistry
from fedward_server.coordinator.run_setup import authority_file_beside


class Flower:
    """A list of nodes as Flower keeps it: a key that was forgotten is never taken again."""

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}
        self.forgotten: set[bytes] = set()

    def nodes(self) -> dict[bytes, int]:
        return dict(self.known)

    def register_node(self, public_key: bytes) -> None:
        if public_key in self.forgotten:
            raise ConfigurationError("refused", code="NODE_KEY_REFUSED")
        self.known[public_key] = len(self.known) + len(self.forgotten) + 1

    def forget_node(self, node_id: int) -> None:
        (key,) = [key for key, known in self.known.items() if known == node_id]
        del self.known[key]
        self.forgotten.add(key)


class Office:
    """A coordinator's home, its registry, and what that said."""

    def __init__(self, folder: Path) -> None:
        self.home = CoordinatorHome(folder)
        self.home.make_folders()
        authority_file_beside(self.home.key_file).write_bytes(AUTHORITY.der)
        self.flower = Flower()
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.now = float(NOW)
        self.registry = NodeRegistry(self.home, self.flower, self._tell, lambda: self.now)

    def _tell(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    def issue(self, version: int, *members: str) -> None:
        certificates = [certificate_of(name) for name in (*members, "coordinator")]
        signed = make_roster(
            AUTHORITY_KEY,
            AUTHORITY,
            certificates,
            version=version,
            issued_at_seconds=NOW,
            max_age_seconds=30 * DAY,
        )
        self.home.roster_file.write_bytes(signed)

    def state(self, site: str, line: str, *, file: str | None = None) -> None:
        stated = state_node_key(
            key_of(site), consortium=AUTHORITY.consortium, site=SiteId(site), public_key=line
        )
        (self.home.nodes / f"{file or site}.cbor").write_bytes(stated)

    def told(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


MakeOffice = Callable[[], Office]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    made = Office(tmp_path)
    made.issue(1, "alder", "birch")
    return made


def test_a_member_that_stated_its_key_may_connect(office: Office) -> None:
    office.state("alder", node_line(1))
    office.registry.refresh()
    office.registry.refresh()
    assert len(office.flower.known) == 1
    assert office.told("node.registered") == [{"site": "alder"}]


def test_a_site_that_joins_later_may_connect_without_a_restart(office: Office) -> None:
    office.state("alder", node_line(1))
    office.state("cedar", node_line(3))
    office.registry.refresh()
    assert office.told("node.refused") == [{"site": "cedar", "code": "NOT_IN_ROSTER"}]
    office.issue(2, "alder", "birch", "cedar")
    office.registry.refresh()
    assert [line["site"] for line in office.told("node.registered")] == ["alder", "cedar"]


def test_a_revoked_site_is_cut_off(office: Office) -> None:
    office.state("alder", node_line(1))
    office.state("birch", node_line(2))
    office.registry.refresh()
    office.issue(2, "alder")
    office.registry.refresh()
    assert list(office.flower.known.values()) == [1]
    assert len(office.told("node.forgotten")) == 1


def test_a_new_key_takes_the_place_of_the_old(office: Office) -> None:
    office.state("alder", node_line(1))
    office.registry.refresh()
    office.state("alder", node_line(2))
    office.registry.refresh()
    assert len(office.flower.known) == 1
    assert len(office.flower.forgotten) == 1


def test_a_key_that_flower_refuses_is_told_once(office: Office) -> None:
    office.state("alder", node_line(1))
    office.registry.refresh()
    office.state("alder", node_line(2))
    office.registry.refresh()
    office.state("alder", node_line(1))
    for _ in range(3):
        office.registry.refresh()
    assert office.told("node.refused") == [{"site": "alder", "code": "NODE_KEY_REFUSED"}]


def test_two_sites_with_one_key_do_not_share_a_node(office: Office) -> None:
    office.state("alder", node_line(1))
    office.state("birch", node_line(1))
    office.registry.refresh()
    assert office.told("node.registered") == [{"site": "alder"}]
    assert office.told("node.refused") == [{"site": "birch", "code": "NODE_KEY_TAKEN"}]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 100_000])
def test_a_statement_that_is_none_stops_nobody(office: Office, content: bytes) -> None:
    (office.home.nodes / "aaa.cbor").write_bytes(content)
    office.state("birch", node_line(2))
    office.registry.refresh()
    assert office.told("node.registered") == [{"site": "birch"}]
    assert [line["site"] for line in office.told("node.refused")] == ["aaa"]


def test_a_statement_counts_only_under_its_own_name(office: Office) -> None:
    office.state("alder", node_line(1), file="birch")
    office.registry.refresh()
    assert office.flower.known == {}


def test_without_a_roster_that_counts_nothing_is_changed(office: Office) -> None:
    office.state("alder", node_line(1))
    office.registry.refresh()
    office.now += 40 * DAY
    with pytest.raises(ConfigurationError) as refused:
        office.registry.refresh()
    assert refused.value.code == "ROSTER_EXPIRED"
    assert len(office.flower.known) == 1
