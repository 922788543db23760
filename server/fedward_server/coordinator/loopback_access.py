"""How commands of this machine reach the coordinator's process; needs none of Flower's server."""

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.errors import ConfigurationError


@dataclass(frozen=True)
class LoopbackAccess:
    """How this machine's own processes reach the coordinator; anew at each start.

    Attributes:
        port: On loopback.
        token: Orders runs and registers nodes.
        task_secret: Takes tasks; it never leaves the process.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    task_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def write(self, path: Path) -> None:
        """Let other commands of this account use it, as long as the process lives."""
        content = {"port": self.port, "token": self.token}
        write_atomically(path, json.dumps(content).encode(), mode=0o600)


def read_loopback_access(path: Path) -> LoopbackAccess:
    """Read what `LoopbackAccess.write` wrote.

    Raises:
        ConfigurationError: No coordinator runs on this home.
    """
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        return LoopbackAccess(int(content["port"]), str(content["token"]), b"")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read, so no coordinator seems to run on this home",
            hint="start it: fedward coordinator start",
        ) from error
