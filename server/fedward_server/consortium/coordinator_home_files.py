"""What a coordinator gets of the consortium: its certificate, the roster, the nodes' keys.

Beside its own key (`coordinator.key`, 0600) lie `authority.der`, `certificate.der`, `roster.cbor`
and `nodes/SITE.cbor`. The key is made here and never leaves.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.enrolment_answer import Asked, Membership, verify_answer
from fedward_common.consortium.enrolment_request import make_join_request
from fedward_common.consortium.fingerprint_words import fingerprint_words
from fedward_common.consortium.invitation import Invitation, parse_token, require_unexpired
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError
from fedward_common.wire.canonical_cbor import decode_canonically
from fedward_server.consortium.office_state import OfficeState

_INVITATION = "invitation.txt"


def hand_to_coordinator(state: OfficeState, roster: bytes, folder: Path) -> None:
    """Write the roster and the nodes' keys into a coordinator's home.

    Raises:
        ConfigurationError: It is no coordinator's home.
    """
    if not (folder / "coordinator.key").is_file():
        raise ConfigurationError(
            f"{folder} is no coordinator's home", hint="fedward coordinator join makes one"
        )
    nodes = folder / "nodes"
    nodes.mkdir(mode=0o700, exist_ok=True)
    stated = {f"{one.site}.cbor": one.node_key for one in state.members.values() if one.node_key}
    for file in nodes.glob("*.cbor"):  # whoever was removed connects no longer, whatever follows
        if file.name not in stated:
            file.unlink()
    for name, content in stated.items():
        write_atomically(nodes / name, content, mode=0o600)
    write_atomically(folder / "roster.cbor", roster)


def begin_joining(
    folder: Path, token: str, *, now_seconds: Callable[[], float] = time.time
) -> tuple[Path, tuple[str, ...]]:
    """Make the coordinator's key and its request; what is there stays.

    Returns:
        The request's file, and the words to compare with the office.

    Raises:
        ConfigurationError: The token is none, or is a site's.
        UnverifiedMessageError: `TOKEN_EXPIRED`.
    """
    invitation = parse_token(token)
    if invitation.role != "coordinator":
        raise ConfigurationError(
            f"the invitation is for site {invitation.site!r}", hint="there: fedward-site join"
        )
    require_unexpired(invitation, now_seconds())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_file = folder / "coordinator.key"
    if not key_file.exists():
        write_atomically(key_file, SigningKey.generate().to_raw().hex().encode(), mode=0o600)
    request = make_join_request(invitation, _key_in(folder), b"")
    write_atomically(folder / _INVITATION, token.encode(), mode=0o600)
    write_atomically(folder / "request.cbor", request)
    body: bytes = decode_canonically(request)["body"]
    return folder / "request.cbor", fingerprint_words(body)


def finish_joining(folder: Path, unverified: bytes, *, now_seconds: float) -> Membership:
    """Check the office's answer and keep it.

    Raises:
        ConfigurationError: No joining was begun here.
        UnverifiedMessageError: The answer is not to be believed.
        MalformedMessageError: It is none.
    """
    invitation = _invitation_in(folder)
    key = _key_in(folder).verifying_key
    asked = Asked(
        invitation.authority_sha256,
        invitation.site,
        invitation.organisation,
        invitation.role,
        key,
    )
    membership = verify_answer(unverified, asked, now_seconds=now_seconds)
    write_atomically(folder / "authority.der", membership.authority.der)
    write_atomically(folder / "roster.cbor", membership.signed_roster)
    write_atomically(folder / "certificate.der", membership.certificate.der)
    return membership


def _invitation_in(folder: Path) -> Invitation:
    with contextlib.suppress(FileNotFoundError):
        return parse_token((folder / _INVITATION).read_text(encoding="ascii", errors="replace"))
    raise ConfigurationError(
        f"no joining was begun in {folder}", hint="fedward coordinator join --token-file FILE"
    )


def _key_in(folder: Path) -> SigningKey:
    file = folder / "coordinator.key"
    try:
        return SigningKey.from_raw(bytes.fromhex(file.read_text()))
    except (OSError, ValueError, ConfigurationError) as error:
        raise ConfigurationError(f"{file} holds no key", hint="restore it") from error
