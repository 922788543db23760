"""Flower's SuperLink as this coordinator serves it.

Nodes must show a registered key, always. Apps run in no process of Flower's: nothing is installed,
and a task goes to who knows the secret of this start. Runs are ordered by who has its token, on
loopback alone. Flower's own start-up class, which would start further servers, is replaced.
"""

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from flwr.app import Message
from flwr.common.constant import ACCESS_TOKEN_KEY
from flwr.supercore import sql_mixin
from flwr.supercore.auth.typing import AccountInfo
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app

from fedward_common.flower_environment import LOOPBACK
from fedward_server.coordinator.database_settings import PostgreSQLDatabase
from fedward_server.coordinator.given_messages import GivenMessages
from fedward_server.coordinator.listener_gates import AsgiApp
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.small_heap import keep_heap_small

# Of each connection to the database, of which there are as many as threads. Flower gives each 64 MB
# and maps 256 MB of the file, which together are many times a model.
_PRAGMAS = {"cache_size": "-4000", "mmap_size": "0"}


def superlink_app(
    database: Path | PostgreSQLDatabase,
    access: LoopbackAccess,
    given: GivenMessages | None = None,
) -> AsgiApp:
    """Make Flower's application over a database, whose tables are made where they are missing.

    Args:
        database: Of Flower's.
        access: For this machine's own processes.
        given: Told what nodes are given and answer.
    """
    if isinstance(database, Path):
        return _app_over(str(database), access, given)
    from fedward_server.coordinator.postgresql_state import opened_on

    with opened_on(database) as url:
        return _app_over(url, access, given)


def _app_over(database: str, access: LoopbackAccess, given: GivenMessages | None) -> AsgiApp:
    _spare_memory()
    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=LOOPBACK,
        port=access.port,
        insecure=False,
        certificates=None,
        superexec_auth_secret=access.task_secret,
        authn_plugin=_OneToken(access.token),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type="grpc-rere",  # a name only: its servers belong to the class left out
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=None,
        ssl_certfile=None,
        ssl_keyfile=None,
        database=database,
        isolation="process",
        runtime_dependency_install=False,
    )
    app = create_app(config, cast(Any, _StartsNothing))
    if given is not None:
        _note_given(app.state.linkstate_factory.state(), given)
    return cast(AsgiApp, app)


def _note_given(state: Any, given: GivenMessages) -> None:
    """Have `given` told of every message that a node is given, and of every answer."""
    claim, keep = state.get_message_ins, state.store_message_res

    def claim_noted(node_id: int, limit: int | None, **others: Any) -> Any:
        given.node_asks(node_id)
        found = claim(node_id, limit, **others)
        given.node_is_given(node_id, [message.metadata.message_id for message in found])
        return found

    def keep_noted(message: Message) -> str | None:
        kept: str | None = keep(message)
        if kept is not None:
            metadata = message.metadata
            given.node_answers(metadata.src_node_id, metadata.reply_to_message_id)
        return kept

    state.get_message_ins, state.store_message_res = claim_noted, keep_noted


def _spare_memory() -> None:
    """Let this process and each connection to the database hold little."""
    keep_heap_small()
    inside = vars(sql_mixin)
    inside["SQLITE_PRAGMAS"] = tuple((dict(inside["SQLITE_PRAGMAS"]) | _PRAGMAS).items())


class _OneToken(NoOpControlAuthnPlugin):
    """Believes who has the token to be the one account there is."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """Compare the token, in a time that does not depend on it."""
        came = dict(metadata).get(ACCESS_TOKEN_KEY, "")
        raw = came if isinstance(came, bytes) else came.encode()
        if not hmac.compare_digest(raw, self._token):
            return False, None
        return super().validate_tokens_in_metadata(metadata)

    def refresh_tokens(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[Sequence[tuple[str, str | bytes]] | None, AccountInfo | None]:
        """Give nobody another token."""
        return None, None


class _StartsNothing:
    """Stands where Flower would start gRPC servers and the processes of apps."""

    def __init__(self, config: SuperLinkLifespanConfig, state_factory: object) -> None:
        del config, state_factory

    def startup(self) -> None:
        """Start nothing."""

    def shutdown(self) -> None:
        """Stop nothing."""
