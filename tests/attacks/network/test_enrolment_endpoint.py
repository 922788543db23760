"""What anybody can send to the place where hospitals ask to join: none of it gets anywhere.

Requests are taken apart and put together wrongly, and where it matters signed again by the right
keys, so a refusal rests on the fault and not on a signature that does not fit any more.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import key_of
from tests.server.consortium.office_cases import join_bytes, renewal_bytes
from tests.server.coordinator.office_on_site import OfficeOnSite, office_on_site
from tests.server.coordinator.test_listener_gates import ask, flower

from fedward_common.consortium.enrolment_answer import is_waiting, roster_in
from fedward_common.consortium.enrolment_request import ENROLMENT_PATH
from fedward_common.consortium.roster_request import make_roster_request
from fedward_common.errors import FedwardError, UnverifiedMessageError
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_server.coordinator.enrolment_answers import EnrolmentAnswers
from fedward_server.coordinator.listener_gates import PublicGate

Fields = dict[str, Any]
KINDS = ("join", "renew", "roster")
WRONG_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**64 - 1,
    1.5,
    "",
    "x",
    b"",
    b"\0" * 33,
    [],
    [1],
    {},
    {"a": 1},
)
# Whatever number a member says it knows, it is told no more than the present roster.
_ANY_VERSION = {f"known_version is {number}" for number in (-1, 0, 2**64 - 1)}
REFUSALS = {
    "MALFORMED_MESSAGE", "UNVERIFIED_MESSAGE", "NODE_KEY_FOREIGN", "REQUEST_OTHER_CONSORTIUM",
    "REQUEST_OTHER_SITE", "REQUEST_OTHER_KEY", "NOT_A_MEMBER", "INVITATION_OTHER", "REPLAY",
    "INVITATION_UNKNOWN", "REQUEST_PRIVATE_KEY",
}  # fmt: skip


@dataclass
class Place:
    """The public listener's gate before an office, and one good request of each kind."""

    made: OfficeOnSite
    good: Mapping[str, bytes]
    signers: Mapping[str, Callable[[str, bytes], list[bytes]]]

    def send(self, request: bytes) -> bytes:
        answers = EnrolmentAnswers(self.made.home, self.made.office, self.made.utc_seconds)
        status, body = ask(PublicGate(flower, answers), ENROLMENT_PATH, body=(request,))
        assert status == 200
        return body

    def refusal_of(self, request: bytes) -> str:
        answer = self.send(request)
        with pytest.raises(UnverifiedMessageError) as refused:
            is_waiting(answer)
        assert self.made.home.roster_file.read_bytes() not in answer
        return refused.value.code

    def framed(self, kind: str, body: bytes) -> bytes:
        """Sign a body as its sender would."""
        frame = decode_canonically(self.good[kind])
        signatures = self.signers[kind](frame["kind"], body)
        signed = {"signature": signatures[0]} if kind == "roster" else {"signatures": signatures}
        return encode_canonically({"kind": frame["kind"], "body": body, **signed})

    @property
    def register(self) -> bytes:
        return self.made.office.register_file.read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = office_on_site(tmp_path, "alder", "birch")
    invitation = made.invite("cedar")
    alder = key_of("alder")
    good = {
        "join": join_bytes(invitation),
        "renew": renewal_bytes(made.state, "alder"),
        "roster": make_roster_request(alder, consortium="harbour", site="alder", known_version=1),
    }

    def by_both(kind: str, body: bytes) -> list[bytes]:
        invited = invitation.key.sign(body, context="fedward invitation v1")
        return [key_of("cedar").sign(body, context=kind), invited]

    def by_alder(kind: str, body: bytes) -> list[bytes]:
        return [alder.sign(body, context=kind)]

    return Place(made, good, {"join": by_both, "renew": by_alder, "roster": by_alder})


def with_entry_twice(fields: Fields, name: str) -> bytes:
    """Encode a map in which one key stands twice, side by side."""
    entries = [(key, value) for key, value in fields.items() for _ in range(1 + (key == name))]
    assert len(entries) < 24
    encoded = b"".join(encode_canonically(k) + encode_canonically(v) for k, v in entries)
    return bytes([0xA0 | len(entries)]) + encoded


def broken(fields: Fields) -> Iterator[tuple[str, bytes]]:
    """Give every way in which one field is not what it should be."""
    yield "an extra field", encode_canonically({**fields, "more": 1})
    yield "no field", encode_canonically({})
    for name, value in fields.items():
        without = {key: kept for key, kept in fields.items() if key != name}
        yield f"{name} missing", encode_canonically(without)
        yield f"{name} under another name", encode_canonically({**without, f"{name} ": value})
        yield f"{name} twice", with_entry_twice(fields, name)
        for wrong in WRONG_VALUES:
            if wrong != value or type(wrong) is not type(value):
                yield f"{name} is {wrong!r}", encode_canonically({**fields, name: wrong})


def test_what_is_whole_is_answered(place: Place) -> None:
    assert is_waiting(place.send(place.good["join"]))
    assert is_waiting(place.send(place.good["renew"]))
    assert roster_in(place.send(place.good["roster"])) == place.made.home.roster_file.read_bytes()
    for kind in KINDS:
        body = decode_canonically(place.good[kind])["body"]
        assert place.framed(kind, body) == place.good[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_with_a_field_missing_extra_twice_or_of_another_type_is_refused(
    place: Place, kind: str
) -> None:
    before = place.register
    for fault, request in broken(decode_canonically(place.good[kind])):
        assert place.refusal_of(request) in REFUSALS, fault
    assert place.register == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_with_such_a_field_is_refused_though_its_signatures_fit(
    place: Place, kind: str
) -> None:
    before = place.register
    body = decode_canonically(decode_canonically(place.good[kind])["body"])
    for fault, encoded in broken(body):
        if fault in _ANY_VERSION:
            continue
        assert place.refusal_of(place.framed(kind, encoded)) in REFUSALS, fault
    assert place.register == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    at=st.integers(0, 400),
    put=st.binary(max_size=6),
    length=st.integers(0, 6),
)
def test_a_request_that_changed_on_its_way_is_refused(
    place: Place, kind: str, at: int, put: bytes, length: int
) -> None:
    good, before = place.good[kind], place.register
    changed = good[:at] + put + good[at + length :]
    if changed != good:
        assert place.refusal_of(changed) in REFUSALS
    assert place.register == before


def test_what_is_not_known_to_the_office_is_not_told_to_it(place: Place) -> None:
    (place.made.office.folder / ".lock").unlink(missing_ok=True)
    for request in (
        b"",
        b"\xff" * 65_000,
        b"-----BEGIN PRIVATE KEY-----",
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        assert place.refusal_of(request) in REFUSALS
    assert not (place.made.office.folder / ".lock").exists()


def answered(gate: PublicGate, path: str, chunks: Sequence[bytes]) -> int:
    """Send chunks and then nothing more, for ever; give the status of the answer."""
    left, sent = list(chunks), []

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0), "more_body": True}

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "path": path, "method": "POST", "headers": [], "client": ("::1", 1)}
    asyncio.run(gate(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", [ENROLMENT_PATH, "/v1/fleet/push-object"])
@pytest.mark.parametrize("chunks", [[], [b"a"], [b"a"] * 5])
def test_who_does_not_finish_a_request_is_not_waited_for(path: str, chunks: list[bytes]) -> None:
    def never(request: bytes) -> bytes:
        raise FedwardError("a request that did not end was answered")

    gate = PublicGate(flower, never, enrolment_seconds=0, fleet_seconds=0)
    assert answered(gate, path, chunks) == 408
