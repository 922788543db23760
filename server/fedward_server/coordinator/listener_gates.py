"""Which paths each listener carries, decided before Flower sees a request.

Flower serves sites, runs and tasks on one port. Here the public listener carries what sites need
and nothing else; the rest is heard on loopback alone. Bodies are bounded before anybody reads them.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fedward_common.errors import FedwardError

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
AnswerEnrolment = Callable[[bytes], bytes]

FLEET = "/v1/fleet/"
HEALTH = "/health"
ENROLMENT = "/v1/enrolment"
MAX_BODY_BYTES = 16 << 20  # Flower sends arrays in chunks of 5 MB
MAX_ENROLMENT_BYTES = 64 << 10

_LOOPBACK_ONLY = ("/v1/control/", "/v1/runtime/")


class PublicGate:
    """What sites may ask.

    Args:
        app: Flower's.
        answer_enrolment: Takes the bytes of a request to join and gives those of the answer; None
            where requests come by file alone.
    """

    def __init__(self, app: AsgiApp, answer_enrolment: AnswerEnrolment | None = None) -> None:
        self._app = app
        self._answer_enrolment = answer_enrolment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == ENROLMENT and self._answer_enrolment is not None:
            await self._enrol(self._answer_enrolment, scope, receive, send)
        elif path == HEALTH or path.startswith(FLEET):
            await _pass_bounded(self._app, scope, receive, send)
        else:
            await _refuse(scope, send, 404)

    async def _enrol(
        self, answer_enrolment: AnswerEnrolment, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["method"] != "POST":
            await _refuse(scope, send, 405)
            return
        request = await _body(receive, MAX_ENROLMENT_BYTES)
        if request is None:
            await _refuse(scope, send, 413)
            return
        try:
            answer = await asyncio.to_thread(answer_enrolment, request)
        except FedwardError as error:  # its text stays here: whoever asks may be anybody
            await _respond(send, 403, json.dumps({"code": error.code}).encode())
            return
        await _respond(send, 200, answer)


class LoopbackGate:
    """What this machine may ask: runs and tasks, each with its own secret, and health."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        path = scope["path"] if scope["type"] == "http" else ""
        if scope["type"] == "lifespan" or path == HEALTH or path.startswith(_LOOPBACK_ONLY):
            await self._app(scope, receive, send)
        else:
            await _refuse(scope, send, 404)


class _TooLongError(Exception):
    """A body went on beyond its bound."""


async def _pass_bounded(app: AsgiApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a request on, whose body ends at the bound whatever its head said."""
    if _announced_bytes(scope) > MAX_BODY_BYTES:
        await _refuse(scope, send, 413)
        return
    num_bytes = 0
    has_begun = False

    async def bounded() -> Event:
        nonlocal num_bytes
        event = await receive()
        num_bytes += len(event.get("body", b""))
        if num_bytes > MAX_BODY_BYTES:
            raise _TooLongError
        return event

    async def watched(event: Event) -> None:
        nonlocal has_begun
        has_begun = True
        await send(event)

    try:
        await app(scope, bounded, watched)
    except _TooLongError:
        if not has_begun:
            await _refuse(scope, send, 413)


def _announced_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _body(receive: Receive, max_bytes: int) -> bytes | None:
    """Read a whole body; None where it is longer."""
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if len(body) > max_bytes:
            return None
        if not event.get("more_body", False):
            return bytes(body)


async def _refuse(scope: Scope, send: Send, status: int) -> None:
    if scope["type"] == "http":
        await _respond(send, status, b"")
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
