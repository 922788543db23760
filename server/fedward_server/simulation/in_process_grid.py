"""Flower Grids without Flower's servers: sites in turn in this process, or in worker processes.

Both hand the same messages to the same ClientApp, loaded by name as Flower does. A message is run
when its answer is first asked for or a worker is free, and no more answers are kept than there are
workers (of small steps twice as many), so the coordinator's memory does not grow with the number of
sites.
"""

import importlib
import itertools
import secrets
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedward_common.errors import ConfigurationError
from fedward_common.secagg.rounds_in_memory import ROUNDS_IN_MEMORY

CLIENT_APP = "fedward_client.daemon.app:app"
FIRST_NODE_ID = 100
_RUN_ID = 1

NodeConfigs = Mapping[int, Mapping[str, str]]


def load_client_app(reference: str) -> ClientApp:
    """Load an app by `module:attribute`.

    Raises:
        ConfigurationError: It names no ClientApp.
    """
    module, _, attribute = reference.partition(":")
    app = getattr(importlib.import_module(module), attribute, None)
    if not isinstance(app, ClientApp):
        raise ConfigurationError(f"{reference} is no ClientApp")
    return app


def node_configs(
    site_homes: Iterable[str], *, rounds_in_memory: bool = False
) -> dict[int, dict[str, str]]:
    """Give each site's home a node id.

    Args:
        site_homes: Their folders.
        rounds_in_memory: Whether the sites keep rounds in memory alone, where they may; for one
            Grid.
    """
    kept = {ROUNDS_IN_MEMORY: secrets.token_hex(8)} if rounds_in_memory else {}
    return {
        FIRST_NODE_ID + index: {"site-home": home, **kept} for index, home in enumerate(site_homes)
    }


def node_context(node_id: int, config: Mapping[str, str]) -> Context:
    """Make the context a SuperNode would hand its ClientApp."""
    return Context(
        run_id=_RUN_ID,
        node_id=node_id,
        node_config=dict(config),
        state=RecordDict(),
        run_config={},
    )


def error_reply(message: Message, reason: str) -> Message:
    """Make the reply that a link makes when an app does not answer."""
    error = Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason=reason)
    return Message(error, reply_to=message)


class InProcessGrid(Grid):
    """What both kinds share: identities, and messages that wait for their turn."""

    poll_seconds = 0.0
    """`pull_messages` waits by itself, so nobody needs to sleep between two calls."""

    def __init__(self, configs: NodeConfigs) -> None:
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = _RUN_ID
        self._configs = configs
        self._ids = itertools.count(1)
        self._waiting: dict[str, Message] = {}
        self._unanswered: dict[str, int] = {}

    @property
    def has_rounds_in_memory(self) -> bool:
        """Whether its sites keep rounds in memory alone, where they may."""
        return any(ROUNDS_IN_MEMORY in config for config in self._configs.values())

    @property
    def run(self) -> Run:
        """Nothing here has Flower's run record."""
        raise ConfigurationError("a simulated Grid belongs to no Flower run")

    def set_run(self, run: Run) -> None:
        """Ignore; the run is Fedward's own."""

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message as Flower's own Grids do."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Every simulated site is online."""
        return sorted(self._configs)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Queue messages; each is run once."""
        pushed = []
        for message in messages:
            message_id = f"m{next(self._ids)}"
            message.metadata.__dict__["_message_id"] = message_id
            self._forget_older(message.metadata.dst_node_id)
            self._waiting[message_id] = message
            self._unanswered[message_id] = message.metadata.dst_node_id
            pushed.append(message_id)
        return pushed

    def _forget_older(self, node: int) -> None:
        """Drop what was pushed to a node before: who asks again no longer waits for that answer."""
        for message_id in [m for m, of in self._unanswered.items() if of == node]:
            del self._unanswered[message_id]
            self._waiting.pop(message_id, None)

    @abstractmethod
    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Give answers that are there."""

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Push one message after the other, each once the one before it is answered.

        Of two at once to one node, the Grid would forget the older. `timeout` is ignored: a message
        ends by its own deadline.
        """
        replies: list[Message] = []
        for message in messages:
            pushed = self.push_messages([message])
            came: list[Message] = []
            while not came:
                came = self.pull_messages(pushed)
            replies.extend(came)
        return replies


class InTurnGrid(InProcessGrid):
    """One site after the other, in this process."""

    def __init__(self, configs: NodeConfigs, client_app: str = CLIENT_APP) -> None:
        super().__init__(configs)
        self._app = load_client_app(client_app)
        self._contexts = {node: node_context(node, config) for node, config in configs.items()}

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Run the first of these messages that was not run, and give its answer."""
        for message_id in message_ids:
            message = self._waiting.pop(message_id, None)
            if message is not None:
                del self._unanswered[message_id]
                return [self._answer(message)]
        return []

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        try:
            reply = self._app(message, self._contexts[node])
        except Exception:  # the link's view: whatever an app raises is one more error reply
            reply = error_reply(message, "CLIENT_APP_RAISED")
        fields: dict[str, Any] = reply.metadata.__dict__
        fields["_src_node_id"] = node
        return reply
