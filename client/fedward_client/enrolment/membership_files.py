"""What a membership consists of in a site's home, and who may change it.

```
enrolment/invitation.txt  the token, from `join` until the answer is there (0600)
enrolment/request.cbor    what the office is sent
enrolment/renewal.cbor    the same for the next certificate
enrolment/leaving         there while the site leaves
trust/site.key            own signing key (0600), made by `join`
trust/node.key            of the Flower node (0600)
trust/coordinator.pub     the coordinator's key, from the roster
consortium/authority.der, certificate.der, accepted-members.json, newest-roster.json
consortium/coordinator-tls.pem  who vouches for the coordinator's TLS; from an online invitation
enrolment/upkeep.json     what the daemon last did about the membership (`upkeep`)
```
`certificate.der` is written last and removed first: a site is a member if it is there.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from fedward_client.site_home import SiteHome
from fedward_common.consortium.certificates import (
    AuthorityCertificate,
    SiteCertificate,
    read_authority,
    verify_certificate,
)
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError, CorruptFileError, LockedError
from fedward_common.file_lock import held_lock
from fedward_common.hash_chain import ChainedLines

_AUDIT_FILE, _AUDIT_LOCK = "audit.jsonl", ".audit.lock"


def enrolment_folder(home: SiteHome) -> Path:
    """Give the folder of what is sent to the office, for its owner alone."""
    folder = home.folder / "enrolment"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def invitation_file(home: SiteHome) -> Path:
    """`invitation.txt`."""
    return enrolment_folder(home) / "invitation.txt"


def key_file(home: SiteHome) -> Path:
    """`trust/site.key`."""
    return home.trust / "site.key"


def leaving_mark(home: SiteHome) -> Path:
    """There from the first to the last step of leaving."""
    return enrolment_folder(home) / "leaving"


def is_member(home: SiteHome) -> bool:
    """Say whether the site joined and did not leave since."""
    return home.certificate_file.exists() and not leaving_mark(home).exists()


def own_key(home: SiteHome) -> SigningKey:
    """Read the site's signing key.

    Raises:
        CorruptFileError: It is gone or no key.
    """
    path = key_file(home)
    try:
        return SigningKey.from_raw(bytes.fromhex(path.read_text()))
    except (OSError, ValueError, ConfigurationError) as error:
        raise CorruptFileError(
            f"{path} holds no key",
            hint="restore it from the backup, or ask the consortium's office for an invitation and "
            "join with a new key",
        ) from error


def own_certificate(
    home: SiteHome, *, now_seconds: float | None
) -> tuple[AuthorityCertificate, SiteCertificate]:
    """Read the authority's certificate and the site's own.

    Args:
        home: Of the site.
        now_seconds: Since 1970, UTC; None reads one whose time may be over.

    Raises:
        ConfigurationError: The site is no member.
        UnverifiedMessageError: The certificate does not hold.
    """
    try:
        authority = read_authority(home.authority_file.read_bytes())
        own = home.certificate_file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the site in {home.folder} is no member of a consortium",
            hint="fedward-site join --token-file FILE, then --answer FILE",
            code="NO_CERTIFICATE",
        ) from error
    if now_seconds is None:
        from fedward_common.consortium.certificate_form import parse_certificate

        now_seconds = parse_certificate(own).not_before_seconds
    return authority, verify_certificate(own, authority, now_seconds=now_seconds)


@contextlib.contextmanager
def sole_change(home: SiteHome) -> Iterator[None]:
    """Let one command at a time change the membership.

    Raises:
        LockedError: Another one is at it.
    """
    busy = LockedError(
        f"another command changes the membership of {home.folder}", hint="wait for it to end"
    )
    with held_lock(enrolment_folder(home) / ".lock", if_held=busy):
        yield


def note_membership(home: SiteHome, event: str, *, now_seconds: float, **details: object) -> None:
    """Append to the site's audit log what happened to its membership."""
    entry = {"utc_seconds": round(now_seconds, 3), "membership": event, **details}
    with held_lock(home.folder / _AUDIT_LOCK), ChainedLines(home.folder / _AUDIT_FILE) as lines:
        lines.append(entry)
