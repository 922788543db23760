"""Paths that other people's files name, kept inside the folder they belong to."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from fedward_client.cohorts.source import (
    E_FILE_NOT_FOUND,
    E_PATH_ESCAPES,
    E_SOURCE_UNREADABLE,
    UnusableCaseError,
)
from fedward_common.errors import CohortError, ConfigurationError


def leaves_its_folder(relative: str) -> bool:
    """Say whether a path is absolute or steps up with `..`, on any system."""
    windows = PureWindowsPath(relative)
    return (
        PurePosixPath(relative).is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in windows.parts  # these parts end at '/' and at '\'
    )


def folder_of(path: str, content: str) -> Path:
    """Resolve the folder that holds a source's files.

    Args:
        path: As the cohort's file has it.
        content: What lies in it, in words, for the hint.

    Raises:
        CohortError: `E_SOURCE_UNREADABLE`: it is no folder.
    """
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise CohortError(
            f"{path} is no folder",
            hint=f"path must name the folder of the {content}",
            code=E_SOURCE_UNREADABLE,
        )
    return folder


def existing_file_inside(folder: Path, relative: str) -> Path:
    """Find the file a manifest names.

    Args:
        folder: Already resolved.
        relative: As the manifest has it.

    Raises:
        UnusableCaseError: `E_PATH_ESCAPES` where it is absolute, has `..` or is a link that leads
            out of the folder; `E_FILE_NOT_FOUND` where there is no such file.
    """
    if leaves_its_folder(relative):
        raise UnusableCaseError(E_PATH_ESCAPES)
    try:
        path = (folder / relative).resolve()
        found = bool(relative) and path.is_file()
    except (OSError, ValueError, RuntimeError):  # NUL inside, name too long, links in a circle
        raise UnusableCaseError(E_FILE_NOT_FOUND) from None
    if not path.is_relative_to(folder):
        raise UnusableCaseError(E_PATH_ESCAPES)
    if not found:
        raise UnusableCaseError(E_FILE_NOT_FOUND)
    return path


def placed_below(data_root: Path, relative: str, key: str) -> Path:
    """Turn a path of a cohorts file into an absolute one below the data root.

    Raises:
        ConfigurationError: It is absolute, has `..`, or a link leads out of the data root.
    """
    root = data_root.resolve()
    hint = f"paths in a cohorts file are relative to the data root {root} and stay inside it"
    if leaves_its_folder(relative):
        raise ConfigurationError(f"{key} is {relative!r}, which leaves the data root", hint=hint)
    try:
        path = (root / relative).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(f"{key} is {relative!r}, which is no path", hint=hint) from error
    if not path.is_relative_to(root):
        raise ConfigurationError(
            f"{key} is {relative!r}, a link that leads out of the data root", hint=hint
        )
    return path
