"""Somebody who was invited, with fixed keys, and what he sends."""

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.common.consortium.consortium_office import AUTHORITY, DAY, NOW, key_of

from fedward_common.consortium.enrolment_request import make_join_request
from fedward_common.consortium.invitation import Invitation
from fedward_common.consortium.node_key import state_node_key
from fedward_common.crypto.signing import SigningKey
from fedward_common.identities import SiteId

AUTHORITY_SHA256 = hashlib.sha256(AUTHORITY.der).digest()


def invitation_of(site: str = "alder", **changes: Any) -> Invitation:
    settled: dict[str, Any] = {
        "consortium": "harbour",
        "authority_sha256": AUTHORITY_SHA256,
        "site": SiteId(site),
        "organisation": f"{site} hospital",
        "role": "coordinator" if site == "coordinator" else "site",
        "expires_at_seconds": NOW + 7 * DAY,
        "address": "",
        "key": key_of(f"invitation of {site}"),
    }
    return Invitation(**settled | changes)


def online_invitation(site: str = "alder", address: str = "") -> Invitation:
    """Invite with an address; any certificate serves as that of its TLS authority."""
    where = address or "https://coordinator.example:9443/join"
    return invitation_of(site, address=where, tls_authority=AUTHORITY.der)


def node_key_of(key: SigningKey, site: str, consortium: str = "harbour") -> bytes:
    number = int.from_bytes(key.verifying_key.raw, "big") >> 8
    public = ec.derive_private_key(number, ec.SECP384R1()).public_key()
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return state_node_key(key, consortium=consortium, site=SiteId(site), public_key=line)


def request_of(invitation: Invitation, key: SigningKey | None = None) -> bytes:
    key = key or key_of(invitation.site)
    if invitation.role == "coordinator":
        return make_join_request(invitation, key, b"")
    stated = node_key_of(key, invitation.site, invitation.consortium)
    return make_join_request(invitation, key, stated)
