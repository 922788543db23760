"""The site's own task loop: `python -m fedward_client.daemon.task_loop`.

It takes each message that the node received and hands it to the ClientApp that is installed here.
The bundle that came from the coordinator is never unpacked, installed or imported, whatever it
holds; of the run's configuration nothing is read. The home is the one this process was started
with. What goes wrong leaves as a code.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode, SubStatus
from flwr.supercore.constant import TaskType
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from fedward_client.daemon.end_with_parent import end_with_parent
from fedward_common.event_lines import EventLines, Tell
from fedward_common.flower_runtime import CALL_FAILED, TaskQueue, heartbeats, runtime_client

READY = "tasks.ready"

_COMPONENT = "flwr-clientapp"
_POLL_SECONDS = 0.2
_APP_FAILED = "CLIENT_APP_RAISED"

ClientApp = Callable[[Message, Context], Message]


class TaskLoop:
    """Takes tasks from the node on this machine.

    Args:
        port: Of the node's runtime API.
        secret: Shared with the node.
        home: Of the site.
        app: Answers a message.
        tell: Writes lines of the log.
    """

    def __init__(self, port: int, secret: bytes, home: Path, app: ClientApp, tell: Tell) -> None:
        self._port = port
        self._home = home
        self._app = app
        self._tell = tell
        self._queue = TaskQueue(port, secret, TaskType.CLIENT_APP, _COMPONENT)
        self._is_ready = False

    def serve(self, wait: Callable[[float], None]) -> None:
        """Take one task after another, for as long as the process lives.

        Args:
            wait: Lets some seconds pass.
        """
        while True:
            try:
                took_one = self.do_next()
            except CALL_FAILED as error:
                if self._is_ready:  # before, the node is only starting
                    self._tell("tasks.unreachable", code=type(error).__name__)
                took_one, self._is_ready = False, False
            if not took_one:
                wait(_POLL_SECONDS)

    def do_next(self) -> bool:
        """Answer the message that waits; say whether there was one."""
        token = self._queue.next_token()
        if not self._is_ready:
            self._is_ready = True
            self._tell(READY)
        if not token:
            return False
        client = runtime_client(self._port, token, _COMPONENT)
        try:
            with heartbeats(client):
                self._answer(client)
        finally:
            client.close()
        return True

    def _answer(self, client: RuntimeHttpClient) -> None:
        message, given, _run, _bundle = pull_task_input(client)
        context = Context(
            run_id=given.run_id,
            node_id=given.node_id,
            node_config={"site-home": str(self._home)},
            state=RecordDict(),
            run_config={},
        )
        code = ""
        try:
            reply = self._app(message, context)
        except Exception as error:  # an exception's text may quote a patient's data
            self._tell("message.failed", code=_APP_FAILED, kind=type(error).__name__)
            code = _APP_FAILED
            failure = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=code)
            reply = Message(failure, reply_to=message)
        push_message(client, reply, context)
        status = SubStatus.FAILED if code else SubStatus.COMPLETED
        push_task_output(client, None, status, code)


def main() -> None:
    """Serve until told to end: `task_loop PORT SECRET_FILE HOME`."""
    end_with_parent()
    port, secret_file, home = sys.argv[1:]
    from fedward_client.daemon.app import app

    tell = EventLines("fedward-tasks", sys.stdout)
    secret = Path(secret_file).read_bytes()
    TaskLoop(int(port), secret, Path(home), app, tell).serve(time.sleep)


if __name__ == "__main__":
    main()
