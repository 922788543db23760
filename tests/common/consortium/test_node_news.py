"""Whether another machine showed a node's key: asked and answered with signatures (F22)."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import key_of
from tests.common.consortium.test_roster_request import ROSTER

from fedward_common.consortium.enrolment_answer import refused
from fedward_common.consortium.node_news import (
    is_news_request,
    make_news,
    make_news_request,
    verify_news,
    verify_news_request,
)
from fedward_common.consortium.roster_request import is_roster_request, make_roster_request
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

NONCE = bytes(range(16))
COORDINATOR = key_of("coordinator")


def request_of(site: str = "alder", signer: str = "", consortium: str = "harbour") -> bytes:
    return make_news_request(key_of(signer or site), consortium=consortium, site=site, nonce=NONCE)


def news(at: int = 1_700_000_000, request: bytes = b"", **changes: str) -> bytes:
    return make_news(
        key_of(changes.get("signer", "coordinator")),
        consortium=changes.get("consortium", "harbour"),
        site=changes.get("site", "alder"),
        request=request or request_of(),
        duplicate_seconds=at,
    )


def told(unverified: bytes) -> int:
    key = COORDINATOR.verifying_key
    return verify_news(unverified, key, consortium="harbour", site="alder", request=request_of())


def code_of(check: Callable[[], object]) -> str:
    with pytest.raises(FedwardError) as caught:
        check()
    return caught.value.code


def test_a_member_asks_and_is_told_by_the_coordinator() -> None:
    assert is_news_request(request_of())
    assert verify_news_request(request_of(), ROSTER) == "alder"
    assert told(news()) == 1_700_000_000
    assert told(news(0)) == 0


def test_no_other_request_is_taken_for_one() -> None:
    other = make_roster_request(
        key_of("alder"), consortium="harbour", site="alder", known_version=1
    )
    assert not is_news_request(other)
    assert not is_roster_request(request_of())
    assert code_of(lambda: verify_news_request(other, ROSTER)) == "MALFORMED_MESSAGE"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (request_of("alder", "birch"), "UNVERIFIED_MESSAGE"),
        (request_of("thief"), "NOT_A_MEMBER"),
        (request_of(consortium="other"), "REQUEST_OTHER_CONSORTIUM"),
        (make_news_request(key_of("alder"), consortium="harbour", site="alder", nonce=b"1"),
         "MALFORMED_MESSAGE"),
    ],
)  # fmt: skip
def test_nobody_is_told_but_the_member_itself(request_: bytes, code: str) -> None:
    assert code_of(lambda: verify_news_request(request_, ROSTER)) == code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (news(signer="alder"), "UNVERIFIED_MESSAGE"),
        (news(signer="thief"), "UNVERIFIED_MESSAGE"),
        (news(site="birch"), "REPLAY"),
        (news(consortium="other"), "REPLAY"),
        (news(request=b"another question"), "REPLAY"),
        (news(-1), "MALFORMED_MESSAGE"),
        (news(2**60), "MALFORMED_MESSAGE"),
        (refused("MALFORMED_MESSAGE"), "MALFORMED_MESSAGE"),
        (request_of(), "MALFORMED_MESSAGE"),
        (b"", "MALFORMED_MESSAGE"),
    ],
)
def test_an_answer_of_anybody_else_or_to_anything_else_is_refused(answer: bytes, code: str) -> None:
    assert code_of(lambda: told(answer)) == code


@given(data=st.data())
def test_bytes_that_were_changed_are_refused_by_a_code(data: st.DataObject) -> None:
    for good, check in ((request_of(), lambda b: verify_news_request(b, ROSTER)), (news(), told)):
        changed = bytearray(good)
        at = data.draw(st.integers(0, len(good) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
        with pytest.raises((MalformedMessageError, UnverifiedMessageError)):
            check(bytes(changed))


@pytest.mark.parametrize("field", ["consortium", "site", "nonce"])
def test_a_request_without_a_field_is_malformed_even_with_a_good_signature(field: str) -> None:
    frame = decode_canonically(request_of())
    body = decode_canonically(frame["body"])
    del body[field]
    encoded = encode_canonically(body)
    signature = key_of("alder").sign(encoded, context=frame["kind"])
    changed = encode_canonically(frame | {"body": encoded, "signature": signature})
    assert code_of(lambda: verify_news_request(changed, ROSTER)) == "MALFORMED_MESSAGE"
