"""Joining a consortium in two steps: ask with a token, then take the office's answer.

Each step may be killed anywhere and run again; it then comes to the same bytes, for what is there
stays: the key is made once. Nothing that comes back is believed but by the fingerprint of the
authority that the token carried.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fedward_client.enrolment.accepted_members import accept_members
from fedward_client.enrolment.membership_files import (
    enrolment_folder,
    invitation_file,
    is_member,
    key_file,
    leaving_mark,
    note_membership,
    own_certificate,
    own_key,
    sole_change,
)
from fedward_client.site_home import SiteHome, write_private_file
from fedward_client.site_policy import policy_template
from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.enrolment_answer import (
    Asked,
    Membership,
    is_waiting,
    verify_answer,
)
from fedward_common.consortium.enrolment_request import make_join_request
from fedward_common.consortium.fingerprint_words import fingerprint_words
from fedward_common.consortium.invitation import Invitation, parse_token, require_unexpired
from fedward_common.consortium.tls_authority import pem_of_tls_authority
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import ConfigurationError, FedwardError
from fedward_common.identities import COORDINATOR
from fedward_common.settings import read_toml
from fedward_common.toml_writing import toml_of
from fedward_common.wire.canonical_cbor import decode_canonically

TLS_AUTHORITY_FILE = "coordinator-tls.pem"

_HTTPS_PORT = 443


@dataclass(frozen=True)
class Request:
    """What is to be sent to the office.

    Attributes:
        words: To be read to the office over the telephone.
    """

    invitation: Invitation
    file: Path
    content: bytes
    words: tuple[str, ...]


def begin_joining(folder: Path, token: str, *, cohort: str, now_seconds: float) -> Request:
    """Make the home, its keys and the request; what is there stays.

    Args:
        folder: The site's home; made if it is not there.
        token: What the office gave.
        cohort: That the site will offer, until a job is accepted with another.
        now_seconds: Since 1970, UTC.

    Raises:
        ConfigurationError: The token is none or is a coordinator's, or the home is a member's, a
            simulation's, or half left.
        UnverifiedMessageError: `TOKEN_EXPIRED`.
    """
    invitation = parse_token(token)
    if invitation.role != "site":
        raise ConfigurationError(
            "the invitation is for a coordinator", hint="there: fedward coordinator join"
        )
    require_unexpired(invitation, now_seconds)
    from fedward_client.cohorts.registered.cohort_work import open_or_make_site_home

    home = open_or_make_site_home(folder)
    with sole_change(home):
        _require_free(home)
        settings = _settings_for(home, invitation, cohort)
        write_private_file(invitation_file(home), token.encode())
        if not key_file(home).exists():
            raw = SigningKey.generate().to_raw()
            write_private_file(key_file(home), raw.hex().encode())
        if not home.policy_file.exists() and not home.policy_file.is_symlink():
            write_atomically(home.policy_file, policy_template().encode())
        _write_tls_authority(home, invitation, settings)
        write_atomically(home.settings_file, toml_of(settings).encode())
        return _request(home, invitation)


def pending_request(folder: Path) -> Request:
    """Give the request of a joining that was begun and not finished.

    Raises:
        ConfigurationError: None was begun.
    """
    home = SiteHome(folder.absolute())
    return _request(home, _pending_invitation(home))


def finish_joining(folder: Path, unverified: bytes, *, now_seconds: float) -> Membership | None:
    """Check the office's answer and become a member by it.

    Returns:
        What the site is a member by; None where nobody at the office has decided yet.

    Raises:
        ConfigurationError: No joining was begun here, or the home is half left.
        UnverifiedMessageError: The office refuses, or the answer is not to be believed.
        MalformedMessageError: It is no answer.
    """
    home = SiteHome(folder.absolute())
    done = _already_joined_by(home, unverified, now_seconds)
    if done is not None:
        return done
    _pending_invitation(home)
    if is_waiting(unverified):
        return None
    with sole_change(home):
        _require_not_leaving(home)
        asked = _asked_by(_pending_invitation(home), own_key(home).verifying_key)
        membership = verify_answer(unverified, asked, now_seconds=now_seconds)
        _install(home, membership, now_seconds)
    return membership


def _already_joined_by(home: SiteHome, unverified: bytes, now_seconds: float) -> Membership | None:
    """Give the membership again if a command that was killed after its last step took it."""
    if not is_member(home) or (home.folder / "enrolment" / "invitation.txt").exists():
        return None
    authority, own = own_certificate(home, now_seconds=None)
    digest = hashlib.sha256(authority.der).digest()
    asked = Asked(digest, own.site, own.organisation, own.role, own.key)
    try:
        membership = verify_answer(unverified, asked, now_seconds=now_seconds)
    except FedwardError:
        return None
    return membership if membership.certificate.der == own.der else None


def _asked_by(invitation: Invitation, key: VerifyingKey) -> Asked:
    return Asked(
        invitation.authority_sha256,
        invitation.site,
        invitation.organisation,
        invitation.role,
        key,
    )


def _install(home: SiteHome, membership: Membership, now_seconds: float) -> None:
    from fedward_client.daemon.trusted_roster import forget_seen_roster, see_roster

    authority = membership.authority
    if home.authority_file.exists() and home.authority_file.read_bytes() != authority.der:
        forget_seen_roster(home)  # versions of another consortium say nothing of this one's
    see_roster(home, membership.roster)
    write_atomically(home.authority_file, authority.der)
    accept_members(home, membership.roster)
    coordinator = membership.roster.entry_of(COORDINATOR)
    write_atomically(home.trust / "coordinator.pub", coordinator.key.raw.hex().encode())
    note_membership(
        home,
        "joined",
        now_seconds=now_seconds,
        consortium=authority.consortium,
        roster_version=membership.roster.version,
    )
    write_atomically(home.certificate_file, membership.certificate.der)
    (enrolment_folder(home) / "request.cbor").unlink(missing_ok=True)
    invitation_file(home).unlink(missing_ok=True)


def _request(home: SiteHome, invitation: Invitation) -> Request:
    from fedward_client.daemon.node_key import stated_node_key

    node_key = stated_node_key(home, site=invitation.site, consortium=invitation.consortium)
    content = make_join_request(invitation, own_key(home), node_key)
    file = enrolment_folder(home) / "request.cbor"
    write_atomically(file, content)
    body: bytes = decode_canonically(content)["body"]
    return Request(invitation, file, content, fingerprint_words(body))


def _pending_invitation(home: SiteHome) -> Invitation:
    file = home.folder / "enrolment" / "invitation.txt"
    if not file.is_file():
        raise ConfigurationError(
            f"no joining was begun in {home.folder}",
            hint="the site is a member already"
            if home.certificate_file.exists()
            else "fedward-site join --token-file FILE",
        )
    return parse_token(file.read_text(encoding="ascii", errors="replace"))


def _require_free(home: SiteHome) -> None:
    _require_not_leaving(home)
    if is_member(home) and key_file(home).exists():
        raise ConfigurationError(
            f"the site in {home.folder} is a member of a consortium",
            hint="fedward-site leave ends that; its ledger stays",
        )


def _require_not_leaving(home: SiteHome) -> None:
    if leaving_mark(home).exists():
        raise ConfigurationError(
            "the site was leaving its consortium and is not done", hint="fedward-site leave"
        )


def _settings_for(home: SiteHome, invitation: Invitation, cohort: str) -> dict[str, Any]:
    """Give what `site.toml` says from now on; what it says beside the membership stays."""
    table = read_toml(home.settings_file) if home.settings_file.exists() else {}
    if table.get("simulated"):
        raise ConfigurationError(
            f"{home.folder} is a home of a simulation, which protects nobody",
            hint="join with a home of its own: --home",
        )
    named = {"site": invitation.site, "consortium": invitation.consortium}
    settings = {"cohort": cohort} | table | named
    if invitation.address and "coordinator_address" not in table:
        settings["coordinator_address"] = _host_and_port(invitation)
    return settings


def _host_and_port(invitation: Invitation) -> str:
    parts = urlsplit(invitation.address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or _HTTPS_PORT}"


def _write_tls_authority(home: SiteHome, invitation: Invitation, settings: dict[str, Any]) -> None:
    """Keep whom to believe that it is the coordinator, unless the hospital set another way there.

    A hospital whose `site.toml` names another address or file goes through something of its own.
    """
    is_own_way = "coordinator_authority_file" in settings
    if (
        invitation.address
        and not is_own_way
        and settings["coordinator_address"] == _host_and_port(invitation)
    ):
        pem = pem_of_tls_authority(invitation.tls_authority)
        write_atomically(home.consortium / TLS_AUTHORITY_FILE, pem)
