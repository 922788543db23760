"""The next certificate, in time: asked for at two thirds of the present one's life.

The key stays, so nothing changes for anybody else: no roster, no consent, no run. The present
certificate counts until its own end, which leaves the office a third of its life to answer.
"""

import hashlib
from typing import Literal

from fedward_client.enrolment.membership_files import (
    enrolment_folder,
    note_membership,
    own_certificate,
    own_key,
    sole_change,
)
from fedward_client.enrolment.office_line import Send
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.certificates import (
    AuthorityCertificate,
    SiteCertificate,
    is_renewal_due,
)
from fedward_common.consortium.enrolment_answer import Asked, is_waiting, verify_answer
from fedward_common.consortium.enrolment_request import make_renewal_request
from fedward_common.errors import UnverifiedMessageError


def write_renewal_request(home: SiteHome) -> bytes:
    """Ask for the certificate that follows the present one; also where its time is over.

    Returns:
        The request, which is in `enrolment/renewal.cbor` too; the same until it is answered.

    Raises:
        ConfigurationError: The site is no member.
        CorruptFileError: Its key is gone.
    """
    authority, own = own_certificate(home, now_seconds=None)
    request = make_renewal_request(
        own_key(home), consortium=authority.consortium, site=own.site, certificate_der=own.der
    )
    write_atomically(enrolment_folder(home) / "renewal.cbor", request)
    return request


def take_renewal(home: SiteHome, unverified: bytes, *, now_seconds: float) -> SiteCertificate:
    """Check the office's answer and go on with the new certificate.

    Raises:
        UnverifiedMessageError: `ANSWER_OLDER`, or it is not to be believed.
        MalformedMessageError: It is no answer, or says that nobody has decided yet.
    """
    with sole_change(home):
        authority, own = own_certificate(home, now_seconds=None)
        asked = _asked_by(authority, own)
        came = verify_answer(unverified, asked, now_seconds=now_seconds, is_renewal=True)
        if came.certificate.not_after_seconds < own.not_after_seconds:
            raise UnverifiedMessageError(
                "the answer's certificate ends before the present one",
                hint="it is an older answer; ask the office for the newest",
                code="ANSWER_OLDER",
            )
        if came.certificate.der != own.der:
            until = came.certificate.not_after_seconds
            note_membership(home, "renewed", now_seconds=now_seconds, until=until)
            write_atomically(home.certificate_file, came.certificate.der)
        (enrolment_folder(home) / "renewal.cbor").unlink(missing_ok=True)
    return came.certificate


def renew_if_due(
    home: SiteHome, send: Send, *, now_seconds: float
) -> Literal["not due", "waiting", "renewed"]:
    """Do what a daemon does about its certificate now and then.

    Args:
        home: Of the site.
        send: Carries the request.
        now_seconds: Since 1970, UTC.

    Raises:
        UnverifiedMessageError: The office refuses, or its answer is not to be believed.
    """
    _, own = own_certificate(home, now_seconds=None)
    if not is_renewal_due(own, now_seconds=now_seconds):
        return "not due"
    answer = send(write_renewal_request(home))
    if is_waiting(answer):
        return "waiting"
    take_renewal(home, answer, now_seconds=now_seconds)
    return "renewed"


def _asked_by(authority: AuthorityCertificate, own: SiteCertificate) -> Asked:
    digest = hashlib.sha256(authority.der).digest()
    return Asked(digest, own.site, own.organisation, own.role, own.key)
