"""A Grid whose sites run in worker processes.

A worker that dies or outlives its message's deadline costs that message only, where sites keep
their rounds on disk: its answer is an error, and a new worker takes the place. Workers come from a
fork server, which imports torch while this process is still importing its own modules.

In the small steps of secure aggregation a worker finds its next message in its pipe when it is done
with one: until the coordinator has read an answer and come round to it, it would do nothing.

Where sites keep rounds in memory, only the worker that began a site's round goes on with it, and
what is in a worker ends with it. Then all are replaced at once, and keep rounds on disk from there
on: no site remembers a part of the round that another has lost, and it is lost so but once. The
round is attempted again.
"""

import contextlib
import multiprocessing
import select
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from flwr.app import Message

from fedward_common.clock import Clock
from fedward_common.errors import StoppedError
from fedward_common.secagg.rounds_in_memory import ROUNDS_IN_MEMORY
from fedward_server.simulation.in_process_grid import (
    CLIENT_APP,
    InProcessGrid,
    NodeConfigs,
    error_reply,
)
from fedward_server.simulation.message_frame import receive_frame, send_frame
from fedward_server.simulation.site_worker import FINISH, serve

WORKER_DIED = "WORKER_DIED"
WORKER_TIMED_OUT = "WORKER_TIMED_OUT"

_WAIT_SECONDS = 0.2
# Their requests and answers are small; that of `query.mask` is a vector.
_SMALL_STEPS = frozenset({"query.share", "query.confirm", "query.unmask"})
# The socket pair to a worker takes three times as much (208 KiB on Linux) while nobody reads it.
_SMALL_BYTES = 1 << 16


@dataclass(eq=False)
class _Worker:
    """A process; it works on the first message under way, until `ends`; one more is in its pipe."""

    process: BaseProcess
    connection: Connection
    under_way: deque[Message] = field(default_factory=deque)
    ends: float = 0.0


class WorkerGrid(InProcessGrid):
    """Sites in `num_workers` processes of `threads` threads each.

    Args:
        configs: Node configuration of every site.
        num_workers: Processes; a site is tied to one within a round in memory alone, though one
            that is free and has worked for it last is preferred: it has in memory what others read
            from the site's home.
        threads: Torch threads in each.
        message_seconds: A message that takes longer, from when a worker begins with it, is ended
            with an error.
        clock: Counts those seconds.
        stop: Once set, whoever waits for an answer gets `StoppedError`.
    """

    def __init__(
        self,
        configs: NodeConfigs,
        *,
        num_workers: int,
        threads: int,
        message_seconds: float,
        clock: Clock,
        stop: threading.Event | None = None,
        client_app: str = CLIENT_APP,
    ) -> None:
        super().__init__(configs)
        self._stop = stop or threading.Event()
        self._client_app = client_app
        self._threads = threads
        self._message_seconds = message_seconds
        self._clock = clock
        self._answers: dict[str, Message] = {}
        self._last_worker: dict[int, _Worker] = {}
        self._last_round: dict[int, str] = {}
        self._busy = select.poll()
        self._workers = [self._start_worker() for _ in range(num_workers)]

    def _start_worker(self) -> _Worker:
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, self._client_app, dict(self._configs), self._threads),
            daemon=True,
        )  # fmt: skip
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Queue messages; a worker that is free begins at once."""
        pushed = super().push_messages(messages)
        self._hand_out([])
        return pushed

    def first_answered(self, message_ids: Iterable[str]) -> str | None:
        """Give the first of these messages whose answer is there; wait a moment where none is."""
        if self._stop.is_set():
            raise StoppedError("the simulation was stopped", hint="go on with --resume")
        wanted = list(message_ids)
        self._hand_out(wanted)
        # Only where none is there: whoever waits for many would else have all of them lie here.
        if not any(message_id in self._answers for message_id in wanted):
            self._collect(_WAIT_SECONDS)
            self._hand_out(wanted)
        return next((message_id for message_id in wanted if message_id in self._answers), None)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Give the answers that are there; wait a moment where none is."""
        wanted = list(message_ids)
        self.first_answered(wanted)
        here = [message_id for message_id in wanted if message_id in self._answers]
        for message_id in here:
            self._unanswered.pop(message_id, None)
        return [self._answers.pop(message_id) for message_id in here]

    def _hand_out(self, wanted: list[str]) -> None:
        """Give free workers work: what is asked for first, and else what was pushed first."""
        if not self._waiting:
            return  # as after nearly every answer that somebody waits for
        if not all(worker.under_way for worker in self._workers):
            self._give([m for m in wanted if m in self._waiting], most=len(self._workers))
            # Beyond what somebody waits for, at most one answer a worker may lie here unread.
            self._give(list(self._waiting), most=len(self._workers) - self._num_unread(wanted))
        self._give_ahead()

    def _give(self, message_ids: list[str], *, most: int) -> None:
        """Give some of these messages to free workers, to each first one that it has in memory."""
        for takes_any in (False, True):
            for worker in self._workers:
                if most < 1:
                    return
                message_id = self._next_for(worker, message_ids, takes_any=takes_any)
                if not worker.under_way and message_id is not None:
                    self._send(worker, self._waiting.pop(message_id))
                    most -= 1

    def _next_for(self, worker: _Worker, message_ids: list[str], *, takes_any: bool) -> str | None:
        for message_id in message_ids:
            message = self._waiting.get(message_id)
            if message is None:
                continue
            is_at_hand = self._last_worker.get(message.metadata.dst_node_id) is worker
            if is_at_hand or (takes_any and not self._is_tied(message)):
                return message_id
        return None

    def _is_tied(self, message: Message) -> bool:
        """Whether it goes on with a round that one worker has in memory; evaluations never are."""
        if message.metadata.message_type.startswith("evaluate."):
            return False
        begun = self._last_round.get(message.metadata.dst_node_id)
        return begun == message.metadata.group_id and self.has_rounds_in_memory

    def _give_ahead(self) -> None:
        """Give each worker that is busy with a small step one more of a site that it has."""
        for worker in self._workers:
            # Of small answers, two a worker may lie here unread.
            if self._num_unread([]) >= 2 * len(self._workers):
                return
            message_id = self._next_ahead(worker)
            if message_id is not None:
                self._send(worker, self._waiting.pop(message_id))

    def _next_ahead(self, worker: _Worker) -> str | None:
        if len(worker.under_way) != 1:
            return None
        step = worker.under_way[0].metadata.message_type
        if step not in _SMALL_STEPS:
            return None
        for message_id, message in self._waiting.items():
            is_at_hand = self._last_worker.get(message.metadata.dst_node_id) is worker
            if is_at_hand and message.metadata.message_type == step and _is_small(message):
                return message_id
        return None

    def _num_unread(self, wanted: list[str]) -> int:
        """Count the answers that lie here, or will, though nobody waits for them now."""
        under_way = [m.metadata.message_id for w in self._workers for m in w.under_way]
        return sum(message_id not in wanted for message_id in (*self._answers, *under_way))

    def _send(self, worker: _Worker, message: Message) -> None:
        if not worker.under_way:
            self._busy.register(worker.connection, select.POLLIN)
            self._begin(worker)
        worker.under_way.append(message)
        self._last_worker[message.metadata.dst_node_id] = worker
        self._last_round[message.metadata.dst_node_id] = message.metadata.group_id
        # Where the worker is gone, whoever looks for its answer finds that out.
        with contextlib.suppress(OSError):
            send_frame(worker.connection, message)

    def _begin(self, worker: _Worker) -> None:
        worker.ends = self._clock.now_seconds() + self._message_seconds

    def _collect(self, wait_seconds: float) -> None:
        ready = {descriptor for descriptor, _ in self._busy.poll(1000 * wait_seconds)}
        for worker in self._workers:
            if not worker.under_way:
                continue
            if worker.connection.fileno() in ready:
                self._receive(worker)
            elif self._clock.now_seconds() >= worker.ends:
                self._replace(worker, WORKER_TIMED_OUT)

    def _receive(self, worker: _Worker) -> None:
        try:
            reply = receive_frame(worker.connection, worker.connection.recv_bytes())
        except (EOFError, OSError):
            self._replace(worker, WORKER_DIED)
            return
        worker.under_way.popleft()
        if worker.under_way:
            self._begin(worker)
        else:
            self._busy.unregister(worker.connection)
        self._keep(reply.metadata.reply_to_message_id, reply)

    def _replace(self, worker: _Worker, reason: str) -> None:
        """Put a new process in a worker's place; what it was working on is lost.

        So is all that sites have in memory: every worker is replaced then.
        """
        message = worker.under_way[0]
        replaced = [worker]
        if self.has_rounds_in_memory:
            self._configs = {node: _on_disk(config) for node, config in self._configs.items()}
            replaced = self._workers
        again = [m for other in replaced for m in self._restart(other) if m is not message]
        self._keep(message.metadata.message_id, error_reply(message, reason))
        asked = {m.metadata.message_id: m for m in again}
        # First, as they were pushed before the others.
        self._waiting = {i: m for i, m in asked.items() if i in self._unanswered} | self._waiting

    def _restart(self, worker: _Worker) -> list[Message]:
        """Give a worker a new process, and the caller what the old one did not answer."""
        unanswered = list(worker.under_way)
        worker.process.kill()
        worker.process.join()
        if unanswered:
            self._busy.unregister(worker.connection)
        worker.connection.close()
        fresh = self._start_worker()
        worker.process, worker.connection = fresh.process, fresh.connection
        worker.under_way.clear()
        return unanswered

    def _keep(self, message_id: str, reply: Message) -> None:
        # An answer nobody waits for any more would lie here, as large as a model, for ever.
        if message_id in self._unanswered:
            self._answers[message_id] = reply

    def _forget_older(self, node: int) -> None:
        super()._forget_older(node)
        for message_id in [m for m in self._answers if m not in self._unanswered]:
            del self._answers[message_id]

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.connection.send_bytes(FINISH)
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _on_disk(config: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in config.items() if key != ROUNDS_IN_MEMORY}


def _is_small(message: Message) -> bool:
    """Whether a message has no arrays and goes into a pipe whose other end does not read."""
    if any(message.content.array_records.values()):
        return False
    records = message.content.config_records.values()
    values = (value for record in records for value in record.values())
    return sum(len(value) for value in values if isinstance(value, bytes)) <= _SMALL_BYTES
