"""What the public listener says to sites that join, renew, or ask for the roster."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import key_of
from tests.server.consortium.office_cases import join_bytes, renewal_bytes
from tests.server.coordinator.office_on_site import DAY, OfficeOnSite, office_on_site

from fedward_common.consortium.enrolment_answer import is_waiting, roster_in
from fedward_common.consortium.node_news import make_news_request, verify_news
from fedward_common.consortium.roster_request import make_roster_request
from fedward_common.errors import UnverifiedMessageError
from fedward_server.coordinator.enrolment_answers import EnrolmentAnswers
from fedward_server.coordinator.office_link import OfficeLink


@pytest.fixture
def made(tmp_path: Path) -> OfficeOnSite:
    return office_on_site(tmp_path, "alder", "birch")


def ask(made: OfficeOnSite, request: bytes, *, by_file: bool = False) -> bytes:
    office = None if by_file else made.office
    return EnrolmentAnswers(made.home, office, made.utc_seconds)(request)


def refusal_of(answer: bytes) -> str:
    with pytest.raises(UnverifiedMessageError) as caught:
        is_waiting(answer)
    return caught.value.code


def roster_request(site: str, known: int, signer: str = "") -> bytes:
    return make_roster_request(
        key_of(signer or site), consortium="harbour", site=site, known_version=known
    )


def num_lines(made: OfficeOnSite) -> int:
    return made.office.register_file.read_bytes().count(b"\n")


def test_a_request_is_laid_into_the_office_and_answered_once_somebody_decided(
    made: OfficeOnSite,
) -> None:
    request = join_bytes(made.invite("cedar"))
    assert is_waiting(ask(made, request))
    before = num_lines(made)
    assert is_waiting(ask(made, request))
    assert num_lines(made) == before
    assert "cedar" not in made.state.members
    admitted = made.admit("cedar")
    assert not is_waiting(ask(made, admitted))


def test_nothing_that_the_coordinator_does_opens_the_authoritys_key(made: OfficeOnSite) -> None:
    made.office.key_file.unlink()
    assert is_waiting(ask(made, join_bytes(made.invite("cedar"))))
    assert is_waiting(ask(made, renewal_bytes(made.state, "alder")))
    OfficeLink(made.home, made.office, made.tell, made.utc_seconds).refresh()


def test_a_used_expired_foreign_or_raced_token_is_refused_by_its_code(made: OfficeOnSite) -> None:
    invitation = made.invite("cedar")
    assert is_waiting(ask(made, join_bytes(invitation)))
    raced = join_bytes(invitation, key_of("thief"))
    assert refusal_of(ask(made, raced)) == "INVITATION_TAKEN"
    late = made.invite("dogwood")
    made.now += 8 * DAY
    assert refusal_of(ask(made, join_bytes(late))) == "INVITATION_EXPIRED"
    made.admit("elm")
    assert refusal_of(ask(made, join_bytes(invitation)[:-1])) == "MALFORMED_MESSAGE"
    again = made.invite("cedar")
    assert refusal_of(ask(made, join_bytes(invitation))) == "INVITATION_WITHDRAWN"
    assert is_waiting(ask(made, join_bytes(again)))


def test_a_request_in_the_name_of_another_site_is_refused(made: OfficeOnSite) -> None:
    forged = renewal_bytes(made.state, "alder", key_of("birch"))
    assert refusal_of(ask(made, forged)) == "REQUEST_OTHER_KEY"
    assert refusal_of(ask(made, roster_request("alder", 1, "birch"))) == "UNVERIFIED_MESSAGE"
    assert made.state.members["alder"].waiting == b""


def test_a_member_is_told_the_roster_if_it_is_newer(made: OfficeOnSite) -> None:
    present = made.home.roster_file.read_bytes()
    for by_file in (True, False):
        assert roster_in(ask(made, roster_request("alder", 2), by_file=by_file)) == present
        assert roster_in(ask(made, roster_request("alder", 3), by_file=by_file)) == b""


def test_a_removed_site_and_a_stranger_are_not_told_who_the_members_are(
    made: OfficeOnSite,
) -> None:
    made.revoke("birch")
    made.hand_over()
    for name in ("birch", "cedar"):
        assert refusal_of(ask(made, roster_request(name, 0))) == "NOT_A_MEMBER"


def test_without_an_office_here_requests_come_by_file(made: OfficeOnSite) -> None:
    request = join_bytes(made.invite("cedar"))
    assert refusal_of(ask(made, request, by_file=True)) == "OFFICE_BY_FILE"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(unverified=st.binary(max_size=200))
def test_a_strangers_bytes_get_a_code_and_do_not_reach_the_office(
    made: OfficeOnSite, unverified: bytes
) -> None:
    (made.office.folder / ".lock").unlink(missing_ok=True)
    assert refusal_of(ask(made, unverified)) in ("MALFORMED_MESSAGE", "REQUEST_PRIVATE_KEY")
    assert not (made.office.folder / ".lock").exists()


def test_a_member_alone_is_told_that_another_machine_showed_its_key(made: OfficeOnSite) -> None:
    """F22: with an office on this machine and without."""

    def request_by(signer: str) -> bytes:
        return make_news_request(
            key_of(signer), consortium="harbour", site="alder", nonce=bytes(16)
        )

    duplicates = {"alder": 1_700_000_000}
    for office in (made.office, None):
        answers = EnrolmentAnswers(made.home, office, made.utc_seconds, duplicates.__getitem__)
        request = request_by("alder")
        at = verify_news(
            answers(request), key_of("coordinator").verifying_key,
            consortium="harbour", site="alder", request=request,
        )  # fmt: skip
        assert at == duplicates["alder"]
        assert refusal_of(answers(request_by("birch"))) == "UNVERIFIED_MESSAGE"
