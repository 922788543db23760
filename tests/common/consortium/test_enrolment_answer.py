"""What comes back from the office: believed by the authority's fingerprint alone."""

import dataclasses
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    AUTHORITY_KEY,
    DAY,
    END,
    NOW,
    authority_of,
    certificate_of,
    key_of,
)

from fedward_common.consortium.enrolment_answer import (
    Asked,
    admitted,
    is_waiting,
    refused,
    verify_answer,
    waiting,
)
from fedward_common.consortium.roster import make_roster
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

ALDER, BIRCH, COORDINATING = (certificate_of(name) for name in ("alder", "birch", "coordinator"))
ASKED = Asked(
    hashlib.sha256(AUTHORITY.der).digest(), "alder", "alder hospital", "site",
    key_of("alder").verifying_key,
)  # fmt: skip


def roster_of(*members: Any) -> bytes:
    return make_roster(
        AUTHORITY_KEY, AUTHORITY, members, version=2, issued_at_seconds=NOW,
        max_age_seconds=30 * DAY,
    )  # fmt: skip


ROSTER = roster_of(ALDER, BIRCH, COORDINATING)
ANSWER = admitted(authority=AUTHORITY.der, certificate=ALDER.der, roster=ROSTER)


def answer_with(**changes: bytes) -> bytes:
    settled = {"authority": AUTHORITY.der, "certificate": ALDER.der, "roster": ROSTER}
    return admitted(**settled | changes)


def code_of(unverified: bytes, asked: Asked = ASKED, now_seconds: float = NOW) -> str:
    with pytest.raises(FedwardError) as caught:
        verify_answer(unverified, asked, now_seconds=now_seconds)
    assert isinstance(caught.value, MalformedMessageError | UnverifiedMessageError)
    return caught.value.code


def test_an_answer_makes_a_member() -> None:
    membership = verify_answer(ANSWER, ASKED, now_seconds=NOW)
    assert membership.authority.consortium == "harbour"
    assert membership.certificate.der == ALDER.der
    assert membership.roster.sites == ("alder", "birch")
    assert membership.signed_roster == ROSTER


def test_an_answer_may_also_be_that_nobody_has_decided() -> None:
    assert is_waiting(waiting())
    assert not is_waiting(ANSWER)
    assert code_of(waiting()) == "MALFORMED_MESSAGE"


def test_a_refusal_is_told_by_its_code() -> None:
    with pytest.raises(UnverifiedMessageError) as caught:
        is_waiting(refused("INVITATION_USED"))
    assert caught.value.code == "INVITATION_USED"
    assert code_of(refused("INVITATION_USED")) == "INVITATION_USED"


IMPOSTOR = authority_of("harbour", key_of("impostor"))


@pytest.mark.parametrize(
    ("unverified", "code"),
    [
        (b"", "MALFORMED_MESSAGE"),
        (ANSWER[:-1], "MALFORMED_MESSAGE"),
        (ANSWER + b"\0", "MALFORMED_MESSAGE"),
        (b"-----BEGIN CERTIFICATE-----", "MALFORMED_MESSAGE"),
        (refused("not a code"), "MALFORMED_MESSAGE"),
        (refused(""), "MALFORMED_MESSAGE"),
        (refused("A" * 100), "MALFORMED_MESSAGE"),
        (answer_with(authority=IMPOSTOR.der), "ANSWER_AUTHORITY"),
        (answer_with(authority=b""), "ANSWER_AUTHORITY"),
        (answer_with(authority=AUTHORITY.der + b"\0"), "ANSWER_AUTHORITY"),
        (answer_with(certificate=BIRCH.der), "ANSWER_CERTIFICATE"),
        (answer_with(certificate=AUTHORITY.der), "CERT_SELF_SIGNED"),
        (answer_with(certificate=b""), "CERT_MALFORMED"),
        (answer_with(certificate=ALDER.der * 2), "CERT_TRAILING_BYTES"),
        (answer_with(roster=b""), "MALFORMED_MESSAGE"),
        (answer_with(roster=roster_of(BIRCH, COORDINATING)), "NOT_IN_ROSTER"),
        (
            answer_with(
                roster=roster_of(
                    certificate_of("alder", key=key_of("other").verifying_key), COORDINATING
                )
            ),
            "ANSWER_ROSTER",
        ),
    ],
)
def test_an_answer_is_refused_by_the_code_of_its_fault(unverified: bytes, code: str) -> None:
    assert code_of(unverified) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"site": "elder"},
        {"organisation": "another house"},
        {"role": "coordinator"},
        {"key": key_of("elder").verifying_key},
    ],
)
def test_an_answer_to_somebody_else_is_refused(changes: dict[str, Any]) -> None:
    assert code_of(ANSWER, dataclasses.replace(ASKED, **changes)) == "ANSWER_CERTIFICATE"


def test_an_answer_that_lay_about_too_long_is_refused() -> None:
    assert code_of(ANSWER, now_seconds=NOW + 31 * DAY) == "ROSTER_EXPIRED"
    assert code_of(ANSWER, now_seconds=END + 1) == "CERT_EXPIRED"


def test_a_late_member_takes_its_renewal_though_the_roster_is_without_it() -> None:
    answer = answer_with(roster=roster_of(BIRCH, COORDINATING))
    took = verify_answer(answer, ASKED, now_seconds=NOW, is_renewal=True)
    assert took.certificate.der == ALDER.der


def test_a_status_and_a_code_that_contradict_each_other_are_no_answer() -> None:
    plain = decode_canonically(ANSWER) | {"code": "INVITATION_USED"}
    verified = verify_answer(ANSWER, ASKED, now_seconds=NOW)
    assert verified.roster.version == 2
    assert code_of(encode_canonically(plain)) == "MALFORMED_MESSAGE"


@given(unverified=st.binary(max_size=300))
def test_random_bytes_are_no_answer(unverified: bytes) -> None:
    assert code_of(unverified) == "MALFORMED_MESSAGE"


@given(at=st.integers(0, len(ANSWER) - 1), bit=st.integers(0, 7))
@settings(max_examples=200)
def test_no_flipped_bit_is_believed(at: int, bit: int) -> None:
    changed = bytearray(ANSWER)
    changed[at] ^= 1 << bit
    code_of(bytes(changed))
