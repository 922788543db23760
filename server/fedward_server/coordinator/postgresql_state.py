"""Flower's state on PostgreSQL: its SQL as it is, and what it leaves to each server by name.

Flower's statements go through SQLAlchemy, and its migrations know PostgreSQL. Its public release
opens SQLite alone, with a place for others; three names are what they must give.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from flwr.server.superlink.linkstate import (  # noqa: TID251  # its state is nowhere else
    LinkStateFactory,
    SqlLinkState,
)
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.object_store.sql_object_store import SqlObjectStore
from flwr.superlink import config_loader
from flwr.superlink.federation import FederationManager
from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from fedward_server.coordinator.database_settings import PostgreSQLDatabase

_TIMEOUT_SECONDS = 60.0
_DIALECT = frozenset({"postgresql"})


class PostgreSQLObjectStore(SqlObjectStore):
    """Parts of messages."""

    allowed_dialects = _DIALECT

    def dialect_insert(self, table: Any) -> postgresql.Insert:
        """Give PostgreSQL's INSERT, which knows ON CONFLICT."""
        return postgresql.insert(table)


class PostgreSQLLinkState(SqlLinkState):
    """Nodes, runs, tasks and messages."""

    allowed_dialects = _DIALECT

    def dialect_insert(self, table: Any) -> postgresql.Insert:
        """Give PostgreSQL's INSERT, which knows ON CONFLICT."""
        return postgresql.insert(table)

    @property
    def select_lock_sql(self) -> str:
        """Let no two requests take one row."""
        return "FOR UPDATE SKIP LOCKED"

    def store_object(
        self, run_id: int, session_id: str, object_id: str, object_content: bytes
    ) -> bool:
        """Store a part of a message.

        Flower's own takes every error for a refusal, which ends the run that sent the part. So
        where it refuses, the server is asked whether it is there, and then once more.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: It is away; the sender tries again.
        """
        if super().store_object(run_id, session_id, object_id, object_content):
            return True
        with self.session() as session:
            session.execute(select(1))
        return super().store_object(run_id, session_id, object_id, object_content)


@contextlib.contextmanager
def opened_on(database: PostgreSQLDatabase) -> Iterator[str]:
    """Let Flower open this database for as long as the block lasts; give its URL."""
    url, inside = database.url, vars(config_loader)
    # A connection that the server ended meanwhile is found so before it is used.
    options: dict[str, Any] = {
        "connect_args": database.connect_arguments(timeout_seconds=_TIMEOUT_SECONDS),
        "pool_pre_ping": True,
    }

    def object_store(_: str) -> ObjectStoreFactory:
        factory, store = ObjectStoreFactory(url), PostgreSQLObjectStore(url)
        store.initialize(**options)
        factory.store_instance = store
        return factory

    def link_state(
        _: str, manager: FederationManager, stores: ObjectStoreFactory
    ) -> LinkStateFactory:
        factory = LinkStateFactory(url, manager, stores)
        state = PostgreSQLLinkState(url, manager, stores.store())
        state.initialize(**options)
        factory.state_instance = state
        return factory

    names = {"get_ee_objectstore_factory": object_store, "get_ee_linkstate_factory": link_state}
    before = {name: inside[name] for name in names}
    inside.update(names)
    try:
        yield url
    finally:
        inside.update(before)
