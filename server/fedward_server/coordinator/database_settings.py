"""Where Flower's database lies: in a file of the home, or on a PostgreSQL server by URL.

A password stands in a file alone. A URL with one is refused, and no message shows a URL.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import ConfigurationError
from fedward_common.private_file import require_private

_SCHEMES = ("postgresql", "postgresql+pg8000")
_HERE = ("localhost", "127.0.0.1", "::1")
_SOCKET = "unix_sock"
_DEFAULT_PORT = 5432
_WRITE = (
    "write postgresql://USER@HOST:PORT/NAME, or postgresql://USER@/NAME?unix_sock=PATH; "
    "without `database` it is a file"
)


@dataclass(frozen=True)
class PostgreSQLDatabase:
    """A database on a PostgreSQL server.

    Attributes:
        user: Who logs in.
        name: Of the database.
        host: Empty where `socket` says where the server is.
        socket: Path of a Unix socket.
        password: None where the server asks for none.
        authority_file: PEM; vouches for the server's certificate. None: no TLS, on this machine.
    """

    user: str
    name: str
    host: str = ""
    port: int = _DEFAULT_PORT
    socket: str = ""
    password: SecretBytes | None = None
    authority_file: Path | None = None

    @property
    def text(self) -> str:
        """Which it is, for a person."""
        return f"database {self.name!r} at {self.socket or f'{self.host}:{self.port}'}"

    @property
    def url(self) -> str:
        """Its URL for SQLAlchemy, which holds no secret."""
        from sqlalchemy import URL

        return URL.create(
            "postgresql+pg8000",
            username=self.user,
            host=self.host or None,
            port=self.port if self.host else None,
            database=self.name,
        ).render_as_string()

    def connect_arguments(self, *, timeout_seconds: float) -> dict[str, Any]:
        """Give what the driver needs beside the URL.

        Args:
            timeout_seconds: For each answer of the server.

        Raises:
            ConfigurationError: The authority's file cannot be read.
        """
        # False, since the driver takes None for "TLS with whoever answers".
        arguments: dict[str, Any] = {
            "ssl_context": self._tls() or False,
            "timeout": timeout_seconds,
        }
        if self.socket:
            arguments[_SOCKET] = self.socket
        if self.password is not None:
            arguments["password"] = self.password.reveal()
        return arguments

    def _tls(self) -> ssl.SSLContext | None:
        if self.authority_file is None:
            return None
        try:
            return ssl.create_default_context(cafile=self.authority_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{self.authority_file} cannot be read as a certificate",
                hint="database_authority_file is the PEM file of who vouches for the database",
            ) from error


def postgresql_of(
    url: str, password_file: Path | None = None, authority_file: Path | None = None
) -> PostgreSQLDatabase:
    """Read what the settings say; `password_file` is read as well where there is one.

    Raises:
        ConfigurationError: URL or password cannot be used, or it would go unprotected over a
            network.
    """
    database = _parsed(url)
    if database.host and database.host not in _HERE and authority_file is None:
        raise ConfigurationError(
            f"{database.text} is not on this machine, and nothing says who vouches for it",
            hint="name the PEM file of its TLS authority: database_authority_file",
        )
    password = None if password_file is None else _password_in(password_file)
    return PostgreSQLDatabase(
        database.user, database.name, database.host, database.port, database.socket,
        password, authority_file,
    )  # fmt: skip


def require_database_url(url: str) -> None:
    """Check a URL without reading any file.

    Raises:
        ConfigurationError: It cannot be used.
    """
    _parsed(url)


def _parsed(url: str) -> PostgreSQLDatabase:
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORT
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise _refused("cannot be read as a URL") from None
    if parts.scheme not in _SCHEMES:
        raise _refused(f"has the scheme {parts.scheme[:30]!r}")
    if parts.password is not None:
        raise _refused("holds a password", hint="write it into a file: database_password_file")
    name = unquote(parts.path.removeprefix("/"))
    socket = options.pop(_SOCKET, "")
    if not parts.username or not name or "/" in name or options or parts.fragment:
        raise _refused("lacks user or name, or says more than can be used")
    if bool(parts.hostname) == bool(socket):
        raise _refused("names no server, or two")
    user = unquote(parts.username)
    return PostgreSQLDatabase(user, name, parts.hostname or "", port, socket)


def _refused(why: str, hint: str = _WRITE) -> ConfigurationError:
    return ConfigurationError(f"the URL in `database` {why}", hint=hint)


def _password_in(path: Path) -> SecretBytes:
    require_private(path)
    try:
        password = path.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            hint="database_password_file holds the password alone, in one line, mode 0600",
        ) from error
    if not password or b"\n" in password or b"\0" in password:
        raise ConfigurationError(
            f"{path} holds no password", hint="the password alone, in one line"
        )
    return SecretBytes(password)
