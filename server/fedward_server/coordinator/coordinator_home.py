"""The folder that holds everything of one coordinator.

```
coordinator.toml    where it listens, and with which certificate
coordinator.key     its signing key (0600);  authority.der, certificate.der, roster.cbor: of its
                    consortium
nodes/SITE.cbor     which key a site's Flower node connects with, as the site stated it
runs/NAME/          one run each: manifest, journal, checkpoints (`run_setup`)
flower/             what Flower keeps: a database that may be lost, and what is made at each start
coordinator.lock    held by the one process that works on all this
```
"""

from dataclasses import dataclass, field
from pathlib import Path

from fedward_common.errors import ConfigurationError
from fedward_common.health_report import require_port
from fedward_common.settings import from_table, read_toml
from fedward_server.coordinator.database_settings import (
    PostgreSQLDatabase,
    postgresql_of,
    require_database_url,
)

_MAX_PORT = 65535


@dataclass(frozen=True)
class CoordinatorSettings:
    """`coordinator.toml`.

    Args:
        host: Address that sites connect to; `0.0.0.0` is every one of this machine.
        port: 0 takes a free one, which is told in the line `ready`.
        certificate_file: For TLS, PEM, with those between it and its authority; below the home
            unless absolute.
        certificate_key_file: Its private key.
        loopback_port: For this machine alone; 0 takes a free one.
        health_port: Of `/healthz` and `/metrics`, on 127.0.0.1; 0 serves neither.
        office: Folder of the consortium's office, where it is on this machine; below the home
            unless absolute. Empty: requests to join come by file.
        database: Of Flower, as a URL: `postgresql://USER@HOST/NAME`, without a password. Empty: a
            file of the home.
        database_password_file: One line; below the home unless absolute.
        database_authority_file: PEM; vouches for the database server's certificate. Needed where
            the server is on another machine.
    """

    host: str
    port: int
    certificate_file: str
    certificate_key_file: str
    loopback_port: int = 0
    office: str = ""
    health_port: int = 0
    database: str = field(default="", repr=False)
    database_password_file: str = ""
    database_authority_file: str = ""

    def __post_init__(self) -> None:
        require_port("health_port", self.health_port)
        if self.database:
            require_database_url(self.database)
        elif self.database_password_file or self.database_authority_file:
            raise ConfigurationError(
                "a database's password or authority is named, and no database",
                hint='name it: database = "postgresql://USER@HOST/NAME"',
            )
        for name in ("port", "loopback_port"):
            value = getattr(self, name)
            if not 0 <= value <= _MAX_PORT:
                raise ConfigurationError(
                    f"{name} is {value}", hint=f"choose 0 to {_MAX_PORT}; 0 takes a free port"
                )


@dataclass(frozen=True)
class CoordinatorHome:
    """Paths below one coordinator's home."""

    folder: Path

    def settings(self) -> CoordinatorSettings:
        """Read `coordinator.toml`.

        Raises:
            ConfigurationError: It is missing or cannot be used.
        """
        return from_table(CoordinatorSettings, read_toml(self.folder / "coordinator.toml"))

    def postgresql(self) -> PostgreSQLDatabase | None:
        """Give the database that the settings name; None where it is a file.

        Raises:
            ConfigurationError: It cannot be used.
        """
        settings = self.settings()
        if not settings.database:
            return None
        password, authority = settings.database_password_file, settings.database_authority_file
        return postgresql_of(
            settings.database,
            self.file_of(password) if password else None,
            self.file_of(authority) if authority else None,
        )

    def file_of(self, named: str) -> Path:
        """Give a file that the settings name."""
        return self.folder / named

    @property
    def key_file(self) -> Path:
        """`coordinator.key`."""
        return self.folder / "coordinator.key"

    @property
    def certificate_file(self) -> Path:
        """`certificate.der`, its own in the consortium."""
        return self.folder / "certificate.der"

    @property
    def authority_file(self) -> Path:
        """`authority.der`, of its consortium."""
        return self.folder / "authority.der"

    @property
    def roster_file(self) -> Path:
        """`roster.cbor`, the newest."""
        return self.folder / "roster.cbor"

    @property
    def nodes(self) -> Path:
        """Folder of the statements on nodes' keys."""
        return self.folder / "nodes"

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.folder / "runs"

    @property
    def flower(self) -> Path:
        """Folder of what Flower keeps."""
        return self.folder / "flower"

    @property
    def database(self) -> Path:
        """Flower's database, where it is a file."""
        return self.flower / "superlink.sqlite"

    @property
    def loopback_file(self) -> Path:
        """How other commands of this machine reach the process (0600); there while it runs."""
        return self.flower / "loopback.json"

    @property
    def flower_log(self) -> Path:
        """What Flower says."""
        return self.flower / "flower.log"

    @property
    def lock_file(self) -> Path:
        """Held while a process works on the home."""
        return self.folder / "coordinator.lock"

    def run_folder(self, name: str) -> Path:
        """Give a run's folder; `name` is checked before it becomes a path.

        Raises:
            ConfigurationError: It is no plain name.
        """
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise ConfigurationError(
                f"{name[:60]!r} is no name of a run", hint="letters, digits, '-' and '_'"
            )
        return self.runs / name

    def make_folders(self) -> None:
        """Make the folders that are missing, for their owner alone."""
        for folder in (self.nodes, self.runs, self.flower):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
