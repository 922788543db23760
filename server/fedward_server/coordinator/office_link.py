"""Takes over what a person at the office decided, where the office is on this machine.

Rosters, newer ones alone, and the nodes' keys come into the coordinator's home within seconds, so a
removal acts at once and nobody carries a file. The coordinator's own next certificate is asked for
in time, as a site asks for its own. The authority's key is never needed and never opened here.
"""

import hashlib
from collections.abc import Callable

from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.certificate_form import parse_certificate
from fedward_common.consortium.certificates import (
    SiteCertificate,
    is_renewal_due,
    read_authority,
    verify_certificate,
)
from fedward_common.consortium.enrolment_answer import Asked, is_waiting, verify_answer
from fedward_common.consortium.enrolment_request import make_renewal_request
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError, CorruptFileError, UnverifiedMessageError
from fedward_common.event_lines import Tell
from fedward_server.consortium.coordinator_home_files import hand_to_coordinator
from fedward_server.consortium.issuing import read_own_roster
from fedward_server.consortium.office_folder import Office
from fedward_server.consortium.office_state import OfficeState
from fedward_server.coordinator.coordinator_home import CoordinatorHome

ROSTER_TAKEN = "roster.taken"
RENEWED = "certificate.renewed"
RENEWAL_WAITS = "certificate.waits"


class OfficeLink:
    """Looks at the office now and then.

    Args:
        home: Of the coordinator.
        office: Of its consortium.
        tell: Writes lines of the log.
        utc_seconds: Gives seconds since 1970.

    Raises:
        ConfigurationError: The office is another consortium's, or the coordinator has not joined.
    """

    def __init__(
        self,
        home: CoordinatorHome,
        office: Office,
        tell: Tell,
        utc_seconds: Callable[[], float],
    ) -> None:
        self._home = home
        self._office = office
        self._tell = tell
        self._utc_seconds = utc_seconds
        self._seen: tuple[int, int, int] | None = None
        self._asked_after = b""
        try:
            pinned = home.authority_file.read_bytes()
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"the coordinator in {home.folder} has not joined a consortium",
                hint="fedward coordinator join --token-file FILE, then --answer FILE",
            ) from error
        if office.state().authority != pinned:
            raise ConfigurationError(
                f"{office.folder} is the office of another consortium than the coordinator's",
                hint="check --office, or join the consortium of this office",
            )
        self._authority = read_authority(pinned)

    def refresh(self) -> None:
        """Take over what changed.

        Raises:
            CorruptFileError: The office's register is damaged.
        """
        file = self._office.register_file.stat()
        now = file.st_ino, file.st_size, file.st_mtime_ns
        if now != self._seen:
            self._take_roster(self._office.state())
        self._renew(is_changed=now != self._seen)
        self._seen = now

    def _take_roster(self, state: OfficeState) -> None:
        present = read_own_roster(self._home.roster_file.read_bytes(), self._authority)
        if state.roster_version < present.version:
            raise CorruptFileError(
                f"the office's roster has version {state.roster_version}, the coordinator's has "
                f"{present.version}",
                hint="the office was restored from an older backup: fedward consortium roster "
                f"--refresh --above {present.version}",
                code="OFFICE_BEHIND",
            )
        if state.roster_version > present.version:
            hand_to_coordinator(state, state.roster, self._home.folder)
            self._tell(ROSTER_TAKEN, version=state.roster_version)

    def _renew(self, *, is_changed: bool) -> None:
        """Ask for the next certificate when it is due, and again when something was decided."""
        own = self._own_certificate()
        now_seconds = self._utc_seconds()
        is_new = self._asked_after != own.der
        if not is_renewal_due(own, now_seconds=now_seconds) or not (is_changed or is_new):
            return
        key = SigningKey.from_raw(bytes.fromhex(self._home.key_file.read_text()))
        request = make_renewal_request(
            key, consortium=self._authority.consortium, site=own.site, certificate_der=own.der
        )
        answer = self._office.answer(request, now_seconds=now_seconds)
        self._asked_after = own.der
        if is_waiting(answer):
            if is_new:
                self._tell(RENEWAL_WAITS)
            return
        digest = hashlib.sha256(self._authority.der).digest()
        asked = Asked(digest, own.site, own.organisation, own.role, own.key)
        came = verify_answer(answer, asked, now_seconds=now_seconds, is_renewal=True).certificate
        write_atomically(self._home.certificate_file, came.der)
        self._tell(RENEWED, days=round((came.not_after_seconds - now_seconds) / 86_400, 1))

    def _own_certificate(self) -> SiteCertificate:
        """Read the coordinator's certificate, whose time may be over."""
        try:
            der = self._home.certificate_file.read_bytes()
        except FileNotFoundError as error:
            raise UnverifiedMessageError(
                "the coordinator has no certificate", hint="join again", code="NO_CERTIFICATE"
            ) from error
        begin = parse_certificate(der).not_before_seconds
        return verify_certificate(der, self._authority, now_seconds=begin)
