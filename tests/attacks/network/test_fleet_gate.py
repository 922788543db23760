"""What anybody can send to the place where sites' nodes ask: Flower, behind the public gate.

Whatever comes is answered with a refusal of the asker; nothing ends in an error of the server.
"""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.attacks.network.outsider import (
    FLEET,
    FLEET_PATHS,
    HEADERS,
    REFUSED,
    new_key,
    pem_of,
    request_to,
    signed_headers,
)
from tests.flower_in_memory import connect_clients

from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.listener_gates import MAX_BODY_BYTES, AsgiApp, PublicGate
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.superlink import superlink_app

ACCESS = LoopbackAccess(1)
CONNECT = FLEET + "activate-node"
PULL = FLEET + "pull-messages"
MEMBER = new_key()
AUTH = (FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER)
# Its own words for what it does not take: not the asker, not the bytes, not their kind.
NOT_TAKEN = REFUSED | {400, 404, 415, 422}


@pytest.fixture
def app(flower_database: Path, monkeypatch: pytest.MonkeyPatch) -> AsgiApp:
    made = superlink_app(flower_database, ACCESS)
    connect_clients(monkeypatch, made)
    FlowerControl(ACCESS).register_node(pem_of(MEMBER))
    return made


@pytest.fixture
def public(app: AsgiApp) -> httpx.Client:
    return TestClient(PublicGate(app), raise_server_exceptions=False)


Headers = list[tuple[str, str]]


def good_headers() -> dict[str, str]:
    return dict(signed_headers(MEMBER))


def faulty_headers() -> Iterator[tuple[str, Headers]]:
    """Give the headers of a member's request with one fault each."""
    good = good_headers()
    other = dict(signed_headers(new_key()))
    for name in AUTH:
        rest = [(key, value) for key, value in good.items() if key != name]
        yield f"{name} missing", rest
        yield (
            f"{name} of another key",
            [*rest, (name, other[name] + ("" if name != AUTH[1] else "0"))],
        )
        yield f"{name} twice", [*rest, (name, other[name] + "="), (name, good[name])]
        for wrong in ("", "x", "\u00e4".encode().decode("latin-1"), "=" * 60_000, "9" * 400):
            yield f"{name} is {wrong[:5]!r}", [*rest, (name, wrong)]
    for moment in ("1970-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00", "now", "nan"):
        yield f"time {moment}", list(signed_headers(MEMBER, moment).items())
    for key in (b"-----BEGIN PUBLIC KEY-----", b"\0" * 120, pem_of(MEMBER)[:-30]):
        encoded = base64.b64encode(key).decode()
        yield f"key {key[:5]!r}", list({**good, AUTH[0]: encoded}.items())


def status_of(public: httpx.Client, path: str, headers: Headers, content: bytes = b"") -> int:
    raw = [(k.encode(), v.encode("latin-1")) for k, v in [*headers, *HEADERS.items()]]
    return public.post(path, content=content, headers=raw).status_code


def test_a_request_whose_proof_has_a_fault_is_refused(public: httpx.Client) -> None:
    asked = request_to(CONNECT, public_key=pem_of(MEMBER), heartbeat_interval=30.0)
    content = asked.SerializeToString()
    for fault, headers in faulty_headers():
        status = status_of(public, CONNECT, headers, content)
        assert status in NOT_TAKEN, (fault, status)
    assert status_of(public, CONNECT, list(good_headers().items()), content) == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(path=st.sampled_from(FLEET_PATHS), content=st.binary(max_size=300))
def test_garbage_of_a_stranger_is_refused_on_every_path(
    public: httpx.Client, path: str, content: bytes
) -> None:
    assert status_of(public, path, [], content) in NOT_TAKEN
    assert status_of(public, path, list(signed_headers(new_key()).items()), content) in NOT_TAKEN


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(path=st.sampled_from(FLEET_PATHS), content=st.binary(max_size=300))
def test_garbage_of_a_member_is_no_error_of_the_server(
    public: httpx.Client, path: str, content: bytes
) -> None:
    assert status_of(public, path, list(good_headers().items()), content) < 500


def test_a_body_without_an_end_is_cut_off_before_anybody_knows_who_sends_it(
    public: httpx.Client,
) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(3):
            yield bytes(MAX_BODY_BYTES // 2)

    for headers in ({}, good_headers()):
        answer = public.post(PULL, content=endless(), headers={**HEADERS, **headers})
        assert answer.status_code in {413, *REFUSED}
        assert answer.status_code == 413 or not headers


def test_a_member_that_sends_half_a_request_is_not_waited_for(app: AsgiApp) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(event: Any) -> None:
        sent.append(event)

    headers = [(k.encode(), v.encode()) for k, v in {**HEADERS, **good_headers()}.items()]
    scope = {
        "type": "http", "path": PULL, "raw_path": PULL.encode(), "method": "POST",
        "headers": headers, "query_string": b"", "client": ("::1", 1), "server": ("::1", 1),
        "scheme": "https", "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    asyncio.run(PublicGate(app, fleet_seconds=0)(scope, receive, send))
    assert sent[0]["status"] == 408
