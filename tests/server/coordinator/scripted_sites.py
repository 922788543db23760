"""Three scripted sites, and the exchange that asks them."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from flwr.app import Message
from tests.tiny_federation import SITES, FakeClock

from fedward_common.crypto.signing import SigningKey
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.wire import messages
from fedward_common.wire.envelope import (
    Subject,
    hashes_of_arrays,
    sign_envelope,
)
from fedward_common.wire.flower_records import (
    array_record,
    array_record_of_buffers,
    envelope_of,
    records_of,
)
from fedward_common.wire.header import decode_header
from fedward_server.coordinator.exchange import Answer, Exchange, Failure, Question
from fedward_server.simulation.in_process_grid import InProcessGrid

SUBJECT = Subject("consortium", "run1", "ab" * 32, round=3, attempt=2)
COORDINATOR_KEY = SigningKey.generate()
KEYS = {SiteId(site): SigningKey.generate() for site in SITES}
FIRST_NODE = 100
NODES = {FIRST_NODE + place: SiteId(site) for place, site in enumerate(SITES)}
DEADLINE_SECONDS = 30.0

Script = Callable[[SiteId, Message], Message | None]


def reply_to(request: Message, site: SiteId, **changes: Any) -> Message:
    """Answer as an honest site does, but for `changes` of what is signed."""
    envelope, _ = envelope_of(request.content)
    header = decode_header(envelope.header_bytes)
    message = changes.pop("message", messages.TrainReply(2))
    kind, body = messages.encode_message(message)
    arrays = changes.pop("arrays", {"update": np.arange(4, dtype=np.float32)})
    fields = {"consortium", "run", "manifest_sha256", "round", "attempt"} & set(changes)
    subject = dataclasses.replace(
        Subject(header.consortium, header.run, header.manifest_sha256, header.round,
                header.attempt),
        **{name: changes.pop(name) for name in fields},
    )  # fmt: skip
    signed: dict[str, Any] = {
        "sender": site,
        "recipient": COORDINATOR,
        "kind": kind,
        "body": body,
        "arrays_sha256": hashes_of_arrays(arrays),
        "in_reply_to": envelope.sha256,
    }
    key = changes.pop("key", KEYS[site])
    answer = sign_envelope(key, subject=subject, **(signed | changes))
    return Message(records_of(answer, array_record(arrays)), reply_to=request)


def honest(site: SiteId, request: Message) -> Message:
    return reply_to(request, site)


def changed(**changes: Any) -> Script:
    """Give a site that answers so."""
    return lambda site, request: reply_to(request, site, **changes)


class ScriptedGrid(InProcessGrid):
    """Sites that answer as their scripts say; None is no answer at all."""

    poll_seconds = 0.5

    def __init__(self, scripts: dict[str, Script]) -> None:
        super().__init__({node: {} for node in NODES})
        self.scripts = scripts
        self.requests: list[tuple[SiteId, Message]] = []

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        for message_id in message_ids:
            message = self._waiting.get(message_id)
            if message is None:
                continue
            site = NODES[message.metadata.dst_node_id]
            answer = self.scripts.get(site, honest)(site, message)
            if answer is not None:
                self.requests.append((site, self._waiting.pop(message_id)))
                return [answer]
        return []


class TellingGrid(ScriptedGrid):
    """Knows whose answer is there: each comes at a time of the clock.

    Args:
        clock: What a wait for an answer takes passes on it.
        ready_seconds: By site; one that is not named answers at once.
    """

    poll_seconds = 0.0

    def __init__(self, clock: FakeClock, **ready_seconds: float) -> None:
        super().__init__({})
        self.clock = clock
        self.ready_seconds = ready_seconds

    def first_answered(self, message_ids: Iterable[str]) -> str | None:
        ready = {i: self.ready_seconds.get(self.site_of(i), 0.0) for i in message_ids}
        there = [message_id for message_id, seconds in ready.items() if seconds <= self.clock.now]
        if not there:
            self.clock.sleep(0.2)
        return there[0] if there else None

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        wanted = list(message_ids)
        there = self.first_answered(wanted)
        return [] if there is None else super().pull_messages([there])

    def site_of(self, message_id: str) -> str:
        return NODES[self._waiting[message_id].metadata.dst_node_id]


class LosingGrid(ScriptedGrid):
    """Loses the first messages to some sites, which nobody hears of but by asking whether it did.

    Args:
        times: How often in a row for each site.
    """

    def __init__(self, **times: int) -> None:
        super().__init__({})
        self.times = times
        self.lost: list[Message] = []

    def is_lost(self, message_id: str) -> bool:
        return message_id in {message.metadata.message_id for message in self.lost}

    def lose(self, site: str, request: Message) -> Message | None:
        if self.times.get(site, 0) == 0:
            return honest(SiteId(site), request)
        if not self.is_lost(request.metadata.message_id):
            self.times[site] -= 1
            self.lost.append(request)
        return None

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        for message_id in message_ids:
            if not self.is_lost(message_id):
                return super().pull_messages([message_id])
        return []


class ComingGrid(ScriptedGrid):
    """Nodes that connect, and go, by the clock.

    Args:
        online: Gives the nodes that are there at a time.
    """

    def __init__(self, clock: FakeClock, online: Callable[[float], set[int]]) -> None:
        super().__init__({})
        self.clock = clock
        self.online = online

    def get_node_ids(self) -> list[int]:
        return sorted(self.online(self.clock.now))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """As Flower does: a message to a node that it does not know has no id."""
        known = self.online(self.clock.now)
        return [
            pushed if message.metadata.dst_node_id in known else ""
            for message in messages
            for pushed in super(ComingGrid, self).push_messages([message])
        ]


def question(subject: Subject = SUBJECT) -> Question:
    weights = np.ones(4, dtype=np.float32)
    return Question(
        "train.round",
        subject,
        messages.TrainRound(evaluate=False),
        array_record_of_buffers({"weights": weights.tobytes()}),
        hashes_of_arrays({"weights": weights}),
    )


def exchange_over(
    scripts: dict[str, Script], clock: FakeClock | None = None
) -> tuple[Exchange, ScriptedGrid]:
    """Give an exchange that has found its sites, all honest until then."""
    grid = ScriptedGrid({})
    roster = {site: key.verifying_key for site, key in KEYS.items()}
    exchange = Exchange(grid, COORDINATOR_KEY, roster, clock or FakeClock())
    exchange.find_sites(question(), DEADLINE_SECONDS)
    grid.scripts = scripts
    grid.requests.clear()
    return exchange, grid


def ask(scripts: dict[str, Script], clock: FakeClock | None = None) -> list[Answer | Failure]:
    exchange, _ = exchange_over(scripts, clock)
    return list(exchange.ask(question(), list(KEYS), DEADLINE_SECONDS))
