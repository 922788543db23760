"""What the public listener answers at `/v1/enrolment`, without the authority's key.

A member is told the present roster, and whether another machine showed its node's key. A request to
join, or for the next certificate, is laid into the office, where a person decides; who asks again
is given what was decided. Without an office on this machine those come by file. A refusal is a
code.
"""

from collections.abc import Callable

from fedward_common.consortium.enrolment_answer import present_roster, refused
from fedward_common.consortium.enrolment_request import read_request
from fedward_common.consortium.node_news import is_news_request, make_news, verify_news_request
from fedward_common.consortium.roster import Roster
from fedward_common.consortium.roster_request import is_roster_request, verify_roster_request
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import FedwardError
from fedward_server.consortium.office_folder import Office
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_setup import roster_beside


class EnrolmentAnswers:
    """Answers bytes with bytes.

    Args:
        home: Of the coordinator.
        office: On the same machine; None where requests come by file.
        utc_seconds: Gives seconds since 1970.
        duplicate_of: Gives when a second node last showed a site's key, since 1970; 0 for never.
    """

    def __init__(
        self,
        home: CoordinatorHome,
        office: Office | None,
        utc_seconds: Callable[[], float],
        duplicate_of: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._home = home
        self._office = office
        self._utc_seconds = utc_seconds
        self._duplicate_of = duplicate_of

    def __call__(self, unverified: bytes) -> bytes:
        """Answer a request that came from anybody.

        Raises:
            CorruptFileError: The office's register is damaged.
        """
        try:
            if is_roster_request(unverified):
                return self._news_of_roster(unverified)
            if is_news_request(unverified):
                return self._news_of_node(unverified)
            read_request(unverified)  # what nobody signed does not get as far as the office's lock
        except FedwardError as error:
            return refused(error.code)
        if self._office is None:
            return refused("OFFICE_BY_FILE")
        return self._office.answer(unverified, now_seconds=self._utc_seconds())

    def _news_of_node(self, unverified: bytes) -> bytes:
        roster = self._roster(self._home.roster_file.read_bytes())
        site = verify_news_request(unverified, roster)
        key = SigningKey.from_raw(bytes.fromhex(self._home.key_file.read_text()))
        return make_news(
            key,
            consortium=roster.consortium,
            site=site,
            request=unverified,
            duplicate_seconds=self._duplicate_of(site),
        )

    def _roster(self, signed: bytes) -> Roster:
        return roster_beside(self._home.key_file, signed, now_seconds=self._utc_seconds())

    def _news_of_roster(self, unverified: bytes) -> bytes:
        signed = self._home.roster_file.read_bytes()
        roster = self._roster(signed)
        request = verify_roster_request(unverified, roster)
        return present_roster(signed if roster.version > request.known_version else b"")
