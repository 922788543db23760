"""Which paths each listener carries, decided before Flower sees a request.

Flower serves sites, runs and tasks on one port. Here the public listener carries what sites need
and nothing else; the rest is heard on loopback alone. Bodies are bounded before anybody reads them,
in size and in the time that they take to come.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fedward_common.consortium.enrolment_request import ENROLMENT_PATH
from fedward_common.errors import FedwardError

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
AnswerEnrolment = Callable[[bytes], bytes]
Admits = Callable[[str], bool]
Watching = Callable[[Scope, Send], Send]

FLEET = "/v1/fleet/"
HEALTH = "/health"
ENROLMENT = ENROLMENT_PATH
MAX_BODY_BYTES = 16 << 20  # Flower sends arrays in chunks of 5 MB
MAX_ENROLMENT_BYTES = 64 << 10
FLEET_BODY_SECONDS = 300.0  # for the longest body, some 0.5 Mbit/s
ENROLMENT_BODY_SECONDS = 30.0

_BODY_NOT_READ = (408, 413, 429)
_LOOPBACK_ONLY = ("/v1/control/", "/v1/runtime/")


class PublicGate:
    """What sites may ask.

    Args:
        app: Flower's.
        answer_enrolment: Takes the bytes of a request to join and gives those of the answer; None
            where requests come by file alone.
        admits: Says of an address, for each request to join, whether it may ask now.
        fleet_seconds: A request of a site must have come by then, whole.
        enrolment_seconds: So must a request to join.
        watching: Gives what an answer to a site is sent on with.
    """

    def __init__(
        self,
        app: AsgiApp,
        answer_enrolment: AnswerEnrolment | None = None,
        admits: Admits = lambda _: True,
        *,
        fleet_seconds: float = FLEET_BODY_SECONDS,
        enrolment_seconds: float = ENROLMENT_BODY_SECONDS,
        watching: Watching = lambda _, send: send,
    ) -> None:
        self._app = app
        self._answer_enrolment = answer_enrolment
        self._admits = admits
        self._fleet_seconds = fleet_seconds
        self._enrolment_seconds = enrolment_seconds
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == ENROLMENT and self._answer_enrolment is not None:
            await self._enrol(self._answer_enrolment, scope, receive, send)
        elif path == HEALTH or path.startswith(FLEET):
            watched = self._watching(scope, send)
            await _pass_bounded(self._app, scope, receive, watched, self._fleet_seconds)
        else:
            await _refuse(scope, send, 404)

    async def _enrol(
        self, answer_enrolment: AnswerEnrolment, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["method"] != "POST":
            await _refuse(scope, send, 405)
            return
        if not self._admits(_address_of(scope)):
            await _refuse(scope, send, 429)
            return
        body = _BoundedBody(receive, MAX_ENROLMENT_BYTES, self._enrolment_seconds)
        try:
            request = await body.whole()
        except _BodyFaultError:
            await _refuse(scope, send, body.fault_status)
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


class _BodyFaultError(Exception):
    """A body passed a bound; Flower gives this error no meaning and may wrap it."""


class _BoundedBody:
    """What receives a body of at most so many bytes within a time, and what comes after it."""

    def __init__(self, receive: Receive, max_bytes: int, seconds: float) -> None:
        self.fault_status = 0
        self._receive = receive
        self._bytes_left = max_bytes
        self._ends = asyncio.get_running_loop().time() + seconds
        self._is_whole = False

    async def receive(self) -> Event:
        if self._is_whole:  # what follows is that the other side hung up, which has no time
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._ends):
                event = await self._receive()
        except TimeoutError as error:
            self.fault_status = 408
            raise _BodyFaultError from error
        self._bytes_left -= len(event.get("body", b""))
        self._is_whole = not event.get("more_body", False)
        if self._bytes_left < 0:
            self.fault_status = 413
            raise _BodyFaultError
        return event

    async def whole(self) -> bytes:
        body = bytearray()
        while not self._is_whole:
            body += (await self.receive()).get("body", b"")
        return bytes(body)


async def _pass_bounded(
    app: AsgiApp, scope: Scope, receive: Receive, send: Send, seconds: float
) -> None:
    """Pass a request on, whose body ends at the bounds whatever its head said."""
    if _announced_bytes(scope) > MAX_BODY_BYTES:
        await _refuse(scope, send, 413)
        return
    body = _BoundedBody(receive, MAX_BODY_BYTES, seconds)
    has_begun = False

    async def watched(event: Event) -> None:
        nonlocal has_begun
        if body.fault_status and not has_begun:
            return  # the application's words for what was broken off here
        has_begun = True
        await send(event)

    try:
        await app(scope, body.receive, watched)
    except Exception:
        if not body.fault_status:
            raise
    if body.fault_status and not has_begun:
        await _refuse(scope, send, body.fault_status)


def _address_of(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _announced_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(scope: Scope, send: Send, status: int) -> None:
    if scope["type"] == "http":
        await _respond(send, status, b"")
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    if status in _BODY_NOT_READ:
        headers.append((b"connection", b"close"))  # or the rest would be waited for
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
