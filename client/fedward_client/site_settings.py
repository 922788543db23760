"""`site.toml`: who a site is, which cohort it offers, and where its coordinator is."""

import re
from dataclasses import dataclass
from pathlib import Path

from fedward_common.errors import ConfigurationError
from fedward_common.health_report import require_port

_MIN_POLL_SECONDS = 0.1
_MAX_POLL_SECONDS = 60.0
_PORT = re.compile("[0-9]{1,5}")  # other digits of Unicode are no digits of a port


@dataclass(frozen=True)
class SiteSettings:
    """`site.toml`.

    Args:
        site: Its name.
        consortium: Of the consortium.
        cohort: Registered in `cohorts/NAME/`, or listed in `cohorts/NAME.toml`.
        cache_quota_gigabytes: Decoded images and job views together take no more.
        simulated: A simulation made this home: noise comes from the run's seed and protects nobody.
        coordinator_address: `host:port`; empty where the site only prepares.
        coordinator_authority_file: Whose TLS certificates the coordinator may show, PEM; below the
            home unless absolute.
        poll_seconds: How often the coordinator is asked for work.
        health_port: Of `/healthz` and `/metrics`, on 127.0.0.1; 0 serves neither.
    """

    site: str
    consortium: str
    cohort: str
    cache_quota_gigabytes: float = 200.0
    simulated: bool = False
    coordinator_address: str = ""
    coordinator_authority_file: str = "consortium/coordinator-tls.pem"
    poll_seconds: float = 1.0
    health_port: int = 0

    def __post_init__(self) -> None:
        require_port("health_port", self.health_port)
        if self.cache_quota_gigabytes < 0:
            raise ConfigurationError(
                f"cache_quota_gigabytes is {self.cache_quota_gigabytes}",
                hint="write how many gigabytes decoded images may take; 200 is the default",
            )


@dataclass(frozen=True)
class Connection:
    """Where a site's node connects.

    Attributes:
        address: `host:port`.
        authority_file: Certificates in PEM that the coordinator's must come from.
        poll_seconds: Between two questions for work.
    """

    address: str
    authority_file: Path
    poll_seconds: float


def connection_of(settings: SiteSettings, home: Path) -> Connection:
    """Give what a node needs to connect.

    Raises:
        ConfigurationError: The address is missing or no `host:port`, the file is not there, or the
            seconds are out of range.
    """
    host, colon, port = settings.coordinator_address.rpartition(":")
    if not (host and colon and _PORT.fullmatch(port) and 0 < int(port) < 1 << 16):
        raise ConfigurationError(
            f"coordinator_address is {settings.coordinator_address[:80]!r} in site.toml",
            hint='write coordinator_address = "host:port"; the consortium\'s office knows it',
        )
    file = home / settings.coordinator_authority_file
    if not file.is_file():
        raise ConfigurationError(
            f"{file} is missing, so no coordinator could be believed",
            hint="it holds the certificate of the authority of the coordinator's TLS, in PEM",
        )
    if not _MIN_POLL_SECONDS <= settings.poll_seconds <= _MAX_POLL_SECONDS:
        raise ConfigurationError(
            f"poll_seconds is {settings.poll_seconds}",
            hint=f"choose {_MIN_POLL_SECONDS:g} to {_MAX_POLL_SECONDS:g}",
        )
    return Connection(settings.coordinator_address, file, settings.poll_seconds)
