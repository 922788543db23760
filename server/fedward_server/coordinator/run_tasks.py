"""The coordinator's own task loop: runs the installed ServerApp, one run after another.

It takes from the SuperLink what Flower would give to a process of its own, and reads of it one
name: that of a folder below `runs/`. Key and folder come from the coordinator's home.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flwr.app import Context, Message, RecordDict
from flwr.common.constant import SubStatus
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import PullTaskInputRequest, PushTaskOutputRequest
from flwr.serverapp import Grid
from flwr.supercore.constant import TaskType
from flwr.supercore.run import Run
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from fedward_common.array_assembly import arrays_bounded
from fedward_common.clock import Clock, SystemClock
from fedward_common.errors import FedwardError, StoppedError
from fedward_common.event_lines import Tell
from fedward_common.flower_environment import LOOPBACK
from fedward_common.flower_runtime import (
    CALL_FAILED,
    TaskQueue,
    heartbeats,
    hold_less,
    look_sooner,
    runtime_client,
)
from fedward_common.poll_pace import PollPace
from fedward_server.coordinator.broken_replies import bear_broken_replies, most_bytes_of_arrays
from fedward_server.coordinator.exchange_times import ExchangeTimes
from fedward_server.coordinator.flower_control import RUN_KEY
from fedward_server.coordinator.given_messages import GivenMessages
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.observer import observed_by
from fedward_server.coordinator.run_events import RunEvents
from fedward_server.coordinator.run_stop import is_stopped

POLL_SECONDS = 0.1

_MOST_POLL_SECONDS = 2.0  # for answers, where none comes for long
_TASK_POLL_SECONDS = (0.2, 1.0)
_COMPONENT = "flwr-serverapp"


@dataclass(frozen=True)
class RunPlace:
    """Where a run lies: what the ServerApp is told."""

    folder: str
    key_file: str


class Stop(Protocol):
    """Says when a run must end."""

    def require_going_on(self) -> None:
        """Raise `StoppedError` if it must."""


@dataclass(frozen=True)
class StopOfRun:
    """Ends a run with its process, or because a person stopped this one run.

    Args:
        process: Set when the whole process ends.
        folder: Of the run.
    """

    process: threading.Event
    folder: Path

    def require_going_on(self) -> None:
        """Raise `StoppedError` if either is so."""
        if self.process.is_set():
            raise StoppedError("the coordinator was stopped", hint="start it; the run goes on")
        if is_stopped(self.folder):
            raise StoppedError(
                f"run {self.folder.name} was stopped", hint="fedward launch --resume goes on"
            )


class StoppableGrid(HttpGrid):
    """Flower's Grid over our own connection; who waits for an answer can be stopped.

    Args:
        client: Connected for one task.
        port: Of the SuperLink on this machine.
        stop: Asked whenever somebody waits for nodes or answers.
        times: Told what is sent and received.
        clock: Counts waits.
        given: Knows what nodes lost.
    """

    poll_seconds = POLL_SECONDS

    def __init__(
        self,
        client: RuntimeHttpClient,
        port: int,
        stop: Stop,
        times: ExchangeTimes,
        clock: Clock,
        given: GivenMessages,
    ) -> None:
        super().__init__(f"{LOOPBACK}:{port}", insecure=True, token="unused")  # noqa: S106
        self._client = client
        self._stop = stop
        self._times = times
        self._clock = clock
        self._given = given
        self._pace = PollPace(POLL_SECONDS, _MOST_POLL_SECONDS, clock.now_seconds)
        self._asked_in_vain: list[str] = []
        self._most_bytes: int | None = None
        bear_broken_replies()

    def bound_arrays(self, num_parameters: int) -> None:
        """Take from a site no more than what a model of this size needs."""
        self._most_bytes = most_bytes_of_arrays(num_parameters)

    def get_node_ids(self) -> Iterable[int]:
        """Give the nodes that are connected."""
        self._stop.require_going_on()
        return super().get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Hand messages over."""
        began, given = self._clock.now_seconds(), list(messages)
        message_ids = super().push_messages(given)
        self._pace.came()
        for message in given:
            self._times.sent(message.metadata.message_type, message.metadata.group_id, began)
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Give the answers that are there; who asks in vain again and again is made to wait."""
        self._stop.require_going_on()
        asked = list(message_ids)
        if asked == self._asked_in_vain:
            self._clock.sleep(max(0.0, self._pace.wait_seconds() - POLL_SECONDS))
        began = self._clock.now_seconds()
        with arrays_bounded(self._most_bytes):  # one answer is asked for at a time
            replies = list(super().pull_messages(asked))
        self._asked_in_vain = [] if replies else asked
        for _ in replies:
            self._pace.came()
            self._times.received(began)
        return replies

    def is_lost(self, message_id: str) -> bool:
        """Say whether no answer comes to a message from the node that it was given to."""
        return self._given.is_lost(message_id)


class RunTasks:
    """Takes tasks until stopped.

    Args:
        access: Of the SuperLink on this machine.
        place_of: Gives a named run's place, or raises a `FedwardError`.
        server_app: Runs a run over a Grid.
        tell: Writes lines of the log.
        stop: Ends the loop, and the run that is under way at its next step.
        clock: Counts waits.
        given: Knows what nodes lost, where the SuperLink tells it.
    """

    def __init__(
        self,
        access: LoopbackAccess,
        place_of: Callable[[str], RunPlace],
        server_app: Callable[[Grid, Context], None],
        tell: Tell,
        stop: threading.Event,
        clock: Clock | None = None,
        given: GivenMessages | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._given = given or GivenMessages()
        self._pace = PollPace(*_TASK_POLL_SECONDS, self._clock.now_seconds)
        self._access = access
        self._place_of = place_of
        self._server_app = server_app
        self._tell = tell
        self._stop = stop
        self._queue = TaskQueue(access.port, access.task_secret, TaskType.SERVER_APP, _COMPONENT)

    def serve(self) -> None:
        """Take one task after another."""
        look_sooner()
        hold_less()
        while not self._stop.is_set():
            try:
                took_one = self.do_next()
            except CALL_FAILED as error:
                self._tell("tasks.unreachable", code=type(error).__name__)
                took_one = False
            if took_one:
                self._pace.came()
            else:
                self._stop.wait(self._pace.wait_seconds())
        self._queue.close()

    def do_next(self) -> bool:
        """Run the task that waits; say whether there was one."""
        token = self._queue.next_token()
        if not token:
            return False
        client = runtime_client(self._access.port, token, _COMPONENT)
        try:
            with heartbeats(client):
                code = self._run(client)
                status = SubStatus.FAILED if code else SubStatus.COMPLETED
                client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=code))
        finally:
            client.close()
        return True

    def _run(self, client: RuntimeHttpClient) -> str:
        """Run a task to its end; give the code of what went wrong, or nothing."""
        given = client.PullTaskInput(PullTaskInputRequest())
        run = run_from_proto(given.run)
        TaskIdentity.task_id = given.task_id
        TaskIdentity.run_id = run.run_id
        TaskIdentity.node_id = given.context.node_id
        name = str(run.override_config.get(RUN_KEY, ""))
        self._tell("run.begins", run=name[:60])
        try:
            self._run_named(name, client, run)
        except StoppedError as error:
            self._tell("run.stopped", run=name)
            return error.code
        except FedwardError as error:
            self._tell("run.failed", run=name[:60], code=error.code, problem=str(error),
                       hint=error.hint)  # fmt: skip
            return error.code
        except Exception as error:
            logging.getLogger(__name__).exception("a run failed")
            self._tell("run.failed", run=name, code="INTERNAL_ERROR", problem=type(error).__name__)
            return "INTERNAL_ERROR"
        self._tell("run.finished", run=name)
        return ""

    def _run_named(self, name: str, client: RuntimeHttpClient, run: Run) -> None:
        place = self._place_of(name)
        stop = StopOfRun(self._stop, Path(place.folder))
        stop.require_going_on()
        times = ExchangeTimes(self._tell, name, self._clock.now_seconds)
        grid = StoppableGrid(client, self._access.port, stop, times, self._clock, self._given)
        grid.set_run(run)
        context = Context(
            run_id=run.run_id,
            node_id=TaskIdentity.node_id,
            node_config={},
            state=RecordDict(),
            run_config={"run-folder": place.folder, "key-file": place.key_file},
        )
        try:
            with observed_by(RunEvents(self._tell, name)):
                self._server_app(grid, context)
        finally:
            times.end()
