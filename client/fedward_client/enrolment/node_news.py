"""Asks the coordinator whether another machine showed the key of this site's node.

Who has the key has a copy of the home, or of a backup of it. So what comes is believed only with
the coordinator's signature, and only as the answer to this question.
"""

from collections.abc import Callable

from fedward_client.enrolment.membership_files import own_certificate, own_key
from fedward_client.enrolment.office_line import Send
from fedward_client.site_home import SiteHome
from fedward_common.consortium.node_news import NONCE_BYTES, make_news_request, verify_news
from fedward_common.crypto.signing import VerifyingKey
from fedward_common.errors import CorruptFileError

DUPLICATE = "NODE_DUPLICATE"


def duplicate_at(home: SiteHome, send: Send, draw: Callable[[int], bytes]) -> int:
    """Give when another machine last showed this site's key, since 1970; 0 for never.

    Args:
        home: Of a member.
        send: Carries the request.
        draw: Gives so many bytes that nobody can foresee.

    Raises:
        FedwardError: Nobody answers, or what came is not the coordinator's answer to this.
    """
    authority, own = own_certificate(home, now_seconds=None)
    names = {"consortium": authority.consortium, "site": own.site}
    request = make_news_request(own_key(home), **names, nonce=draw(NONCE_BYTES))
    return verify_news(send(request), _coordinators_key(home), **names, request=request)


def _coordinators_key(home: SiteHome) -> VerifyingKey:
    path = home.trust / "coordinator.pub"
    try:
        return VerifyingKey(bytes.fromhex(path.read_text()))
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path} holds no key", hint="restore it") from error
