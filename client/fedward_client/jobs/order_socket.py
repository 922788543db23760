"""How an order comes to the daemon: one line of JSON each way, over a socket in the home.

`run/daemon.sock` is for its owner alone, in a folder that is so too. An order is at most 4 kB, an
answer at most 64 kB; a key that is not known makes the whole line unusable.
"""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedward_client.jobs.decisions import os_user
from fedward_client.jobs.orders import Order, carry_out
from fedward_client.site_home import SiteHome
from fedward_common.errors import ConfigurationError, FedwardError, MalformedMessageError
from fedward_common.settings import from_table

MAX_ORDER_BYTES = 4096
MAX_ANSWER_BYTES = 65536
SOCKET_NAME = "daemon.sock"

# A withdrawal waits for the ledger, which a round may have in hand.
_ANSWER_SECONDS = 120.0
_NOBODY_LISTENS = {errno.ENOENT, errno.ECONNREFUSED}


@contextlib.contextmanager
def short_address(folder: Path) -> Iterator[str]:
    """Give the socket's address in a form that is short wherever the home lies.

    The system takes no address of more than 107 bytes; the folder's descriptor stands for its path.
    """
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def do(home: SiteHome, order: Order) -> dict[str, Any]:
    """Have an order carried out by the daemon, or without one by this process.

    Raises:
        FedwardError: As `orders.carry_out`, or the daemon gave no answer (`DAEMON_SILENT`).
    """
    answer = ask_daemon(home, order)
    if answer is None:
        return carry_out(home, order, by=os_user(), now=time.time())
    return answer


def ask_daemon(home: SiteHome, order: Order) -> dict[str, Any] | None:
    """Send an order to the daemon; None where none listens.

    Raises:
        FedwardError: What the daemon could not do, with its code; or `DAEMON_SILENT`.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_ANSWER_SECONDS)
        try:
            with short_address(home.daemon_folder) as address:
                line.connect(address)
        except OSError as error:
            if error.errno in _NOBODY_LISTENS:
                return None
            raise _silent(type(error).__name__) from error
        try:
            line.sendall(encode(asdict(order)))
            line.shutdown(socket.SHUT_WR)
            answer = read_line(line, MAX_ANSWER_BYTES)
        except (OSError, MalformedMessageError) as error:
            raise _silent(type(error).__name__) from error
    return _opened(answer)


def encode(content: dict[str, Any]) -> bytes:
    """Give a line."""
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def read_line(line: socket.socket, max_bytes: int) -> dict[str, Any]:
    """Read one line that holds one object.

    Raises:
        MalformedMessageError: It is longer, ends early, or is none.
        OSError: It does not come in time.
    """
    content = bytearray()
    while not content.endswith(b"\n"):
        came = line.recv(min(65536, max_bytes + 1 - len(content)))
        content += came
        if not came or len(content) > max_bytes:
            raise MalformedMessageError(f"no line of {max_bytes} bytes at most came")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError("the line is no JSON") from error
    if not isinstance(value, dict):
        raise MalformedMessageError("the line is no object")
    return value


def order_in(unverified: dict[str, Any]) -> Order:
    """Give the order of a line.

    Raises:
        MalformedMessageError: It is none.
    """
    try:
        return from_table(Order, unverified)
    except ConfigurationError as error:
        raise MalformedMessageError(f"no order: {error}", hint=error.hint) from error


def refusal_of(error: Exception) -> dict[str, Any]:
    """Give an error as the answer that `ask_daemon` raises again."""
    if not isinstance(error, FedwardError):  # its text may quote anything
        text, hint = f"the daemon failed with {type(error).__name__}", "look into its log"
        return {"error": {"message": text, "hint": hint, "code": "FAILED", "exit_code": 1}}
    named = {"message": str(error)[:8192], "hint": error.hint[:8192]}
    return {"error": named | {"code": error.code, "exit_code": error.exit_code}}


def _opened(answer: dict[str, Any]) -> dict[str, Any]:
    problem, done = answer.get("error"), answer.get("done")
    if isinstance(problem, dict):
        raised = FedwardError(
            str(problem.get("message", "")),
            hint=str(problem.get("hint", "")),
            code=str(problem.get("code", "FAILED")),
        )
        raised.exit_code = 2 if problem.get("exit_code") == 2 else 1
        raise raised
    if not isinstance(done, dict):
        raise _silent("no answer")
    return done


def _silent(why: str) -> FedwardError:
    return FedwardError(
        f"the daemon did not answer ({why}), so whether it did what was said is not known",
        hint="look with: fedward-site jobs and fedward-site status; then say it again",
        code="DAEMON_SILENT",
    )
