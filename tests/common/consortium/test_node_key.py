"""The statement that ties a Flower node's key to a site."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.consortium.node_key import state_node_key, verify_node_key
from fedward_common.consortium.roster import Roster, RosterEntry
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

ALDER, BIRCH = SiteId("alder"), SiteId("birch")
KEYS = {name: SigningKey.generate() for name in (ALDER, BIRCH, COORDINATOR)}
ROSTER = Roster(
    "lungs",
    1,
    "00",
    0,
    1,
    (
        RosterEntry(ALDER, "a", "site", KEYS[ALDER].verifying_key),
        RosterEntry(BIRCH, "b", "site", KEYS[BIRCH].verifying_key),
        RosterEntry(COORDINATOR, "c", "coordinator", KEYS[COORDINATOR].verifying_key),
    ),
)


def ssh_line(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


NODE = ec.generate_private_key(ec.SECP384R1())
LINE = ssh_line(NODE)


def stated(
    signer: SiteId = ALDER, site: SiteId = ALDER, consortium: str = "lungs", line: str = LINE
) -> bytes:
    return state_node_key(KEYS[signer], consortium=consortium, site=site, public_key=line)


def test_a_statement_gives_the_site_and_its_key_in_the_form_that_flower_compares() -> None:
    found = verify_node_key(stated(), ROSTER)
    assert found.site == ALDER
    assert load_pem_public_key(found.public_key) == NODE.public_key()


@pytest.mark.parametrize(
    "unverified",
    [
        stated(signer=BIRCH),
        stated(consortium="hearts"),
        stated(signer=COORDINATOR, site=COORDINATOR),
    ],
    ids=["signed by another site", "another consortium", "the coordinator's"],
)
def test_a_statement_that_no_site_made_of_itself_is_refused(unverified: bytes) -> None:
    with pytest.raises(UnverifiedMessageError):
        verify_node_key(unverified, ROSTER)


def test_a_site_that_left_the_roster_states_nothing() -> None:
    without = dataclasses.replace(ROSTER, entries=ROSTER.entries[1:])
    with pytest.raises(UnverifiedMessageError) as refused:
        verify_node_key(stated(), without)
    assert refused.value.code == "NOT_IN_ROSTER"


@pytest.mark.parametrize(
    "line",
    [
        ssh_line(ed25519.Ed25519PrivateKey.generate()),
        "ssh-rsa AAAA",
        "",
        LINE[:40],
    ],
    ids=["another kind of key", "no key", "nothing", "cut short"],
)
def test_only_a_key_on_a_nist_curve_is_stated(line: str) -> None:
    with pytest.raises(MalformedMessageError):
        stated(line=line)


def test_a_signed_key_of_another_kind_is_refused() -> None:
    line = ssh_line(ed25519.Ed25519PrivateKey.generate())
    body = encode_canonically({"consortium": "lungs", "site": ALDER, "public_key": line})
    signature = KEYS[ALDER].sign(body, context="fedward node key v1")
    with pytest.raises(MalformedMessageError):
        verify_node_key(encode_canonically({"body": body, "signature": signature}), ROSTER)


@given(st.data())
def test_a_changed_byte_is_always_noticed(data: st.DataObject) -> None:
    signed = bytearray(stated())
    place = data.draw(st.integers(0, len(signed) - 1))
    signed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FedwardError):
        verify_node_key(bytes(signed), ROSTER)


@given(st.binary(max_size=4000))
def test_any_bytes_are_refused_by_name(unverified: bytes) -> None:
    with pytest.raises(FedwardError):
        verify_node_key(unverified, ROSTER)


def test_a_statement_is_two_fields_and_no_more() -> None:
    fields = decode_canonically(stated())
    with pytest.raises(MalformedMessageError):
        verify_node_key(encode_canonically(fields | {"more": 1}), ROSTER)
