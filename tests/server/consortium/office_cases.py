"""An office with fixed keys: in memory for its rules, on disk for everything around them."""

from pathlib import Path
from typing import Any

from tests.common.consortium.applicants import node_key_of
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    AUTHORITY_KEY,
    NOW,
    counted_entropy,
    key_of,
)

from fedward_common.consortium.enrolment_request import (
    JoinRequest,
    RenewalRequest,
    make_join_request,
    make_renewal_request,
    read_request,
)
from fedward_common.consortium.invitation import Invitation
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.signing import SigningKey
from fedward_server.consortium.issuing import Authority
from fedward_server.consortium.office_events import Founded
from fedward_server.consortium.office_folder import Office, found_office
from fedward_server.consortium.office_rules import admit, invite
from fedward_server.consortium.office_state import OfficeState, apply, state_after

PASSPHRASE = SecretBytes(b"five words nobody would guess")
KEY = Authority(AUTHORITY_KEY, AUTHORITY)


def founded() -> OfficeState:
    state = state_after([Founded(NOW, "harbour", AUTHORITY.der, 90, 30)])
    if state is None:
        raise AssertionError
    return state


def invited(
    state: OfficeState, site: str, now: float = NOW, **changes: Any
) -> tuple[OfficeState, Invitation]:
    """Invite a site, or the coordinator by its name."""
    settled: dict[str, Any] = {
        "site": site,
        "organisation": f"{site} hospital",
        "role": "coordinator" if site == "coordinator" else "site",
        "days": 7,
        "address": "",
        "entropy": lambda length: counted_entropy(length),
    }
    event, invitation = invite(state, now_seconds=now, **settled | changes)
    return apply(state, event), invitation


def join_bytes(invitation: Invitation, key: SigningKey | None = None) -> bytes:
    key = key or key_of(invitation.site)
    if invitation.role == "coordinator":
        return make_join_request(invitation, key, b"")
    stated = node_key_of(key, invitation.site, invitation.consortium)
    return make_join_request(invitation, key, stated)


def join_request(invitation: Invitation, key: SigningKey | None = None) -> JoinRequest:
    request = read_request(join_bytes(invitation, key))
    if not isinstance(request, JoinRequest):
        raise AssertionError
    return request


def renewal_bytes(state: OfficeState, site: str, key: SigningKey | None = None) -> bytes:
    return make_renewal_request(
        key or key_of(site),
        consortium=state.consortium,
        site=site,
        certificate_der=state.members[site].certificate,
    )


def renewal_request(state: OfficeState, site: str, key: SigningKey | None = None) -> RenewalRequest:
    request = read_request(renewal_bytes(state, site, key))
    if not isinstance(request, RenewalRequest):
        raise AssertionError
    return request


def admitted_to(
    state: OfficeState, site: str, now: float = NOW, key: SigningKey | None = None, **changes: Any
) -> OfficeState:
    """Invite and admit."""
    state, invitation = invited(state, site, now, **changes)
    event = admit(
        state, KEY, join_request(invitation, key), site=site, now_seconds=now,
        entropy=counted_entropy,
    )  # fmt: skip
    if event is None:
        raise AssertionError
    return apply(state, event)


def harbour(*sites: str) -> OfficeState:
    """Give an office with a coordinator and these sites."""
    state = admitted_to(founded(), "coordinator")
    for site in sites or ("alder", "birch"):
        state = admitted_to(state, site)
    return state


def office_in(folder: Path, **changes: Any) -> Office:
    """Make an office on disk, whose passphrase costs little to guess."""
    settled: dict[str, Any] = {
        "consortium": "harbour",
        "passphrase": PASSPHRASE,
        "now_seconds": NOW,
        "certificate_days": 90,
        "roster_days": 30,
        "log2_cost": 10,
    }
    return found_office(folder, **settled | changes)
