"""What a listener answers: it has no key, keeps little, and tells a stranger a code."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import DAY, NOW, counted_entropy, key_of
from tests.server.consortium.office_cases import (
    KEY,
    harbour,
    invited,
    join_bytes,
    join_request,
    renewal_bytes,
    renewal_request,
)

from fedward_common.consortium.enrolment_answer import Asked, is_waiting, verify_answer
from fedward_common.consortium.enrolment_request import read_request
from fedward_common.errors import UnverifiedMessageError
from fedward_server.consortium import enrolment_desk
from fedward_server.consortium.enrolment_desk import Answered, answer_enrolment
from fedward_server.consortium.office_rules import admit, renew, revoke
from fedward_server.consortium.office_state import OfficeState, apply

STATE, INVITATION = invited(harbour(), "cedar")
REQUEST = join_bytes(INVITATION)


def asked(state: OfficeState, request: bytes, now: float = NOW) -> Answered:
    return answer_enrolment(state, request, now_seconds=now)


def refusal_of(answered: Answered) -> str:
    with pytest.raises(UnverifiedMessageError) as caught:
        is_waiting(answered.answer)
    assert answered.event is None
    return caught.value.code


def test_a_request_of_an_open_invitation_waits_for_a_person() -> None:
    first = asked(STATE, REQUEST)
    assert is_waiting(first.answer)
    assert first.event is not None
    assert first.state == apply(STATE, first.event)
    assert first.state.members.keys() == STATE.members.keys()


def test_asking_again_is_answered_and_not_kept_again() -> None:
    state = asked(STATE, REQUEST).state
    again = asked(state, REQUEST)
    assert is_waiting(again.answer)
    assert (again.event, again.state) == (None, state)


def test_once_a_person_has_decided_the_same_request_is_answered_with_the_membership() -> None:
    state = asked(STATE, REQUEST).state
    event = admit(
        state, KEY, join_request(INVITATION), site="cedar", now_seconds=NOW, entropy=counted_entropy
    )
    assert event is not None
    answered = asked(apply(state, event), REQUEST, now=NOW + 20 * DAY)
    wanted = Asked(
        hashlib.sha256(state.authority).digest(), "cedar", "cedar hospital", "site",
        key_of("cedar").verifying_key,
    )  # fmt: skip
    membership = verify_answer(answered.answer, wanted, now_seconds=NOW + 20 * DAY)
    assert membership.roster.sites == ("alder", "birch", "cedar")
    assert answered.event is None


def test_of_two_keys_with_one_token_the_second_is_turned_away() -> None:
    state = asked(STATE, REQUEST).state
    assert refusal_of(asked(state, join_bytes(INVITATION, key_of("thief")))) == "INVITATION_TAKEN"


def test_a_used_expired_or_unknown_invitation_is_refused_and_nothing_is_kept() -> None:
    event = admit(
        STATE, KEY, join_request(INVITATION), site="cedar", now_seconds=NOW, entropy=counted_entropy
    )
    assert event is not None
    used = apply(STATE, event)
    assert refusal_of(asked(used, join_bytes(INVITATION, key_of("thief")))) == "INVITATION_USED"
    assert refusal_of(asked(STATE, REQUEST, now=NOW + 8 * DAY)) == "INVITATION_EXPIRED"
    assert refusal_of(asked(harbour(), REQUEST)) == "INVITATION_UNKNOWN"
    removed = apply(used, revoke(used, KEY, "cedar", now_seconds=NOW))
    assert refusal_of(asked(removed, REQUEST)) == "NOT_A_MEMBER"


def test_a_renewal_waits_is_granted_and_is_told() -> None:
    request = renewal_bytes(STATE, "alder")
    state = asked(STATE, request).state
    assert is_waiting(asked(state, request).answer)
    assert asked(state, request).event is None
    event = renew(
        state, KEY, renewal_request(STATE, "alder"), now_seconds=NOW + DAY, entropy=counted_entropy
    )
    assert event is not None
    answered = asked(apply(state, event), request, now=NOW + DAY)
    assert not is_waiting(answered.answer)
    assert event.certificate in answered.answer


def test_a_renewal_by_a_stranger_is_refused() -> None:
    stolen = renewal_bytes(STATE, "alder", key_of("thief"))
    assert refusal_of(asked(STATE, stolen)) == "REQUEST_OTHER_KEY"


@given(unverified=st.binary(max_size=200))
def test_a_stranger_learns_a_code_and_leaves_nothing(unverified: bytes) -> None:
    answered = asked(STATE, unverified)
    assert refusal_of(answered) in ("MALFORMED_MESSAGE", "REQUEST_PRIVATE_KEY")
    assert answered.state is STATE


def test_a_renewal_in_other_bytes_is_not_kept_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ed25519 lets the holder of a key sign one body in many ways; the suffix stands for them.
    monkeypatch.setattr(
        enrolment_desk, "read_request", lambda content: read_request(content.rstrip(b"!"))
    )
    request = renewal_bytes(STATE, "alder")
    state = asked(STATE, request).state
    again = asked(state, request + b"!")
    assert is_waiting(again.answer)
    assert (again.event, again.state) == (None, state)
