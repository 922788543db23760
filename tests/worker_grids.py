"""Grids of worker processes whose sites have faults, and that a test need not close."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flwr.app import Message
from tests.faulty_site import HANGING
from tests.masked_federation import FAULTY_APP as FAULTY_APP
from tests.tiny_federation import FakeClock, TinyFederation

from fedward_common.identities import SiteId
from fedward_server.simulation.worker_grid import WorkerGrid


class WatchedWorkers(WorkerGrid):
    """Notes how many messages a worker had at a time, and of which kinds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.most_under_way: Counter[str] = Counter()
        super().__init__(*args, **options)

    def _hand_out(self, wanted: list[str]) -> None:
        super()._hand_out(wanted)
        for worker in self._workers:
            for message in worker.under_way:
                kind, num = message.metadata.message_type, len(worker.under_way)
                self.most_under_way[kind] = max(self.most_under_way[kind], num)


class Grids:
    """Makes grids and closes them when the test is over."""

    def __init__(self, federation: TinyFederation) -> None:
        self._federation = federation
        self._open: list[WorkerGrid] = []

    def __call__(
        self,
        num_workers: int = 2,
        faults: Mapping[str, str] | None = None,
        clock: FakeClock | None = None,
        message_seconds: float = 600.0,
        stop: threading.Event | None = None,
        *,
        in_memory: bool = False,
    ) -> WatchedWorkers:
        grid = WatchedWorkers(
            self._federation.node_configs(faults, in_memory=in_memory),
            num_workers=num_workers,
            threads=1,
            message_seconds=message_seconds,
            clock=clock or FakeClock(),
            stop=stop,
            client_app=FAULTY_APP,
        )
        self._open.append(grid)
        return grid

    def close(self) -> None:
        for grid in self._open:
            grid.close()


def answers_to(grid: WorkerGrid, message_ids: Iterable[str]) -> list[Message]:
    """Wait for each answer, one after the other."""
    answers: list[Message] = []
    for message_id in message_ids:
        came: list[Message] = []
        while not came:
            came = grid.pull_messages([message_id])
        answers.extend(came)
    return answers


@contextlib.contextmanager
def clock_of_a_hanging_site(federation: TinyFederation, site: str) -> Iterator[FakeClock]:
    """Give a clock that stands still until the site hangs, and is past every deadline from then."""
    hanging = federation.homes[SiteId(site)] / HANGING

    class Clock(FakeClock):
        def now_seconds(self) -> float:
            return 1e6 if hanging.exists() else 0.0

    try:
        yield Clock()
    finally:
        hanging.unlink(missing_ok=True)
