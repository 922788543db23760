"""What a site does not believe is answered by a bare code, and written down without its words."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.refused_requests import (
    NEEDLE,
    entries_of,
    proposed,
    require_written_down,
    state_of,
    trained,
    weights_of,
)
from tests.client.daemon.asked_site import SITE, Answered
from tests.client.jobs.asking_coordinator import Asking, asking

from fedward_client.daemon.audit import AUDIT_FILE, TALLY_FILE
from fedward_client.daemon.site_state import forget_open_sites
from fedward_common.crypto.signing import SigningKey
from fedward_common.identities import COORDINATOR
from fedward_common.wire import messages
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.envelope import Envelope, hashes_of_arrays, sign_envelope
from fedward_common.wire.flower_records import array_record, records_of
from fedward_common.wire.header import Header, encode_header

# -- what cannot be believed -----------------------------------------------------------------------


def other_weights_than_signed(one: Asking) -> Answered:
    envelope = signed_by(one.coordinator.key, one)
    other = array_record(weights_of(one, lambda w: w + 1))
    return one.coordinator.deliver("train.round", records_of(envelope, other))


def signed_by(key: SigningKey, one: Asking) -> Envelope:
    return sign_envelope(
        key,
        subject=one.coordinator.subject(),
        sender=COORDINATOR,
        recipient=SITE,
        kind="train.round",
        body=messages.encode_message(messages.TrainRound(False))[1],
        arrays_sha256=hashes_of_arrays(weights_of(one)),
    )


def of_another_protocol(one: Asking) -> Answered:
    header = Header(
        protocol=2, consortium="c", run=NEEDLE, round=1, attempt=1, manifest_sha256="",
        sender=COORDINATOR, recipient=SITE, kind=NEEDLE, in_reply_to="", body_sha256="",
        arrays_sha256={},
    )  # fmt: skip
    envelope = Envelope(encode_header(header), NEEDLE.encode(), bytes(100))
    return one.coordinator.deliver("train.round", records_of(envelope, array_record({})))


def no_envelope(one: Asking) -> Answered:
    records = RecordDict({NEEDLE: ConfigRecord({"y": NEEDLE.encode()})})
    return one.coordinator.deliver("train.round", records)


UNBELIEVED: dict[str, tuple[Callable[[Asking], Answered], str]] = {
    "that another key signed": (trained(key=SigningKey.generate()), "UNVERIFIED_MESSAGE"),
    "of another sender": (trained(sender="alder"), "UNVERIFIED_MESSAGE"),
    "for another site": (trained(recipient=NEEDLE), "UNVERIFIED_MESSAGE"),
    "of another consortium": (trained(subject={"consortium": NEEDLE}), "UNVERIFIED_MESSAGE"),
    "with other weights than were signed": (other_weights_than_signed, "UNVERIFIED_MESSAGE"),
    "of another protocol that nobody signed": (of_another_protocol, "UNVERIFIED_MESSAGE"),
    "that is no envelope": (no_envelope, "MALFORMED_MESSAGE"),
}


@pytest.mark.parametrize(("ask", "code"), UNBELIEVED.values(), ids=UNBELIEVED)
def test_nothing_is_believed_and_all_is_written_down_that_is(
    agreed: Asking, ask: Callable[[Asking], Answered], code: str
) -> None:
    entry = require_written_down(agreed, ask, code)
    del entry["index"], entry["previous"], entry["utc_seconds"]
    assert entry == {"unbelieved": "train.round", "code": code}


def test_a_site_whose_home_cannot_be_opened_writes_that_down(tmp_path: Path) -> None:
    one = asking(tmp_path)
    (one.home.trust / "site.key").rename(one.home.trust / "aside")
    forget_open_sites()
    require_written_down(one, proposed, "CONFIGURATION")


# -- whatever comes --------------------------------------------------------------------------------


text = st.text(max_size=30) | st.just(NEEDLE) | st.just("NEEDLEAnna")
number = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Give bytes of a header: any, or those of one that is as it should be but for some fields."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=200) | st.just(NEEDLE.encode() * 10))
    plain: dict[str, Any] = {
        "protocol": 1, "consortium": draw(text), "run": draw(text), "round": draw(number),
        "attempt": draw(number), "manifest_sha256": draw(text), "sender": COORDINATOR,
        "recipient": draw(st.sampled_from([SITE, "", NEEDLE])), "kind": draw(text | kinds),
        "in_reply_to": draw(text), "body_sha256": "", "arrays_sha256": {},
    }  # fmt: skip
    if draw(st.booleans()):
        plain[draw(st.sampled_from(sorted(plain)))] = draw(text | number | st.none())
    return encode_canonically(plain)


kinds = st.sampled_from(sorted(messages.KINDS))
types = st.sampled_from(
    ["query.manifest", "train.round", "evaluate.validation", "evaluate.final", "query.mask"]
)


@given(types, headers(), st.binary(max_size=60) | st.just(NEEDLE.encode()), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_bytes_come_add_one_entry_at_most_without_a_word_of_them(
    agreed: Asking, flower_type: str, header: bytes, body: bytes, is_coordinator: bool
) -> None:
    """Also those that the coordinator itself signed, or whoever has its key."""
    home = agreed.home.folder
    (home / TALLY_FILE).unlink(missing_ok=True)
    before, state = len(entries_of(home)), state_of(home)
    key = agreed.coordinator.key if is_coordinator else SigningKey.from_raw(b"\x07" * 32)
    named = with_hash_of(header, body) if b"body_sha256" in header else header
    envelope = Envelope(named, body, key.sign(named, context="fedward envelope v1"))
    answer = agreed.coordinator.deliver(flower_type, records_of(envelope, array_record({})))
    assert answer.error or isinstance(answer.message, messages.Refusal)
    entries = entries_of(home)[before:]
    assert len(entries) == 1
    assert entries[0]["code"] in (answer.error, getattr(answer.message, "code", ""))
    for name in (AUDIT_FILE, TALLY_FILE, "site.log"):
        assert "NEEDLE" not in (home / name).read_text()
    assert state_of(home) == state


def with_hash_of(header: bytes, body: bytes) -> bytes:
    """Let a header name the body that goes with it."""
    plain: dict[str, Any] = decode_canonically(header, max_bytes=8192)
    return encode_canonically({**plain, "body_sha256": hashlib.sha256(body).hexdigest()})
