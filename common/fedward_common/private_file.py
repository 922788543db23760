"""Keys that every account of a machine could read are refused, not used as if they were secret."""

import stat
from pathlib import Path

from fedward_common.errors import ConfigurationError


def require_private(*paths: Path) -> None:
    """Check that a file is not open to every account; a group may have been given it.

    A file that is not there is for whoever reads it to name.

    Raises:
        ConfigurationError: It is.
    """
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IRWXO:
            raise ConfigurationError(
                f"every account of this machine may use {path}",
                hint=f"chmod 600 {path}; if others have accounts here, make a new key",
            )
