"""Flower's database on PostgreSQL: what is checked, and held, before Flower opens it.

What is in it is worth no more than where it is a file (`flower_database`). But a server's database
can be reached from several machines, so a lock in it keeps a second coordinator out.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import ConfigurationError, FedwardError, LockedError
from fedward_server.coordinator.database_settings import PostgreSQLDatabase
from fedward_server.coordinator.flower_database import BELIEVED_SECONDS, ONLINE

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_TIMEOUT_SECONDS = 10.0
_LOCK = 0x46656477  # "Fedw", as a lock's number
_REFUSED_LOGIN = "28"  # https://www.postgresql.org/docs/current/errcodes-appendix.html, class 28
_NO_SUCH_DATABASE = "3D000"
_EXPECT_SIGNS_OF_LIFE = (
    "UPDATE node SET online_until = least(online_until, :until) WHERE status = :online"
)


class HeldDatabase:
    """A database that no other coordinator uses, for as long as it is held.

    Args:
        database: Where it is.
    """

    def __init__(self, database: PostgreSQLDatabase) -> None:
        self._database = database
        self._engine = _engine_of(database)
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def require_held(self) -> None:
        """Take it, or hold it still; after the server was away, take it again.

        Raises:
            FedwardError: `DATABASE_UNREACHABLE`.
            ConfigurationError: The server refuses user or database.
            LockedError: Another coordinator has it.
        """
        with self._lock, _named(self._database):
            if self._connection is not None and self._is_alive(self._connection):
                return
            self._connection = None
            connection = self._engine.connect()
            if not _value(connection, "SELECT pg_try_advisory_lock(:lock)", lock=_LOCK):
                connection.close()
                raise LockedError(
                    f"another coordinator uses {self._database.text}",
                    hint="one database, one coordinator; end that one, or give this one another",
                )
            self._connection = connection

    def is_rebuilt(self, begun: Path, now_seconds: float) -> bool:
        """Prepare the start, and say whether what was here before is gone.

        Args:
            begun: File that says that a start came before.
            now_seconds: Since 1970, UTC.

        Raises:
            ConfigurationError: It holds something else, or the user may make no tables.
            FedwardError: `DATABASE_UNREACHABLE`.
        """
        self.require_held()
        with self._lock, _named(self._database), self._engine.begin() as connection:
            is_there = self._has_flowers_tables(connection)
            if is_there:
                values = {"until": now_seconds + BELIEVED_SECONDS, "online": ONLINE}
                _execute(connection, _EXPECT_SIGNS_OF_LIFE, **values)
        is_gone = begun.exists() and not is_there
        if not begun.exists():
            write_atomically(begun, b"")
        return is_gone

    def close(self) -> None:
        """Let it go."""
        with self._lock, contextlib.suppress(Exception):
            if self._connection is not None:
                self._connection.close()
        self._engine.dispose()

    def _has_flowers_tables(self, connection: "Connection") -> bool:
        from sqlalchemy import inspect

        tables = set(inspect(connection).get_table_names())
        if tables and not {"alembic_version", "node", "run"} <= tables:
            raise ConfigurationError(
                f"{self._database.text} holds tables that are not Flower's",
                hint=f"give it one of its own: createdb -O {self._database.user} NAME",
            )
        schema = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
        if not _value(connection, schema):
            raise ConfigurationError(
                f"{self._database.user} may make no tables in {self._database.text}",
                hint=f"make it the owner: ALTER DATABASE {self._database.name} OWNER TO "
                f"{self._database.user}",
            )
        return bool(tables)

    @staticmethod
    def _is_alive(connection: "Connection") -> bool:
        from sqlalchemy.exc import DBAPIError

        try:
            return bool(_value(connection, "SELECT 1") == 1)
        except (DBAPIError, OSError):
            connection.invalidate()
            connection.close()
            return False


def _engine_of(database: PostgreSQLDatabase) -> "Engine":
    from sqlalchemy import NullPool, create_engine

    try:
        return create_engine(
            database.url,
            connect_args=database.connect_arguments(timeout_seconds=_TIMEOUT_SECONDS),
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "a driver for PostgreSQL is not installed",
            hint="install it: pip install 'fedward[postgresql]'",
        ) from error


def _execute(connection: "Connection", statement: str, **values: Any) -> Any:
    from sqlalchemy import text

    return connection.execute(text(statement), values)


def _value(connection: "Connection", statement: str, **values: Any) -> Any:
    return _execute(connection, statement, **values).scalar()


@contextlib.contextmanager
def _named(database: PostgreSQLDatabase) -> Iterator[None]:
    """Name what goes wrong between us and the server."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (DBAPIError, OSError) as error:
        raise _error_of(database, getattr(error, "orig", error)) from None


def _error_of(database: PostgreSQLDatabase, error: BaseException) -> FedwardError:
    told = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    state, words = str(told.get("C", "")), str(told.get("M", "") or error)
    if state.startswith(_REFUSED_LOGIN):
        return ConfigurationError(
            f"{database.text} refuses the user {database.user}: {words}",
            hint="check the user, database_password_file, and the server's pg_hba.conf",
        )
    if state == _NO_SUCH_DATABASE:
        return ConfigurationError(
            f"{database.text} is not there",
            hint=f"make it: createdb -O {database.user} {database.name}",
        )
    return FedwardError(
        f"{database.text} cannot be used: {words or type(error).__name__}",
        hint="start the server, or mend address, port, authority or network; runs then go on from "
        "their own journals",
        code="DATABASE_UNREACHABLE",
    )
