"""Requests that hold themselves in cycles are let go after every few large ones."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from fedward_server.coordinator.listener_gates import Event, Receive, Scope, Send
from fedward_server.coordinator.small_heap import Tidied

MEBIBYTE = 1 << 20


class Request:
    """Holds itself, as those of the HTTP libraries do."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def no_collection_of_its_own() -> Iterator[None]:
    """Python looks for no cycles meanwhile."""
    gc.disable()
    yield
    gc.enable()


def requests_left(asked_bytes: list[int], answer_bytes: int) -> list[int]:
    """Give how many requests are still there after each one."""
    living: list[weakref.ref[Request]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        living.append(weakref.ref(Request()))
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(answer_bytes)})

    async def ask(tidied: Tidied, num_bytes: int) -> None:
        parts = [bytes(num_bytes // 2), bytes(num_bytes - num_bytes // 2)]

        async def receive() -> Event:
            return {"body": parts.pop(), "more_body": bool(parts)}

        async def send(event: Event) -> None: ...

        await tidied({"type": "http"}, receive, send)

    tidied, left = Tidied(app), []
    for num_bytes in asked_bytes:
        asyncio.run(ask(tidied, num_bytes))
        left.append(sum(request() is not None for request in living))
    return left


@pytest.mark.usefixtures("no_collection_of_its_own")
def test_requests_of_sixteen_mebibytes_together_are_let_go() -> None:
    left = requests_left([5 * MEBIBYTE] * 8, 0)
    assert left == [1, 2, 3, 0, 1, 2, 3, 0]


@pytest.mark.usefixtures("no_collection_of_its_own")
def test_large_answers_count_as_well() -> None:
    assert requests_left([0] * 4, 5 * MEBIBYTE) == [1, 2, 3, 0]


@pytest.mark.usefixtures("no_collection_of_its_own")
def test_small_requests_never_wait_for_a_look() -> None:
    assert requests_left([100_000] * 200, 500_000)[-1] == 200
