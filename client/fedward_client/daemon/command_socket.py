"""Where commands of this machine give orders to the daemon.

Who asks is known from the system, not from what comes: only the account that the daemon runs as,
and root, are heard, and that account stands in the audit log. Each order is answered by a thread of
its own, so a withdrawal that waits for the ledger keeps nobody from pausing.
"""

import contextlib
import os
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fedward_client.daemon.audit import audit_order
from fedward_client.jobs.decisions import account_of
from fedward_client.jobs.order_socket import (
    MAX_ORDER_BYTES,
    SOCKET_NAME,
    encode,
    order_in,
    read_line,
    refusal_of,
    short_address,
)
from fedward_client.jobs.orders import Order
from fedward_client.site_home import SiteHome
from fedward_common.errors import FedwardError
from fedward_common.event_lines import Tell

Do = Callable[[Order, str], dict[str, Any]]
"""Carries an order of an account out, and gives what came of it."""

_ROOT = 0
_NOT_ALLOWED = "NOT_ALLOWED"
_READ_SECONDS = 10.0
_UCRED = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED, unix(7)


@contextlib.contextmanager
def listening(home: SiteHome, do: Do, tell: Tell) -> Iterator[Path]:
    """Answer orders for as long as the block lasts; the caller holds the daemon's lock.

    Args:
        home: Of the site.
        do: Carries orders out; called from several threads.
        tell: Writes lines of the log.

    Yields:
        The socket's file.
    """
    folder = home.daemon_folder
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    file = folder / SOCKET_NAME
    file.unlink(missing_ok=True)  # of a daemon that was killed
    with short_address(folder) as address, _Server(home, address, do, tell) as server:
        thread = threading.Thread(target=server.serve_forever, name="orders", daemon=True)
        thread.start()
        try:
            yield file
        finally:
            server.shutdown()
            thread.join()
            file.unlink(missing_ok=True)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, home: SiteHome, address: str, do: Do, tell: Tell) -> None:
        self.home = home
        self.do = do
        self.tell = tell
        super().__init__(address, _Conversation)

    def server_bind(self) -> None:
        # The file is made with the rights of the descriptor, so it is never open to others.
        os.fchmod(self.socket.fileno(), 0o600)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: the default prints a traceback, whose text may be anything."""


class _Conversation(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        line: socket.socket = self.request
        line.settimeout(_READ_SECONDS)
        uid = _uid_of_peer(line)
        by = account_of(uid)
        if uid not in (os.geteuid(), _ROOT):
            self.server.tell("order.refused", by=by, code=_NOT_ALLOWED)
            audit_order(self.server.home, _NOT_ALLOWED, by=by, now_seconds=time.time())
            return
        with contextlib.suppress(OSError):  # whoever asked is gone
            line.sendall(encode(self._answer(line, by)))

    def _answer(self, line: socket.socket, by: str) -> dict[str, Any]:
        name = "unknown"
        try:
            order = order_in(read_line(line, MAX_ORDER_BYTES))
            name = order.do
            done = self.server.do(order, by)
        except Exception as error:
            code = error.code if isinstance(error, FedwardError) else type(error).__name__
            self.server.tell("order.refused", order=name, by=by, code=code)
            return refusal_of(error)
        if name != "status":
            self.server.tell("order.done", order=name, by=by, run=str(done.get("run", "")))
        return {"done": done}


def _uid_of_peer(line: socket.socket) -> int:
    _, uid, _ = _UCRED.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)
