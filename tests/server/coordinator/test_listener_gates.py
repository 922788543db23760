"""Which requests each listener lets through to Flower."""

import asyncio
from collections.abc import Sequence

import pytest

from fedward_common.errors import UnverifiedMessageError
from fedward_server.coordinator.listener_gates import (
    MAX_BODY_BYTES,
    MAX_ENROLMENT_BYTES,
    AnswerEnrolment,
    AsgiApp,
    Event,
    LoopbackGate,
    PublicGate,
    Receive,
    Scope,
    Send,
)

PASSED = 299


async def flower(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Flower: reads the body and answers with a status of its own."""
    if scope["type"] == "http":
        while (await receive()).get("more_body", False):
            pass
    await send({"type": "http.response.start", "status": PASSED, "headers": []})
    await send({"type": "http.response.body", "body": b"flower"})


def ask(
    gate: AsgiApp,
    path: str,
    *,
    body: Sequence[bytes] = (b"",),
    method: str = "POST",
    kind: str = "http",
    length: int | None = None,
    more_headers: Sequence[tuple[bytes, bytes]] = (),
) -> tuple[int | str, bytes]:
    """Give status and body of the answer; of another kind of request what was sent first."""
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    headers += more_headers
    client = ("192.0.2.7", 40_000)
    scope = {"type": kind, "path": path, "method": method, "headers": headers, "client": client}
    chunks = list(body)
    sent: list[Event] = []

    async def receive() -> Event:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(event: Event) -> None:
        sent.append(event)

    asyncio.run(gate(scope, receive, send))  # type: ignore[arg-type]
    if kind != "http":
        return sent[0]["type"], b""
    return sent[0]["status"], sent[-1].get("body", b"")


@pytest.mark.parametrize("path", ["/v1/fleet/pull-messages", "/health"])
def test_sites_reach_the_fleet_and_health(path: str) -> None:
    assert ask(PublicGate(flower), path)[0] == PASSED


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
        "/v1/runtime/responses",
        "/docs",
        "/openapi.json",
        "/",
        "",
        "/v1/fleet",
        "/V1/FLEET/pull-messages",
        "//v1/fleet/pull-messages",
        "/health/",
        "/healthy",
        "/v1/enrolment",
        "/v1/enrolment/x",
    ],
)
def test_sites_reach_nothing_else(path: str) -> None:
    assert ask(PublicGate(flower), path) == (404, b"")


def test_no_websocket_is_opened() -> None:
    for gate in (PublicGate(flower), LoopbackGate(flower)):
        assert ask(gate, "/v1/fleet/x", kind="websocket")[0] == "websocket.close"


def test_a_body_that_announces_too_much_is_not_read() -> None:
    gate = PublicGate(flower)
    assert ask(gate, "/v1/fleet/push-object", length=MAX_BODY_BYTES + 1)[0] == 413
    assert ask(gate, "/v1/fleet/push-object", length=MAX_BODY_BYTES)[0] == PASSED


def test_a_body_that_goes_on_for_ever_is_cut_off() -> None:
    chunks = [bytes(MAX_BODY_BYTES // 2)] * 3
    assert ask(PublicGate(flower), "/v1/fleet/push-object", body=chunks)[0] == 413


@pytest.mark.parametrize("path", ["/v1/control/start-run", "/v1/runtime/acquire-task", "/health"])
def test_this_machine_reaches_runs_and_tasks(path: str) -> None:
    assert ask(LoopbackGate(flower), path)[0] == PASSED


@pytest.mark.parametrize("path", ["/v1/fleet/pull-messages", "/docs", "/openapi.json", "/"])
def test_this_machine_does_not_pass_for_a_site(path: str) -> None:
    assert ask(LoopbackGate(flower), path)[0] == 404


def test_the_application_begins_and_ends_with_the_loopback_listener() -> None:
    assert ask(LoopbackGate(flower), "", kind="lifespan")[0] == "http.response.start"


def reversed_bytes(request: bytes) -> bytes:
    return request[::-1]


def refused(request: bytes) -> bytes:
    raise UnverifiedMessageError("a token that was used", code="TOKEN_USED")


def enrol(
    answer: AnswerEnrolment, *, body: Sequence[bytes], method: str = "POST"
) -> tuple[int | str, bytes]:
    return ask(PublicGate(flower, answer), "/v1/enrolment", body=body, method=method)


def test_a_request_to_join_is_answered_with_bytes() -> None:
    assert enrol(reversed_bytes, body=[b"ab", b"c"]) == (200, b"cba")


def test_a_refused_request_to_join_learns_a_code_and_no_more() -> None:
    assert enrol(refused, body=[b"x"]) == (403, b'{"code": "TOKEN_USED"}')


def test_a_request_to_join_is_small_and_posted() -> None:
    assert enrol(reversed_bytes, body=[bytes(MAX_ENROLMENT_BYTES + 1)])[0] == 413
    assert enrol(reversed_bytes, body=[b""], method="GET")[0] == 405


def test_who_asks_to_join_too_often_is_not_heard_and_its_body_not_read() -> None:
    asked: list[str] = []

    def never(address: str) -> bool:
        asked.append(address)
        return False

    gate = PublicGate(flower, reversed_bytes, never)
    assert ask(gate, "/v1/enrolment", body=[]) == (429, b"")
    assert asked == ["192.0.2.7"]
    assert ask(gate, "/v1/fleet/pull-messages")[0] == PASSED
