"""Requests: signed by who may ask, and every file that is none."""

import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.consortium.applicants import invitation_of, node_key_of, request_of
from tests.common.consortium.consortium_office import AUTHORITY, certificate_of, forged, key_of

from fedward_common.consortium.enrolment_request import (
    MAX_REQUEST_BYTES,
    JoinRequest,
    RenewalRequest,
    make_renewal_request,
    read_request,
)
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

INVITATION = invitation_of()
REQUEST = request_of(INVITATION)
CERTIFICATE = certificate_of()
RENEWAL = make_renewal_request(
    key_of("alder"), consortium="harbour", site="alder", certificate_der=CERTIFICATE.der
)


def code_of(unverified: bytes) -> str:
    with pytest.raises(FedwardError) as caught:
        read_request(unverified)
    assert isinstance(caught.value, MalformedMessageError | UnverifiedMessageError)
    return caught.value.code


def hand_made(
    *, key: SigningKey | None = None, invitation: SigningKey | None = None, **changes: Any
) -> bytes:
    """Sign any body as a request to join; `...` leaves a field out."""
    key, invitation = key or key_of("alder"), invitation or INVITATION.key
    body = decode_canonically(decode_canonically(REQUEST)["body"]) | changes
    encoded = encode_canonically({n: value for n, value in body.items() if value is not ...})
    signatures = [
        key.sign(encoded, context="fedward join request 1"),
        invitation.sign(encoded, context="fedward invitation v1"),
    ]
    return encode_canonically(
        {"kind": "fedward join request 1", "body": encoded, "signatures": signatures}
    )


def test_a_request_to_join_says_who_asks_by_which_invitation() -> None:
    request = read_request(REQUEST)
    assert isinstance(request, JoinRequest)
    assert (request.site, request.organisation, request.role) == ("alder", "alder hospital", "site")
    assert request.key.raw == key_of("alder").verifying_key.raw
    assert request.invitation_key.raw == INVITATION.key.verifying_key.raw
    assert request.sha256 == hashlib.sha256(REQUEST).hexdigest()
    again = read_request(hand_made())
    assert isinstance(again, JoinRequest)
    assert (again.sha256, again.body) == (request.sha256, request.body)


def test_a_coordinator_asks_without_a_node() -> None:
    request = read_request(request_of(invitation_of("coordinator")))
    assert isinstance(request, JoinRequest)
    assert (request.role, request.node_key) == ("coordinator", b"")


def test_a_renewal_says_which_certificate_it_follows() -> None:
    request = read_request(RENEWAL)
    assert isinstance(request, RenewalRequest)
    assert request.site == "alder"
    assert request.certificate_sha256 == hashlib.sha256(CERTIFICATE.der).digest()
    assert request.sha256 == hashlib.sha256(RENEWAL).hexdigest()


def test_no_request_holds_a_secret() -> None:
    for secret in (key_of("alder").to_raw(), INVITATION.key.to_raw()):
        assert secret not in REQUEST
        assert secret not in RENEWAL


def test_both_sides_see_the_same_words_and_another_key_has_others() -> None:
    request = read_request(REQUEST)
    other = read_request(request_of(INVITATION, key_of("impostor")))
    assert isinstance(request, JoinRequest)
    assert isinstance(other, JoinRequest)
    assert request.words() == request.words() != other.words()
    assert len(request.words()) == 8


@pytest.mark.parametrize(
    ("unverified", "code"),
    [
        (b"", "MALFORMED_MESSAGE"),
        (b"\xa0", "MALFORMED_MESSAGE"),
        (REQUEST[:-1], "MALFORMED_MESSAGE"),
        (REQUEST + b"\0", "MALFORMED_MESSAGE"),
        (REQUEST + REQUEST, "MALFORMED_MESSAGE"),
        (REQUEST.ljust(MAX_REQUEST_BYTES + 1, b"\0"), "MALFORMED_MESSAGE"),
        (certificate_of().der, "MALFORMED_MESSAGE"),
        (forged(), "MALFORMED_MESSAGE"),
        (hand_made(key=key_of("impostor")), "UNVERIFIED_MESSAGE"),
        (hand_made(invitation=key_of("impostor")), "UNVERIFIED_MESSAGE"),
        (hand_made(site="birch"), "NODE_KEY_FOREIGN"),
        (hand_made(site="coordinator"), "MALFORMED_MESSAGE"),
        (hand_made(site="../alder"), "MALFORMED_MESSAGE"),
        (hand_made(organisation="two\nlines"), "MALFORMED_MESSAGE"),
        (hand_made(role="owner"), "MALFORMED_MESSAGE"),
        (hand_made(role="coordinator", site="coordinator"), "MALFORMED_MESSAGE"),
        (hand_made(key_size=5), "MALFORMED_MESSAGE"),
        (hand_made(authority_sha256=b"short"), "MALFORMED_MESSAGE"),
        (hand_made(node_key=...), "MALFORMED_MESSAGE"),
        (hand_made(node_key=b""), "MALFORMED_MESSAGE"),
        (hand_made(node_key=node_key_of(key_of("birch"), "alder")), "NODE_KEY_FOREIGN"),
        (hand_made(node_key=node_key_of(key_of("alder"), "birch")), "NODE_KEY_FOREIGN"),
        (hand_made(node_key=node_key_of(key_of("alder"), "alder", "other")), "NODE_KEY_FOREIGN"),
    ],
)
def test_a_request_is_refused_by_the_code_of_its_fault(unverified: bytes, code: str) -> None:
    assert code_of(unverified) == code


def test_the_key_of_the_invitation_is_no_key_of_a_member() -> None:
    raw = INVITATION.key.verifying_key.raw
    assert code_of(hand_made(key=INVITATION.key)) == "UNVERIFIED_MESSAGE"
    body = decode_canonically(decode_canonically(REQUEST)["body"]) | {"key": raw}
    made = encode_canonically(body)
    contexts = ("fedward join request 1", "fedward invitation v1")
    signatures = [INVITATION.key.sign(made, context=context) for context in contexts]
    kind = "fedward join request 1"
    both = encode_canonically({"kind": kind, "body": made, "signatures": signatures})
    assert code_of(both) == "MALFORMED_MESSAGE"


PRIVATE = Ed25519PrivateKey.from_private_bytes(key_of("alder").to_raw())
PRIVATE_PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
CSR_PEM = (
    x509.CertificateSigningRequestBuilder(x509.Name([]))
    .sign(PRIVATE, None)
    .public_bytes(Encoding.PEM)
)
CERTIFICATE_PEM = x509.load_der_x509_certificate(AUTHORITY.der).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("unverified", "code"),
    [
        (PRIVATE_PEM, "REQUEST_PRIVATE_KEY"),
        (CSR_PEM + PRIVATE_PEM, "REQUEST_PRIVATE_KEY"),
        (REQUEST + PRIVATE_PEM, "REQUEST_PRIVATE_KEY"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "REQUEST_PRIVATE_KEY"),
        (CSR_PEM, "MALFORMED_MESSAGE"),
        (CERTIFICATE_PEM * 2, "MALFORMED_MESSAGE"),
    ],
)
def test_what_people_send_by_mistake_is_named(unverified: bytes, code: str) -> None:
    assert code_of(unverified) == code
    with pytest.raises(FedwardError) as caught:
        read_request(unverified)
    assert caught.value.hint


def test_a_signature_for_joining_is_none_for_renewing() -> None:
    frame = decode_canonically(RENEWAL)
    signature = key_of("alder").sign(frame["body"], context="fedward join request 1")
    assert code_of(encode_canonically(frame | {"signatures": [signature]})) == "UNVERIFIED_MESSAGE"
    for count in (0, 2):
        spoiled = encode_canonically(frame | {"signatures": frame["signatures"] * count})
        assert code_of(spoiled) == "MALFORMED_MESSAGE"


@given(unverified=st.binary(max_size=300))
def test_random_bytes_are_no_request(unverified: bytes) -> None:
    code_of(unverified)


@pytest.mark.parametrize("request_bytes", [REQUEST, RENEWAL], ids=["join", "renewal"])
@given(data=st.data())
@settings(max_examples=150)
def test_no_flipped_bit_is_believed(request_bytes: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(request_bytes) - 1))
    changed = bytearray(request_bytes)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    code_of(bytes(changed))
