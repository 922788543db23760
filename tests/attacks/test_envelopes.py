"""A peer or the network sends something else than what was signed for here.

`arrive` takes a message as a receiver does: records, header, key by sender, signature, body,
arrays, subject, request, message.
"""

import dataclasses
import hashlib
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import FedwardError, MalformedMessageError, UnverifiedMessageError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.envelope import (
    Arrays,
    Envelope,
    Subject,
    hashes_of_arrays,
    sign_envelope,
    verify_envelope,
    verify_subject,
)
from fedward_common.wire.flower_records import array_record, envelope_of, records_of
from fedward_common.wire.header import Header
from fedward_common.wire.messages import (
    Message,
    TrainReply,
    decode_message,
    encode_message,
)

CONTEXT = "fedward envelope v1"
ALDER, BIRCH = SiteId("alder"), SiteId("birch")
KEYS = {ALDER: SigningKey.from_raw(b"\x01" * 32), BIRCH: SigningKey.from_raw(b"\x02" * 32)}
ROSTER = {site: key.verifying_key for site, key in KEYS.items()}
SUBJECT = Subject("consortium", "run-1", "a" * 64, round=3, attempt=2)
REQUEST = "d" * 64
ARRAYS: dict[str, Any] = {
    "update": np.array([0.5, -1.0, 2.0], dtype=np.float32),
    "sums": np.array([4, 5], dtype=np.int64),
}


def reply(subject: Subject = SUBJECT, **changes: Any) -> Envelope:
    """An honest answer of alder, or with another header signed by the key given."""
    kind, body = encode_message(TrainReply(local_steps=7))
    values: dict[str, Any] = {
        "sender": ALDER,
        "recipient": COORDINATOR,
        "kind": kind,
        "body": body,
        "arrays_sha256": hashes_of_arrays(ARRAYS),
        "in_reply_to": REQUEST,
    }
    key = changes.pop("key", KEYS[ALDER])
    return sign_envelope(key, subject=subject, **values | changes)


def key_of(header: Header) -> VerifyingKey:
    if header.sender not in ROSTER:
        raise UnverifiedMessageError("not in the roster")
    return ROSTER[SiteId(header.sender)]


def arrive(records: RecordDict) -> tuple[Message, Arrays]:
    envelope, arrays = envelope_of(records)
    header = verify_envelope(envelope, arrays, key_of)
    verify_subject(header, SUBJECT, recipient=COORDINATOR)
    if header.in_reply_to != REQUEST:
        raise UnverifiedMessageError("another request", code="REPLAY")
    return decode_message(header.kind, envelope.body), arrays


def sent(envelope: Envelope, arrays: Arrays = ARRAYS) -> RecordDict:
    return records_of(envelope, array_record(arrays))


def rewritten(envelope: Envelope, **changes: Any) -> bytes:
    return encode_canonically(decode_canonically(envelope.header_bytes) | changes)


def signed_header(header_bytes: bytes, body: bytes | None = None) -> Envelope:
    """A header that an honest library would not write, signed by alder itself."""
    signature = KEYS[ALDER].sign(header_bytes, context=CONTEXT)
    return Envelope(header_bytes, reply().body if body is None else body, signature)


def test_the_honest_message_arrives() -> None:
    message, arrays = arrive(sent(reply()))
    assert message == TrainReply(local_steps=7)
    np.testing.assert_array_equal(arrays["update"], ARRAYS["update"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("consortium", "other"),
        ("run", "run-2"),
        ("round", 4),
        ("round", 2),
        ("round", -1),
        ("attempt", 1),
        ("attempt", 3),
        ("manifest_sha256", "b" * 64),
        ("manifest_sha256", ""),
    ],
)
def test_a_message_of_another_run_round_attempt_or_manifest_is_refused(
    name: str, value: Any
) -> None:
    foreign = reply(dataclasses.replace(SUBJECT, **{name: value}))
    with pytest.raises(UnverifiedMessageError, match=f"another {name}"):
        arrive(sent(foreign))


@pytest.mark.parametrize("recipient", [BIRCH, "", "Coordinator", "coordinator "])
def test_a_message_to_somebody_else_is_refused(recipient: str) -> None:
    with pytest.raises(UnverifiedMessageError, match="somebody else"):
        arrive(sent(reply(recipient=recipient)))


@pytest.mark.parametrize("request_sha256", ["e" * 64, "", "D" * 64])
def test_a_reply_to_another_request_is_a_replay(request_sha256: str) -> None:
    with pytest.raises(UnverifiedMessageError) as caught:
        arrive(sent(reply(in_reply_to=request_sha256)))
    assert caught.value.code == "REPLAY"


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Header)])
def test_a_header_rewritten_on_the_way_is_refused(field: str) -> None:
    honest = reply()
    old = decode_canonically(honest.header_bytes)[field]
    new = {} if isinstance(old, dict) else old + (1 if isinstance(old, int) else "x")
    forged = dataclasses.replace(honest, header_bytes=rewritten(honest, **{field: new}))
    with pytest.raises(FedwardError) as caught:
        arrive(sent(forged))
    expected = MalformedMessageError if field == "protocol" else UnverifiedMessageError
    assert type(caught.value) is expected


@given(bit=st.integers(0, 8 * len(reply().header_bytes) - 1))
@settings(max_examples=150, deadline=None)
def test_any_flipped_bit_of_the_header_is_refused(bit: int) -> None:
    honest = reply()
    header = bytearray(honest.header_bytes)
    header[bit // 8] ^= 1 << bit % 8
    with pytest.raises((MalformedMessageError, UnverifiedMessageError)):
        arrive(sent(dataclasses.replace(honest, header_bytes=bytes(header))))


@pytest.mark.parametrize("bit", range(0, 512, 31))
def test_any_flipped_bit_of_the_signature_is_refused(bit: int) -> None:
    honest = reply()
    signature = bytearray(honest.signature)
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UnverifiedMessageError, match="signature"):
        arrive(sent(dataclasses.replace(honest, signature=bytes(signature))))


@pytest.mark.parametrize("signature", [b"", b"\x00" * 64, b"\x00" * 63, b"\xff" * 65])
def test_no_signature_is_none(signature: bytes) -> None:
    with pytest.raises(UnverifiedMessageError, match="signature"):
        arrive(sent(dataclasses.replace(reply(), signature=signature)))


def test_a_site_cannot_speak_for_another() -> None:
    with pytest.raises(UnverifiedMessageError, match="signature"):
        arrive(sent(reply(sender=BIRCH)))  # signed by alder
    with pytest.raises(UnverifiedMessageError, match="signature"):
        arrive(sent(reply(key=KEYS[BIRCH])))  # claims to be alder


@pytest.mark.parametrize("sender", ["cedar", "coordinator", "ALDER", "", "alder\x00"])
def test_who_is_not_in_the_roster_is_refused_whatever_the_signature(sender: str) -> None:
    with pytest.raises(UnverifiedMessageError, match="roster"):
        arrive(sent(reply(sender=sender, key=SigningKey.generate())))


def test_a_signature_over_the_same_bytes_for_another_purpose_is_refused() -> None:
    header = reply().header_bytes
    for context in ("", "fedward envelope v2", "fedward roster v1"):
        signature = KEYS[ALDER].sign(header, context=context)
        with pytest.raises(UnverifiedMessageError, match="signature"):
            arrive(sent(dataclasses.replace(reply(), signature=signature)))


def test_a_signature_without_a_context_is_refused() -> None:
    raw = KEYS[ALDER]._key.sign(reply().header_bytes)
    with pytest.raises(UnverifiedMessageError, match="signature"):
        arrive(sent(dataclasses.replace(reply(), signature=raw)))


def test_a_swapped_body_is_refused() -> None:
    _, other = encode_message(TrainReply(local_steps=8))
    with pytest.raises(UnverifiedMessageError, match="body"):
        arrive(sent(dataclasses.replace(reply(), body=other)))


@pytest.mark.parametrize("body", [b"", b"\x00", bytes(2 << 20)], ids=["none", "zero", "2 MB"])
def test_a_body_that_was_not_signed_is_refused_whatever_its_size(body: bytes) -> None:
    with pytest.raises(UnverifiedMessageError, match="body"):
        arrive(sent(dataclasses.replace(reply(), body=body)))


def test_an_oversized_body_is_refused_even_with_a_good_signature() -> None:
    with pytest.raises(MalformedMessageError, match="at most"):
        arrive(sent(reply(body=bytes(2 << 20))))


def test_a_body_of_another_kind_is_refused_even_with_a_good_signature() -> None:
    for kind in ("refusal", "train.round", "manifest.reply", "unknown"):
        with pytest.raises(MalformedMessageError):
            arrive(sent(reply(kind=kind)))


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"update": ARRAYS["update"]},
        ARRAYS | {"extra": np.zeros(1, np.float32)},
        ARRAYS | {"update": ARRAYS["update"] * np.float32(100)},
        ARRAYS | {"update": ARRAYS["update"][:2]},
        ARRAYS | {"update": ARRAYS["update"].reshape(3, 1)},
        ARRAYS | {"update": ARRAYS["update"][::-1]},
        ARRAYS | {"update": np.zeros(3, np.float32)},
        ARRAYS | {"sums": ARRAYS["sums"].view(np.float32)},
        {"update": ARRAYS["sums"], "sums": ARRAYS["update"]},
        {"Update": ARRAYS["update"], "sums": ARRAYS["sums"]},
    ],
    ids=[
        "none", "one missing", "one more", "scaled", "cut", "reshaped", "reversed", "zeros",
        "same bytes as another type", "swapped", "renamed",
    ],
)  # fmt: skip
def test_other_arrays_than_those_that_were_signed_are_refused(arrays: Arrays) -> None:
    with pytest.raises(UnverifiedMessageError, match="array"):
        arrive(sent(reply(), arrays))


def test_every_flipped_bit_of_an_array_is_refused() -> None:
    data = ARRAYS["update"].tobytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        array = np.frombuffer(bytes(flipped), dtype=np.float32)
        with pytest.raises(UnverifiedMessageError, match="array"):
            arrive(sent(reply(), {**ARRAYS, "update": array}))


@pytest.mark.parametrize("protocol", [0, 2, -1, 2**62])
def test_a_header_of_another_protocol_is_refused_by_a_code_of_its_own(protocol: int) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        arrive(sent(signed_header(rewritten(reply(), protocol=protocol))))
    assert caught.value.code == ("PROTOCOL_TOO_NEW" if protocol > 1 else "PROTOCOL_TOO_OLD")


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Header)])
def test_a_header_without_a_field_is_refused_even_with_a_good_signature(field: str) -> None:
    fields = decode_canonically(reply().header_bytes)
    del fields[field]
    with pytest.raises(MalformedMessageError, match="missing"):
        arrive(sent(signed_header(encode_canonically(fields))))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("round", True),
        ("round", "3"),
        ("round", 3.0),
        ("round", 2**64 - 1),
        ("attempt", None),
        ("sender", b"alder"),
        ("sender", None),
        ("recipient", ["coordinator"]),
        ("arrays_sha256", []),
        ("arrays_sha256", {"update": b"x"}),
        ("body_sha256", 0),
        ("protocol", True),
        ("extra", "field"),
    ],
)
def test_a_header_with_a_wrong_field_is_refused_even_with_a_good_signature(
    field: str, wrong: Any
) -> None:
    with pytest.raises(MalformedMessageError, match=field):
        arrive(sent(signed_header(rewritten(reply(), **{field: wrong}))))


def test_a_header_that_is_not_canonical_is_refused_even_with_a_good_signature() -> None:
    honest = reply().header_bytes
    items = honest[1:]
    long_form = b"\xb8" + bytes([honest[0] & 0x1F]) + items
    indefinite = b"\xbf" + items + b"\xff"
    for header in (long_form, indefinite, honest + b"\x00", honest[:-1], b"", b"\xd8\x1c" + honest):
        with pytest.raises(MalformedMessageError):
            arrive(sent(signed_header(header)))


def test_an_oversized_header_is_refused_before_its_signature_is_looked_at() -> None:
    many = {f"array-{n}": "a" * 64 for n in range(200)}
    header = rewritten(reply(), arrays_sha256=many)
    assert len(header) > 8192
    with pytest.raises(MalformedMessageError, match="at most 8192"):
        arrive(sent(Envelope(header, b"", b"")))


def test_an_earlier_reply_put_in_place_of_this_one_is_refused() -> None:
    earlier = reply(dataclasses.replace(SUBJECT, round=2), in_reply_to="c" * 64)
    with pytest.raises(UnverifiedMessageError, match="round"):
        arrive(sent(earlier))
    same_round_other_question = reply(in_reply_to=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(UnverifiedMessageError, match="request"):
        arrive(sent(same_round_other_question))


def test_parts_of_two_good_messages_make_no_third() -> None:
    one, two = reply(), reply(body=encode_message(TrainReply(8))[1])
    for mixed in (
        Envelope(one.header_bytes, one.body, two.signature),
        Envelope(one.header_bytes, two.body, two.signature),
        Envelope(two.header_bytes, one.body, one.signature),
        Envelope(two.header_bytes, one.body, two.signature),
    ):
        with pytest.raises(UnverifiedMessageError):
            arrive(sent(mixed))


@pytest.mark.parametrize(
    "record",
    [
        {"w": Array(dtype="float32", shape=(-1,), stype="fedward.raw-le", data=bytes(4))},
        {"w": Array(dtype="float32", shape=(2**62,), stype="fedward.raw-le", data=bytes(4))},
        {"w": Array(dtype="object", shape=(1,), stype="numpy.ndarray", data=b"\x80\x04.")},
        {"w": Array(dtype="float32", shape=(1,), stype="numpy.ndarray", data=b"\x93NUMPY")},
    ],
    ids=["negative", "giant", "pickle", "npy"],
)
def test_arrays_that_could_harm_are_refused_before_the_signature(record: dict[str, Array]) -> None:
    with pytest.raises(MalformedMessageError):
        arrive(records_of(reply(), ArrayRecord(record)))


def test_records_beside_the_two_are_refused() -> None:
    records = sent(reply())
    records["more"] = ConfigRecord({"code": "import os"})
    with pytest.raises(MalformedMessageError, match="records"):
        arrive(records)
