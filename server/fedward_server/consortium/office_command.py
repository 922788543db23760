"""What `fedward consortium init | revoke | roster | backup | restore` do."""

from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.certificates import read_authority
from fedward_common.errors import ConfigurationError
from fedward_common.identities import COORDINATOR
from fedward_server.consortium.coordinator_home_files import hand_to_coordinator
from fedward_server.consortium.desk import Desk, read_bounded
from fedward_server.consortium.office_backup import MAX_BACKUP_BYTES, back_up, restore
from fedward_server.consortium.office_display import (
    date_of,
    print_json,
    say,
    show_roster,
    statement_of,
)
from fedward_server.consortium.office_events import (
    Revoked,
    RosterIssued,
    Withdrawn,
)
from fedward_server.consortium.office_folder import Office, found_office
from fedward_server.consortium.office_rules import (
    issue_roster,
    revoke,
)
from fedward_server.consortium.office_state import OfficeState
from fedward_server.consortium.passphrase import read_passphrase


def run_init(desk: Desk, consortium: str, *, certificate_days: int, roster_days: int) -> None:
    """Make an office and its authority."""
    passphrase = read_passphrase(desk.passphrase_file, is_new=True)
    office = found_office(
        desk.folder,
        consortium=consortium,
        passphrase=passphrase,
        now_seconds=desk.now_seconds(),
        certificate_days=certificate_days,
        roster_days=roster_days,
    )
    state = office.state()
    if desk.json:
        print_json(statement_of(state, desk.now_seconds()))
        return
    until = date_of(read_authority(state.authority).not_after_seconds)
    say(f"Consortium {consortium!r} has its office in {desk.folder}.")
    say(f"Its authority counts until {until}. Whoever has this folder and the passphrase can admit")
    say("anybody: keep them apart, and make a backup.")
    say("Next: fedward consortium invite --coordinator --organisation NAME")
    say("  or, with the coordinator on this machine: fedward coordinator init --office FOLDER")


def run_revoke(desk: Desk, site: str) -> None:
    """Remove a member at once."""
    office = Office(desk.folder)
    state = office.state()
    is_member = site in state.members and site != COORDINATOR
    authority = desk.authority(office, state) if is_member else None

    def decide(now: OfficeState) -> Revoked | Withdrawn:
        return revoke(now, authority, site, now_seconds=desk.now_seconds())

    state, event = office.change(decide)
    if desk.json:
        print_json(statement_of(state, desk.now_seconds()))
        return
    if isinstance(event, Withdrawn):
        say(f"The invitation of {site!r} counts no longer.")
        return
    say(f"{site!r} is removed: roster version {state.roster_version}.")
    say("A coordinator that was started with --office takes it by itself. Else give it, at once:")
    say("  fedward consortium roster --coordinator-home FOLDER, or --out FILE")


def run_roster(
    desk: Desk,
    *,
    out: Path | None,
    coordinator_home: Path | None,
    refresh: bool,
    above: int,
) -> None:
    """Show who belongs to the consortium; export it, or issue it anew."""
    office = Office(desk.folder)
    state = office.state()
    if refresh:
        authority = desk.authority(office, state)

        def decide(now: OfficeState) -> RosterIssued:
            return issue_roster(now, authority, above=above, now_seconds=desk.now_seconds())

        state, _ = office.change(decide)
    if out is not None:
        write_atomically(out, _roster_bytes(state))
    if coordinator_home is not None:
        hand_to_coordinator(state, _roster_bytes(state), coordinator_home)
    statement = statement_of(state, desk.now_seconds())
    if desk.json:
        print_json(statement)
    else:
        show_roster(statement)


def run_backup(desk: Desk, out: Path) -> None:
    """Write an encrypted copy of the office."""
    office = Office(desk.folder)
    content = back_up(office, desk.passphrase())
    sha256 = write_atomically(out, content, mode=0o600)
    if desk.json:
        print_json({"file": str(out), "bytes": len(content), "sha256": sha256})
        return
    say(f"{out} has the whole office; it opens with the same passphrase, and with nothing else.")


def run_restore(desk: Desk, file: Path) -> None:
    """Make an office of a backup."""
    content = read_bounded(file, MAX_BACKUP_BYTES)
    state = restore(content, desk.passphrase(), desk.folder)
    statement = statement_of(state, desk.now_seconds())
    if desk.json:
        print_json(statement)
        return
    show_roster(statement)
    say("If a site has seen a higher version of the roster than this:")
    say("  fedward consortium roster --refresh --above THAT_VERSION")


def _roster_bytes(state: OfficeState) -> bytes:
    if not state.roster:
        raise ConfigurationError(
            "there is no roster yet", hint="it begins with the coordinator: invite --coordinator"
        )
    return state.roster
