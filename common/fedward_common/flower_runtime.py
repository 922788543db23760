"""Flower's runtime API on loopback, as both sides' own task loops use it.

A task loop takes work from a Flower server of this very machine and runs an app that is installed
here; the bundle that comes with a task is never opened. Flower's own retries are not used: on an
error 401 they interrupt the process they run in.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import httpx
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import RetryInvoker
from flwr.supercore.retry.retry_invoker import constant
from flwr.supercore.runtime import RuntimeHttpClient

from fedward_common.array_assembly import inflate_in_place
from fedward_common.flower_environment import LOOPBACK

# What a caller of this module may see go wrong with a call.
CALL_FAILED = (httpx.HTTPError, ValueError)

_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
_RETRY_SECONDS = 0.5
_MAX_TRIES = 40

_FIRST_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 1.0
_PULL_SECONDS = 7200.0  # Flower's own bound, which its number of tries no longer keeps


def look_sooner() -> None:
    """Look for an array that is still being stored after 0.05 s at first, where Flower takes 1 s.

    A message is there before its arrays are, so almost every one is asked for too early.
    """
    sooner = {
        "initial_backoff": _FIRST_LOOK_SECONDS,
        "backoff_cap": _LONGEST_LOOK_SECONDS,
        "max_tries_per_object": None,
        "max_time": _PULL_SECONDS,
    }
    for pull in (
        inflatable_utils.pull_objects,
        inflatable_utils.pull_and_inflate_object_from_tree,
    ):
        pull.__kwdefaults__ = {**(pull.__kwdefaults__ or {}), **sooner}


def push_in_turn(
    object_contents: Iterable[tuple[str, bytes]],
    push_object_fn: Callable[[str, bytes], None],
    **_limits: int,
) -> None:
    """Push a message's parts one after the other, each made when it is its turn.

    Flower makes all of them before the first is pushed, which is the whole vector once more.
    """
    for object_id, content in object_contents:
        push_object_fn(object_id, content)


def hold_less() -> None:
    """Let this process push as `push_in_turn` does, and put arrays together in their own memory."""
    vars(inflatable_utils)["push_object_contents_from_iterable"] = push_in_turn
    vars(inflatable_utils)["inflate_object_from_contents"] = inflate_in_place


def runtime_client(port: int, token: str, component: str) -> RuntimeHttpClient:
    """Connect to the runtime API for one task.

    Args:
        port: Of the server on this machine.
        token: Of the task.
        component: What Flower calls this kind of process.
    """
    return RuntimeHttpClient.from_server_address(
        server_address=f"{LOOPBACK}:{port}",
        insecure=True,
        root_certificates=None,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name=component),
            RuntimeTokenHttpInterceptor(token),
        ],
        retry_invoker=_patient(),
    )


class TaskQueue:
    """Where tasks wait; only who knows the secret may take one.

    Args:
        port: Of the server on this machine.
        secret: Shared with it.
        task_type: The one kind of task that is taken.
        component: What Flower calls this kind of process.
    """

    def __init__(self, port: int, secret: bytes, task_type: str, component: str) -> None:
        self._task_type = task_type
        self._client = RuntimeHttpClient.from_server_address(
            server_address=f"{LOOPBACK}:{port}",
            insecure=True,
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name=component),
                SuperExecAuthHttpInterceptor(
                    master_secret=secret, protected_methods=frozenset({_ACQUIRE})
                ),
            ],
        )

    def next_token(self) -> str:
        """Take a task and give its token; empty where none waits.

        Raises:
            httpx.HTTPError: The server is not there, or refuses.
        """
        asked = AcquireTaskRequest(supported_task_types=[self._task_type])
        answer = self._client.AcquireTask(asked)
        return str(answer.token) if answer.HasField("task") else ""

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


@contextlib.contextmanager
def heartbeats(client: RuntimeHttpClient) -> Iterator[None]:
    """Tell the server that the task is alive, for as long as the block lasts."""

    def beat() -> bool:
        # A task that is gone costs its answer, which shows when it is pushed.
        with contextlib.suppress(*CALL_FAILED):
            client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
        return True

    sender = HeartbeatSender(beat)
    sender.start()
    try:
        yield
    finally:
        if sender.is_running:
            sender.stop()


def _patient() -> RetryInvoker:
    """Try again for a while where the server is busy or starting anew; never on a refusal."""
    return RetryInvoker(
        wait_gen_factory=lambda: constant(_RETRY_SECONDS),
        recoverable_exceptions=(httpx.TransportError, httpx.HTTPStatusError),
        max_tries=_MAX_TRIES,
        max_time=None,
        should_giveup=_is_refusal,
    )


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
