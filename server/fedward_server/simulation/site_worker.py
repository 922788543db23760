"""A worker process: takes framed messages from a pipe, hands them to the ClientApp, answers.

Started from a fork server that imported the app once, so a new worker costs milliseconds.
"""

import importlib
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection

from fedward_common.errors import MalformedMessageError
from fedward_server.simulation.in_process_grid import (
    error_reply,
    load_client_app,
    node_context,
)
from fedward_server.simulation.message_frame import receive_frame, send_frame

# In place of a frame's head, which is no such text.
FINISH = b"finish"


def serve(
    connection: Connection, client_app: str, configs: Mapping[int, Mapping[str, str]], threads: int
) -> None:
    """Answer messages until told to finish or the other end is gone."""
    # Ctrl-C reaches the whole process group; the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    importlib.import_module("torch").set_num_threads(threads)
    app = load_client_app(client_app)
    contexts = {node: node_context(node, config) for node, config in configs.items()}
    while True:
        try:
            head = connection.recv_bytes()
            if head == FINISH:
                return
            message = receive_frame(connection, head)
        except (EOFError, OSError, MalformedMessageError):
            return  # the other end is gone, or was cut off in the middle of a message
        try:
            reply = app(message, contexts[message.metadata.dst_node_id])
        except Exception:  # as Flower's link does: an error reply, and on to the next message
            reply = error_reply(message, "CLIENT_APP_RAISED")
        try:
            send_frame(connection, reply)
        except OSError:
            return  # the coordinator is gone; nobody is left to tell
        del message, reply
