"""A folder that a command is about to fill."""

from pathlib import Path

from fedward_common.errors import ConfigurationError


def claim_empty_folder(folder: Path) -> None:
    """Make a folder, or accept one that has nothing in it.

    Raises:
        ConfigurationError: It holds something, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder", hint="name another with --out")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigurationError(
            f"{folder} is not empty", hint="remove it, or name another folder with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
