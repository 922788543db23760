"""Leaving a consortium: keys and certificate go, ledger and audit log stay.

What was spent of the patients' privacy stays spent, whoever asks next, so the ledger is no part of
a membership. The office is told by a person; until it has issued a roster without this site, others
still count it in, and it answers nobody any more.
"""

from pathlib import Path

from fedward_client.enrolment.accepted_members import forget_members
from fedward_client.enrolment.membership_files import (
    enrolment_folder,
    invitation_file,
    key_file,
    leaving_mark,
    note_membership,
    sole_change,
)
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import sync_folder, write_atomically
from fedward_common.errors import ConfigurationError, LockedError
from fedward_common.file_lock import held_lock


def leave(folder: Path, *, now_seconds: float) -> bool:
    """End the membership; a killed one is ended by running it again.

    Returns:
        Whether there was anything to end.

    Raises:
        ConfigurationError: The folder is no site's home.
        LockedError: The daemon runs, or another command changes the membership.
    """
    home = SiteHome(folder.absolute())
    if not home.trust.is_dir():
        raise ConfigurationError(f"{folder} is no home of a site", hint="check --home")
    running = LockedError("the site's daemon runs", hint="end it first: it holds the keys")
    with held_lock(home.folder / "daemon.lock", if_held=running), sole_change(home):
        if not _has_membership(home):
            return False
        if not leaving_mark(home).exists():
            note_membership(home, "left", now_seconds=now_seconds)
            write_atomically(leaving_mark(home), b"")
        for path in _files(home):
            path.unlink(missing_ok=True)
        forget_members(home)
        for touched in (home.consortium, home.trust, enrolment_folder(home)):
            sync_folder(touched)
        leaving_mark(home).unlink()
    return True


def _files(home: SiteHome) -> tuple[Path, ...]:
    """Give what is removed, in order: without its certificate a site is no member."""
    enrolment = enrolment_folder(home)
    return (
        home.certificate_file,
        key_file(home),
        home.trust / "node.key",
        home.trust / "coordinator.pub",
        home.consortium / "node-key.cbor",
        enrolment / "request.cbor",
        enrolment / "renewal.cbor",
        enrolment / "upkeep.json",
        invitation_file(home),
    )


def _has_membership(home: SiteHome) -> bool:
    return leaving_mark(home).exists() or any(path.exists() for path in _files(home))
