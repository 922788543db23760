"""`fedward coordinator init`: a coordinator's home from nothing, with TLS of its own.

Where the consortium's office lies on the same machine and its passphrase is given, the coordinator
joins too. Its request then never travels, so there are no words for two people to compare.
"""

import hashlib
import ipaddress
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.enrolment_request import JoinRequest, read_request
from fedward_common.consortium.invitation import Invitation, token_of
from fedward_common.consortium.tls_authority import tls_authority_of_pem
from fedward_common.errors import ConfigurationError
from fedward_common.identities import COORDINATOR
from fedward_common.toml_writing import toml_of
from fedward_server.consortium.coordinator_home_files import (
    begin_joining,
    finish_joining,
    hand_to_coordinator,
)
from fedward_server.consortium.desk import Desk
from fedward_server.consortium.office_display import print_json, say
from fedward_server.consortium.office_events import Admitted, Invited
from fedward_server.consortium.office_folder import Office
from fedward_server.consortium.office_rules import admit, answer_for, invite
from fedward_server.consortium.office_state import OfficeState
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.own_tls import (
    AUTHORITY,
    SERVER,
    SERVER_KEY,
    make_own_tls,
    renew_own_tls,
    require_host,
)

DEFAULT_PORT = 8443

_TLS = "tls"
_DAYS_OF_INVITATION = 1


def run_coordinator_init(
    folder: Path,
    *,
    host: str,
    port: int,
    organisation: str,
    desk: Desk | None,
    json_output: bool,
    now_seconds: Callable[[], float] = time.time,
) -> None:
    """Make a home; with an office, as a member of its consortium.

    Args:
        folder: Of the home; without settings yet.
        host: Name or IP address that hospitals connect to.
        port: Where it listens.
        organisation: That the coordinator belongs to; with an office.
        desk: Of the office on this machine; None leaves joining for later.
        json_output: Print JSON.
        now_seconds: Gives seconds since 1970, UTC.

    Raises:
        ConfigurationError: The home has settings, `host` is none, or the office does not open.
    """
    home = CoordinatorHome(folder.absolute())
    _require_new(home)
    require_host(host)
    home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if desk is not None:
        _join(home.folder, desk, organisation, now_seconds)
    make_own_tls(home.folder / _TLS, host, datetime.fromtimestamp(now_seconds(), UTC))
    office = "" if desk is None else os.path.relpath(desk.folder.absolute(), home.folder)
    # Last, so that a home with settings is whole.
    write_atomically(_settings_file(home), _settings_text(host, port, office).encode())
    _tell(home, host, port, is_member=desk is not None, json_output=json_output)


def run_renew_tls(folder: Path, *, now_seconds: Callable[[], float] = time.time) -> None:
    """Make the next server certificate of the home's own authority.

    Raises:
        ConfigurationError: `coordinator init` did not make this home's TLS.
    """
    renew_own_tls(folder / _TLS, datetime.fromtimestamp(now_seconds(), UTC))
    say(f"{folder / _TLS / SERVER} is new; hospitals need nothing. Start the coordinator again.")


def _require_new(home: CoordinatorHome) -> None:
    if _settings_file(home).exists():
        raise ConfigurationError(
            f"{home.folder} has a coordinator.toml already",
            hint="choose another --home; a certificate is renewed with --renew-tls",
        )


def _settings_file(home: CoordinatorHome) -> Path:
    return home.folder / "coordinator.toml"


def _settings_text(host: str, port: int, office: str) -> str:
    files = {"certificate_file": f"{_TLS}/{SERVER}", "certificate_key_file": f"{_TLS}/{SERVER_KEY}"}
    listens = {"host": _listening_address(host), "port": port}
    return toml_of({**listens, **files, "office": office or None})


def _listening_address(host: str) -> str:
    """A host on loopback is for this machine alone; any other may have several addresses."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "127.0.0.1" if host == "localhost" else "0.0.0.0"  # noqa: S104
    if address.is_loopback:
        return host
    return "0.0.0.0" if address.version == 4 else "::"  # noqa: S104


def _join(folder: Path, desk: Desk, organisation: str, now_seconds: Callable[[], float]) -> None:
    office = Office(desk.folder)
    # Opened first: a wrong passphrase leaves nothing behind.
    authority = desk.authority(office, office.state())
    given: list[Invitation] = []

    def decide(state: OfficeState) -> Invited:
        event, invitation = invite(
            state, site=COORDINATOR, organisation=organisation, role="coordinator",
            days=_DAYS_OF_INVITATION, address="", now_seconds=now_seconds(), entropy=os.urandom,
        )  # fmt: skip
        given.append(invitation)
        return event

    office.change(decide)
    file, _ = begin_joining(folder, token_of(given[0]), now_seconds=now_seconds)
    request = read_request(file.read_bytes())
    if not isinstance(request, JoinRequest):
        raise ConfigurationError(f"{file} is no request to join", hint="remove it and init again")

    def admit_it(state: OfficeState) -> Admitted | None:
        return admit(
            state, authority, request, site=COORDINATOR, now_seconds=now_seconds(),
            entropy=os.urandom,
        )  # fmt: skip

    state, _ = office.change(admit_it)
    finish_joining(folder, answer_for(state, COORDINATOR), now_seconds=now_seconds())
    hand_to_coordinator(state, state.roster, folder)


def _tell(
    home: CoordinatorHome, host: str, port: int, *, is_member: bool, json_output: bool
) -> None:
    pem = home.folder / _TLS / AUTHORITY
    address = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    if json_output:
        digest = hashlib.sha256(tls_authority_of_pem(pem.read_bytes())).hexdigest()
        shown = {"home": str(home.folder), "address": address, "member": is_member}
        print_json(shown | {"tls_authority": str(pem), "tls_authority_sha256": digest})
        return
    say(f"The coordinator in {home.folder} serves {address}, with a TLS authority of its own.")
    say(f"Hospitals believe {pem}. The office puts it into their tokens:")
    say(f"  fedward consortium invite SITE --address {address} --tls-authority {pem}")
    if not is_member:
        say("Next, join a consortium: fedward coordinator join --token-file FILE")
    say("Then: fedward coordinator start")
