"""Only a member of the present roster is told it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    AUTHORITY_KEY,
    DAY,
    NOW,
    certificate_of,
    key_of,
)

from fedward_common.consortium.enrolment_answer import (
    present_roster,
    refused,
    roster_in,
    waiting,
)
from fedward_common.consortium.roster import Roster, make_roster, verify_roster
from fedward_common.consortium.roster_request import (
    is_roster_request,
    make_roster_request,
    verify_roster_request,
)
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError


def roster_of(*sites: str) -> Roster:
    signed = make_roster(
        AUTHORITY_KEY, AUTHORITY, [certificate_of(one) for one in (*sites, "coordinator")],
        version=3, issued_at_seconds=NOW, max_age_seconds=30 * DAY,
    )  # fmt: skip
    return verify_roster(signed, AUTHORITY, now_seconds=NOW)


ROSTER = roster_of("alder", "birch")


def request_of(
    site: str = "alder", key: SigningKey | None = None, consortium: str = "harbour", known: int = 2
) -> bytes:
    return make_roster_request(
        key or key_of(site), consortium=consortium, site=site, known_version=known
    )


def refusal_of(unverified: bytes, roster: Roster = ROSTER) -> str:
    with pytest.raises(UnverifiedMessageError) as caught:
        verify_roster_request(unverified, roster)
    return caught.value.code


def test_a_members_request_is_known_and_read() -> None:
    assert is_roster_request(request_of())
    request = verify_roster_request(request_of(), ROSTER)
    assert (request.site, request.known_version) == ("alder", 2)


def test_a_stranger_a_removed_site_and_another_key_are_told_nothing() -> None:
    assert refusal_of(request_of("cedar")) == "NOT_A_MEMBER"
    assert refusal_of(request_of("birch"), roster_of("alder")) == "NOT_A_MEMBER"
    assert refusal_of(request_of("alder", key_of("birch"))) == "UNVERIFIED_MESSAGE"
    assert refusal_of(request_of(consortium="other")) == "REQUEST_OTHER_CONSORTIUM"


@given(unverified=st.binary(max_size=300))
def test_other_bytes_are_no_request(unverified: bytes) -> None:
    for content in (unverified, request_of()[:-1], request_of() + unverified + b"\0"):
        with pytest.raises(FedwardError):
            verify_roster_request(content, ROSTER)


def test_a_roster_in_an_answer_is_given_as_it_came() -> None:
    assert roster_in(present_roster(b"signed")) == b"signed"
    assert roster_in(present_roster(b"")) == b""
    with pytest.raises(MalformedMessageError):
        roster_in(waiting())
    with pytest.raises(UnverifiedMessageError) as caught:
        roster_in(refused("NOT_A_MEMBER"))
    assert caught.value.code == "NOT_A_MEMBER"
