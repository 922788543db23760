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
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from fedward_client.daemon.audit import APP_RAISED, audit_unanswered
from fedward_client.daemon.end_with_parent import end_with_parent
from fedward_client.daemon.present_work import at_work
from fedward_client.jobs.limits_policy import limit_this_process
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import read_policy
from fedward_common.coded_output import say_codes_only
from fedward_common.errors import FedwardError
from fedward_common.event_lines import EventLines, Tell
from fedward_common.flower_runtime import (
    CALL_FAILED,
    TaskQueue,
    heartbeats,
    hold_less,
    look_sooner,
    runtime_client,
)
from fedward_common.poll_pace import PollPace

READY = "tasks.ready"
ANSWERED = "message.answered"

_COMPONENT = "flwr-clientapp"
_POLL_SECONDS = (0.05, 1.0)
_LOST = "MESSAGE_LOST"

ClientApp = Callable[[Message, Context], Message]


class TaskLoop:
    """Takes tasks from the node on this machine.

    Args:
        port: Of the node's runtime API.
        secret: Shared with the node.
        home: Of the site.
        app: Answers a message.
        tell: Writes lines of the log.
        now_seconds: Gives monotonic seconds.
    """

    def __init__(
        self,
        port: int,
        secret: bytes,
        home: Path,
        app: ClientApp,
        tell: Tell,
        now_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port = port
        self._home = home
        self._daemon_folder = SiteHome(home).daemon_folder
        self._app = app
        self._tell = tell
        self._now_seconds = now_seconds
        self._pace = PollPace(*_POLL_SECONDS, now_seconds)
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
            if took_one:
                self._pace.came()
            else:
                wait(self._pace.wait_seconds())

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
        began = self._now_seconds()
        try:
            message, given, _run, _bundle = pull_task_input(client)
        except (ObjectPullError, RuntimeError) as error:
            # The node gave the message up meanwhile, as where the coordinator's run is over.
            self._tell("message.lost", code=type(error).__name__)
            push_task_output(client, None, SubStatus.FAILED, _LOST)
            return
        context = Context(
            run_id=given.run_id,
            node_id=given.node_id,
            node_config={"site-home": str(self._home)},
            state=RecordDict(),
            run_config={},
        )
        fetched = self._now_seconds()
        reply, code = self._reply_to(message, context)
        answered = self._now_seconds()
        push_message(client, reply, context)
        status = SubStatus.FAILED if code else SubStatus.COMPLETED
        push_task_output(client, None, status, code)
        self._tell(
            ANSWERED,
            type=message.metadata.message_type[:60],
            round=message.metadata.group_id[:20],
            code=code,
            fetch_seconds=round(fetched - began, 3),
            answer_seconds=round(answered - fetched, 3),
            hand_over_seconds=round(self._now_seconds() - answered, 3),
        )

    def _reply_to(self, message: Message, context: Context) -> tuple[Message, str]:
        """Give the app's answer, and the code of what went wrong or nothing."""
        kind = message.metadata.message_type
        try:
            with at_work(self._daemon_folder, kind, time.time()):
                return self._app(message, context), ""
        except Exception as error:  # an exception's text may quote a patient's data
            self._tell("message.failed", code=APP_RAISED, kind=type(error).__name__)
            audit_unanswered(SiteHome(self._home), now_seconds=time.time())
        failure = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=APP_RAISED)
        return Message(failure, reply_to=message), APP_RAISED


def main() -> None:
    """Serve until told to end: `task_loop PORT SECRET_FILE HOME`."""
    end_with_parent()
    port, secret_file, home = sys.argv[1:]
    tell = EventLines("fedward-tasks", sys.stdout)
    say_codes_only(tell, "flwr")
    try:
        limit_this_process(read_policy(SiteHome(Path(home))).limits)
    except FedwardError as error:
        tell("tasks.refused", code=error.code)
        sys.exit(error.exit_code)
    from fedward_client.daemon.app import app

    look_sooner()
    hold_less()
    secret = Path(secret_file).read_bytes()
    TaskLoop(int(port), secret, Path(home), app, tell).serve(time.sleep)


if __name__ == "__main__":
    main()
