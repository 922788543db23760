"""Passwords and tokens: read from a file that only its owner may read, shown to nobody."""

import os
import stat
from pathlib import Path
from typing import NoReturn

from fedward_common.errors import ConfigurationError

_MAX_BYTES = 16_384


class Secret:
    """A text that no `repr`, `str`, format or copy of it shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text to whoever sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never serialised")


def read_secret_file(path: Path) -> Secret:
    """Read a secret of one line.

    Args:
        path: A regular file of this user or root, mode 0600 or less, 16 kB at most.

    Raises:
        ConfigurationError: It is missing, open to others, empty, or no line of printable ASCII.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"secret_file {path} cannot be opened: {getattr(error, 'strerror', 'no path')}",
            hint="write the password or token into that file, mode 0600",
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        _require_private(path, os.fstat(descriptor))
        content = file.read(_MAX_BYTES + 1)
    text = content.decode("latin-1").rstrip("\r\n")
    if not text or len(content) > _MAX_BYTES or not (text.isascii() and text.isprintable()):
        raise ConfigurationError(
            f"secret_file {path} holds no secret", hint="one line of printable ASCII"
        )
    return Secret(text)


def _require_private(path: Path, state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise ConfigurationError(f"secret_file {path} is no regular file", hint="name a file")
    if state.st_mode & 0o077 or state.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(
            f"secret_file {path} can be read by others, or belongs to another user",
            hint=f"chown it to the user of fedward-site, and: chmod 600 {path}",
        )
