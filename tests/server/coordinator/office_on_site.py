"""A coordinator and its consortium's office on one machine, with fixed keys and clocks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.common.consortium.consortium_office import DAY, NOW, counted_entropy, key_of
from tests.server.consortium.office_cases import (
    PASSPHRASE,
    join_bytes,
    join_request,
    office_in,
    renewal_request,
)

from fedward_common.consortium.invitation import Invitation
from fedward_common.consortium.roster import Role
from fedward_server.consortium.coordinator_home_files import hand_to_coordinator
from fedward_server.consortium.issuing import Authority
from fedward_server.consortium.office_folder import Office
from fedward_server.consortium.office_rules import (
    admissible,
    admit,
    invite,
    issue_roster,
    renew,
    revoke,
)
from fedward_server.consortium.office_state import OfficeState
from fedward_server.coordinator.coordinator_home import CoordinatorHome

__all__ = ["DAY", "NOW", "OfficeOnSite", "office_on_site"]


@dataclass
class OfficeOnSite:
    """An office on disk whose coordinator is a member, and that coordinator's home."""

    office: Office
    home: CoordinatorHome
    key: Authority
    now: float = float(NOW)
    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def tell(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    def utc_seconds(self) -> float:
        return self.now

    @property
    def state(self) -> OfficeState:
        return self.office.state()

    def invite(self, site: str) -> Invitation:
        given: list[Invitation] = []

        def decide(state: OfficeState) -> Any:
            role: Role = "coordinator" if site == "coordinator" else "site"
            event, invitation = invite(
                state, site=site, organisation=f"{site} hospital", role=role, days=7, address="",
                now_seconds=self.now, entropy=counted_entropy,
            )  # fmt: skip
            given.append(invitation)
            return event

        self.office.change(decide)
        return given[0]

    def admit(self, site: str) -> bytes:
        """Invite and admit; give the request."""
        invitation = self.invite(site)
        request = join_request(invitation)

        def decide(state: OfficeState) -> Any:
            admissible(state, request, site=site, now_seconds=self.now)
            return admit(
                state, self.key, request, site=site, now_seconds=self.now, entropy=counted_entropy
            )

        self.office.change(decide)
        return join_bytes(invitation)

    def renew(self, site: str) -> None:
        def decide(state: OfficeState) -> Any:
            request = renewal_request(state, site)
            return renew(state, self.key, request, now_seconds=self.now, entropy=counted_entropy)

        self.office.change(decide)

    def revoke(self, site: str) -> None:
        self.office.change(lambda state: revoke(state, self.key, site, now_seconds=self.now))

    def refresh_roster(self) -> None:
        self.office.change(
            lambda state: issue_roster(state, self.key, above=0, now_seconds=self.now)
        )

    def hand_over(self) -> None:
        hand_to_coordinator(self.state, self.state.roster, self.home.folder)


def office_on_site(folder: Path, *sites: str) -> OfficeOnSite:
    office = office_in(folder / "office")
    key = office.open_authority(office.state(), PASSPHRASE)
    home = CoordinatorHome(folder / "coordinator")
    home.make_folders()
    made = OfficeOnSite(office, home, key)
    for site in ("coordinator", *sites):
        made.admit(site)
    state = made.state
    home.key_file.write_text(key_of("coordinator").to_raw().hex())
    home.authority_file.write_bytes(state.authority)
    home.certificate_file.write_bytes(state.members["coordinator"].certificate)
    made.hand_over()
    return made
