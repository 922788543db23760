"""Joining online: the request goes to the office by itself, and its answer is waited for.

A person at the office decides after the telephone call, so an answer takes minutes or days. Whoever
ends the waiting loses nothing: the next `join` asks with the same request again.
"""

from collections.abc import Callable

from fedward_client.enrolment.joining import Request, finish_joining
from fedward_client.enrolment.office_line import UNREACHABLE, Send
from fedward_client.site_home import SiteHome
from fedward_common.consortium.enrolment_answer import Membership
from fedward_common.errors import FedwardError

ASK_AGAIN_SECONDS = 5.0

_MAY_PASS = frozenset({UNREACHABLE, "OFFICE_BUSY"})


def join_online(
    home: SiteHome,
    request: Request,
    send: Send,
    *,
    now_seconds: Callable[[], float],
    wait: Callable[[float], None] | None,
    say: Callable[[str], None],
) -> Membership | None:
    """Send a request and become a member by the answer.

    Args:
        home: Of the site.
        request: To be sent.
        send: Carries it.
        now_seconds: Gives seconds since 1970, UTC.
        wait: Lets seconds pass before the next question; None asks once.
        say: Tells a person.

    Returns:
        What the site is a member by; None where nobody has decided yet and nobody waits.

    Raises:
        UnverifiedMessageError: The office refuses, or server or answer are not to be believed.
        FedwardError: `OFFICE_UNREACHABLE` or `OFFICE_BUSY`, at the first question.
    """
    membership = finish_joining(home.folder, send(request.content), now_seconds=now_seconds())
    if membership is not None or wait is None:
        return membership
    say(
        "The request is there. Waiting for the office; Ctrl-C is no harm: fedward-site join goes on"
    )
    told = ""
    while membership is None:
        wait(ASK_AGAIN_SECONDS)
        try:
            answer = send(request.content)
        except FedwardError as error:
            if error.code not in _MAY_PASS:
                raise
            if error.code != told:
                say(f"{error}; asking again")
            told = error.code
            continue
        told = ""
        membership = finish_joining(home.folder, answer, now_seconds=now_seconds())
    return membership
