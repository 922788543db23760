"""Flower's SuperNode, started as this site wants it: `python -m fedward_client.daemon.supernode`.

It is Flower's own command with these changes. It asks for work soon after there was some and later
where there is none, as seldom as the site's settings say at most; Flower waits 3 seconds each time.
It asks for the next message once the one before is answered or lost. It outlives its coordinator's
end and errors: Flower takes a connection that breaks within TLS, or an error of the server, for a
reason to end, and the same node that comes back is refused for a minute. It ends with the daemon
that started it. What it says about itself that matters is told as lines of JSON on stdout.
"""

import contextlib
import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from flwr.app import Message
from flwr.common.constant import Status
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, pull_objects
from flwr.supercore.retry import RetryInvoker, exponential, make_simple_http_retry_invoker
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import fleet_http_connection, start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode

from fedward_client.daemon.end_with_parent import end_with_parent
from fedward_client.daemon.present_work import AskedNote
from fedward_common.event_lines import EventLines, Tell
from fedward_common.flower_runtime import look_sooner
from fedward_common.poll_pace import PollPace

CONNECTED = "node.connected"
REFUSED = "node.refused"

_NOTHING_CAME_SECONDS = 3  # what Flower sleeps where the coordinator had no message
_LEAST_POLL_SECONDS = 0.2
_LOCAL_POLL_SECONDS = (0.05, 0.5)
_MOST_RETRY_SECONDS = 5

_AT_WORK = (Status.PENDING, Status.STARTING, Status.RUNNING)

_CONNECTED_MESSAGE = "SuperNode ID: %s"
_EXIT = re.compile(r"Exit Code: (\d+)\n")
# What the text of an exit says comes first: Flower has one number for all that keeps it away.
_CODES_OF_TEXTS = {
    "certificate has expired": "CERT_EXPIRED",
    "certificate verify failed": "CERT_UNTRUSTED",
}
_CODES_OF_EXITS = {302: "NODE_KEY_UNUSABLE", 305: "NODE_REFUSED"}


def main() -> None:
    """Run until told to end: `supernode POLL_SECONDS RUN_FOLDER OPTION...`."""
    end_with_parent()
    poll_seconds, daemon_folder, *options = sys.argv[1:]
    poll_every(float(poll_seconds))
    note_answers(AskedNote(Path(daemon_folder)))
    look_sooner()
    hold_on()
    give_up_whole_messages()
    answer_in_turn()
    logging.getLogger("flwr").addHandler(NodeTeller(EventLines("fedward-node", sys.stdout)))
    sys.argv = ["flower-supernode", *options]
    flower_supernode()


def poll_every(
    seconds: float,
    now_seconds: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Let the node wait as its work asks for, and no longer than this between two questions.

    Args:
        seconds: Between two questions to the coordinator, where none had work.
        now_seconds: Gives monotonic seconds.
        wait: Lets some seconds pass.
    """
    link = PollPace(_LEAST_POLL_SECONDS, seconds, now_seconds)
    local = PollPace(*_LOCAL_POLL_SECONDS, now_seconds)

    def sleep(wanted_seconds: float) -> None:
        if wanted_seconds >= _NOTHING_CAME_SECONDS:
            wait(link.wait_seconds())
            local.came()
        else:  # a message is here, and its answer is waited for
            link.came()
            wait(local.wait_seconds())

    # The module uses nothing of `time` but `sleep`; a test holds Flower to that.
    vars(start_client_internal)["time"] = SimpleNamespace(sleep=sleep)


def note_answers(note: Callable[[], None]) -> None:
    """Call `note` whenever the coordinator answered whether it has work, with work or without."""
    inside = vars(start_client_internal)
    pull: Callable[..., int | None] = inside["_pull_and_store_message"]

    def noting(*, receive: Callable[[], object], **others: object) -> int | None:
        def received() -> object:
            came = receive()
            note()
            return came

        return pull(receive=received, **others)

    inside["_pull_and_store_message"] = noting


def hold_on() -> None:
    """Let the node go on where the coordinator was killed, or answers with an error of its own."""
    vars(fleet_http_connection).update(
        make_simple_http_retry_invoker=_patient_invoker, HeartbeatSender=SteadyHeartbeat
    )


def give_up_whole_messages() -> None:
    """Let the node forget a message whose run ended while its parts were fetched.

    Flower leaves it half stored, and the task loop then waits for hours for what never comes: the
    site would answer nothing more after its coordinator was killed at such a moment.
    """

    def pull(*arguments: Any, **options: Any) -> dict[str, bytes]:
        try:
            return pull_objects(*arguments, **options)
        except RunNotRunningException as error:
            raise ObjectPullError("of a message", "its run is over") from error

    vars(start_client_internal)["pull_objects"] = pull


def answer_in_turn() -> None:
    """Let the node ask for its next message once the one before is answered or lost.

    Flower takes any answer for that of the message it fetched last. The answer to one whose run
    ended just then would stand in for the next one's, which would leave only after a further
    message: the coordinator would wait out its deadline. And where the task loop lost a message,
    Flower waits for its answer for ever. A coordinator takes it that who asks for more has lost
    what it was given before, unless it has the answer.
    """
    inside = vars(start_client_internal)
    pull: Callable[..., int | None] = inside["_pull_and_store_message"]
    push: Callable[..., None] = inside["_push_messages"]
    asked = ""

    def pull_one(*, receive: Callable[[], Any], **others: Any) -> int | None:
        def received() -> Any:
            nonlocal asked
            came = receive()
            asked = came[0].metadata.message_id if came else ""
            return came

        return pull(receive=received, **others)

    def push_its_answer(*, state: Any, object_store: Any, send: Callable[..., Any],
                        **others: Any) -> None:  # fmt: skip
        answered: set[str] = set()

        def send_noted(message: Message, *how: Any) -> Any:
            answered.add(message.metadata.reply_to_message_id)
            return send(message, *how)

        with contextlib.suppress(_NothingToComeError):
            while asked not in answered:
                watched = _WatchedState(state)
                push(state=watched, object_store=object_store, send=send_noted, **others)
            return
        state.delete_messages(message_ids=[asked])
        object_store.delete(asked)

    inside.update(_pull_and_store_message=pull_one, _push_messages=push_its_answer)


class _NothingToComeError(Exception):
    """No task is left that could answer."""


class _WatchedState:
    """A node's state in which nobody waits for an answer that no task is at work on."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def get_messages_legacy(self, **of: Any) -> Any:
        """Give messages; a task hands its answer over before it ends."""
        at_work = self._state.get_tasks(statuses=_AT_WORK)
        found = self._state.get_messages_legacy(**of)
        if not found and not at_work:
            raise _NothingToComeError
        return found


class SteadyHeartbeat(HeartbeatSender):
    """A heartbeat that an error of the server does not stop for good."""

    def __init__(self, heartbeat_fn: Callable[[], bool]) -> None:
        def beat() -> bool:
            try:
                return heartbeat_fn()
            except httpx.HTTPStatusError as error:
                if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
                return False

        super().__init__(beat)


def _patient_invoker() -> RetryInvoker:
    """Give Flower's way of trying again, which gives up on refusals alone, and waits less long."""
    invoker = make_simple_http_retry_invoker()
    gives_up = invoker.should_giveup or (lambda _error: False)
    invoker.should_giveup = lambda error: not is_passing(error) and gives_up(error)
    invoker.wait_gen_factory = lambda: exponential(max_delay=_MOST_RETRY_SECONDS)
    return invoker


def is_passing(error: Exception) -> bool:
    """Say whether an error is one of a coordinator that ended, or has a fault of its own."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
    # A process that is killed while TLS is set up or written to: "EOF occurred in violation".
    return isinstance(error, httpx.TransportError) and "EOF occurred" in str(error)


class NodeTeller(logging.Handler):
    """Tells when the node is connected, and by its code why it gave up."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one record of Flower's log."""
        if record.msg == _CONNECTED_MESSAGE:
            self._tell(CONNECTED)
        elif exit_ := _EXIT.match(str(record.msg)):
            self._tell(REFUSED, code=code_of_exit(int(exit_[1]), str(record.msg)))


def code_of_exit(number: int, text: str) -> str:
    """Give the code for why Flower's node gave up."""
    for words, code in _CODES_OF_TEXTS.items():
        if words in text:
            return code
    return _CODES_OF_EXITS.get(number, f"FLOWER_EXIT_{number}")


if __name__ == "__main__":
    main()
