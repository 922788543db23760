"""A site that joins an office of the test's own; the office is played by its rules alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.common.consortium.applicants import invitation_of
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    AUTHORITY_KEY,
    DAY,
    NOW,
    certificate_of,
)

from fedward_client.enrolment.joining import Request, begin_joining, finish_joining
from fedward_client.site_home import SiteHome
from fedward_common.consortium.certificates import SiteCertificate
from fedward_common.consortium.enrolment_answer import admitted
from fedward_common.consortium.enrolment_request import JoinRequest, read_request
from fedward_common.consortium.invitation import Invitation, token_of
from fedward_common.consortium.roster import Roster, make_roster, verify_roster
from fedward_common.crypto.signing import SigningKey

END = NOW + 90 * DAY
OTHERS = tuple(certificate_of(name) for name in ("birch", "coordinator"))


@dataclass
class Joined:
    """One site's home, and what its consortium's office would give it.

    Attributes:
        others: Certificates of the other members.
    """

    home: SiteHome
    others: tuple[SiteCertificate, ...] = OTHERS
    version: int = 2
    invitation: Invitation = field(default_factory=invitation_of)

    @property
    def token(self) -> str:
        return token_of(self.invitation)

    def begin(self, token: str = "", now: float = NOW) -> Request:
        return begin_joining(self.home.folder, token or self.token, cohort="main", now_seconds=now)

    def certificate(self, **changes: Any) -> SiteCertificate:
        """Certify the key in the site's request, or in its home."""
        raw = bytes.fromhex((self.home.trust / "site.key").read_text())
        settled: dict[str, Any] = {
            "key": SigningKey.from_raw(raw).verifying_key,
            "not_before_seconds": NOW,
            "not_after_seconds": END,
        }
        return certificate_of("alder", **settled | changes)

    def roster(self, own: SiteCertificate, *more: SiteCertificate) -> bytes:
        return make_roster(
            AUTHORITY_KEY, AUTHORITY, (own, *self.others, *more), version=self.version,
            issued_at_seconds=NOW, max_age_seconds=300 * DAY,
        )  # fmt: skip

    def verified_roster(self, *more: SiteCertificate, version: int) -> Roster:
        """Give a version with more members."""
        self.version = version
        signed = self.roster(self.certificate(), *more)
        return verify_roster(signed, AUTHORITY, now_seconds=NOW)

    def answer(self, **changes: Any) -> bytes:
        """Answer with a certificate; the roster has the one that the site joined with."""
        listed = {name: value for name, value in changes.items() if not name.startswith("not_")}
        return admitted(
            authority=AUTHORITY.der,
            certificate=self.certificate(**changes).der,
            roster=self.roster(self.certificate(**listed)),
        )

    def finish(self, answer: bytes | None = None, now: float = NOW) -> None:
        finish_joining(
            self.home.folder, self.answer() if answer is None else answer, now_seconds=now
        )

    def join(self) -> "Joined":
        self.begin()
        self.finish()
        return self

    def asked(self) -> JoinRequest:
        request = read_request((self.home.folder / "enrolment" / "request.cbor").read_bytes())
        if not isinstance(request, JoinRequest):
            raise AssertionError
        return request

    def files(self) -> dict[str, bytes]:
        """Give every file of the home, but for locks."""
        return {
            str(path.relative_to(self.home.folder)): path.read_bytes()
            for path in sorted(self.home.folder.rglob("*"))
            if path.is_file() and not path.name.endswith("lock")
        }


def site_in(folder: Path) -> Joined:
    return Joined(SiteHome(folder))
