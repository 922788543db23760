"""Decoding in processes of its own: a file that kills, stalls or fills its decoder costs itself.

Workers are fresh interpreters (`decode_worker`) that stay for many orders, are replaced when one
goes wrong, and end with this process. What they send is checked before memory is given to it.
"""

import os
import queue
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from fedward_client.cohorts.source import E_IMAGE_UNREADABLE, UnusableCaseError
from fedward_client.dicom.decode_process import (
    DECODER_CODES,
    E_DECODER_MEMORY,
    DecodeProcess,
)
from fedward_client.dicom.decode_worker import OPERATIONS
from fedward_client.dicom.decoded import Decoded
from fedward_client.dicom.order_batch import OrderBatch

__all__ = ["DecodeLimits", "DecodePool", "Decoded"]

# After these the worker's memory may be damaged or used up, which must not cost the next file.
_SPOILS_WORKER = frozenset({E_IMAGE_UNREADABLE, E_DECODER_MEMORY})


@dataclass(frozen=True)
class DecodeLimits:
    """What one order may cost.

    Args:
        memory_bytes: Address space of a worker, the interpreter's 0.2 GiB included.
        cpu_seconds: Of an order that names one file.
        wall_seconds: Likewise; waiting for a disk counts.
        seconds_per_file: More of both for each file that an order lists.
        answer_bytes: Of the array.
    """

    memory_bytes: int = 4 * 1024**3
    cpu_seconds: float = 60.0
    wall_seconds: float = 180.0
    seconds_per_file: float = 2.0
    answer_bytes: int = 1024**3


class DecodePool:
    """Workers that decode; threads may share a pool, a forked process gets workers of its own.

    Args:
        num_workers: Orders at the same time.
        limits: Of each order.
        operations: Name to `module:function`; a function takes JSON values by name and gives
            `Decoded`, or raises `UnusableCaseError`.
    """

    def __init__(
        self,
        num_workers: int = 1,
        limits: DecodeLimits | None = None,
        *,
        operations: Mapping[str, str] = OPERATIONS,
    ) -> None:
        self._num_workers = num_workers
        self._limits = limits or DecodeLimits()
        self._operations = dict(operations)
        self._begin()

    def run(self, operation: str, **arguments: Any) -> Decoded:
        """Carry out one order; waits for a worker that is free.

        Raises:
            UnusableCaseError: The operation's code, `E_DECODER_CRASHED`, `E_DECODER_TIMEOUT` or
                `E_DECODER_MEMORY`.
            ConfigurationError: Workers cannot start here.
        """
        return self._run(OrderBatch(), operation, arguments)

    def _run(self, batch: OrderBatch, operation: str, arguments: Mapping[str, Any]) -> Decoded:
        if operation not in self._operations:
            raise KeyError(operation)
        if os.getpid() != self._pid:
            self._leave_to_parent()
        idle = self._idle
        slot = idle.get()
        try:
            return self._ask(slot, batch, operation, arguments)
        finally:
            idle.put(slot)

    def map(
        self, orders: Iterable[tuple[str, Mapping[str, Any]]]
    ) -> Iterator[Decoded | UnusableCaseError]:
        """Carry out many orders, some ahead of the caller; answers come in the orders' order.

        `orders` is walked in the caller's thread, a little ahead of the answers. Answers that wait
        to be taken are bounded in bytes too (`OrderBatch`). Whatever ends the walk early, Ctrl-C
        included, ends the orders under way.

        Raises:
            ConfigurationError: Workers cannot start here.
        """
        batch = OrderBatch()
        with ThreadPoolExecutor(self._num_workers) as threads:
            ahead: deque[Future[Decoded | UnusableCaseError]] = deque()
            try:
                for number, (operation, arguments) in enumerate(orders):
                    ahead.append(threads.submit(self._outcome, batch, number, operation, arguments))
                    if len(ahead) > 2 * self._num_workers:
                        yield _taken(batch, ahead)
                while ahead:
                    yield _taken(batch, ahead)
            except BaseException:
                batch.break_off()
                raise
            finally:
                for future in ahead:
                    future.cancel()

    def close(self) -> None:
        """End all workers; an order under way ends with a crash. The pool can be used again."""
        self._finalizer()
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._slots = [_Slot() for _ in range(self._num_workers)]
        self._idle: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for slot in self._slots:
            self._idle.put(slot)
        self._finalizer = weakref.finalize(self, _end_all, self._slots, self._pid)

    def _leave_to_parent(self) -> None:
        self._finalizer.detach()
        for slot in self._slots:
            if slot.process is not None:
                slot.process.forget()
        self._begin()

    def _outcome(
        self, batch: OrderBatch, number: int, operation: str, arguments: Mapping[str, Any]
    ) -> Decoded | UnusableCaseError:
        batch.wait_to_begin(number)
        try:
            found = self._run(batch, operation, arguments)
        except UnusableCaseError as problem:
            return problem
        batch.answered(found.array.nbytes)
        return found

    def _ask(
        self, slot: "_Slot", batch: OrderBatch, operation: str, arguments: Mapping[str, Any]
    ) -> Decoded:
        # A worker spoilt by an earlier file, a machine short of memory or a slow disk may cost a
        # good file its order: once, a fresh worker is asked again.
        for is_last in (False, True):
            process = slot.process
            if process is None:
                process = DecodeProcess(self._limits.memory_bytes, self._operations)
                slot.process = process
            try:
                batch.give_to(process)
                try:
                    return self._ask_process(process, operation, arguments)
                finally:
                    batch.take_from(process)
            except UnusableCaseError as problem:
                if problem.code in _SPOILS_WORKER or not process.is_alive:
                    slot.end()
                if is_last or problem.code not in DECODER_CODES:
                    raise
            except BaseException:
                slot.end()  # half an answer may be under way
                raise
        raise UnusableCaseError(E_DECODER_MEMORY)  # the loop's last turn returns or raises

    def _ask_process(
        self, process: DecodeProcess, operation: str, arguments: Mapping[str, Any]
    ) -> Decoded:
        limits = self._limits
        num_files = sum(len(value) for value in arguments.values() if isinstance(value, list))
        more_seconds = limits.seconds_per_file * num_files
        return process.ask(
            operation,
            arguments,
            cpu_seconds=limits.cpu_seconds + more_seconds,
            wall_seconds=limits.wall_seconds + more_seconds,
            max_bytes=limits.answer_bytes,
        )


def _taken(
    batch: OrderBatch, ahead: "deque[Future[Decoded | UnusableCaseError]]"
) -> Decoded | UnusableCaseError:
    answer = ahead.popleft().result()
    batch.taken(answer.array.nbytes if isinstance(answer, Decoded) else 0)
    return answer


@dataclass(eq=False)
class _Slot:
    """Place of one worker, started when it is needed."""

    process: DecodeProcess | None = None

    def end(self) -> None:
        if self.process is not None:
            self.process.end()
            self.process = None


def _end_all(slots: list[_Slot], pid: int) -> None:
    if os.getpid() == pid:
        for slot in slots:
            slot.end()
