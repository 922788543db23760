"""Every file below a folder, one at a time, in memory that does not grow with their number.

Links to folders are not followed, so no walk goes in circles; links to files are, inside the
folder. What cannot be looked at is named with its code and the walk goes on.
"""

import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fedward_client.cohorts.source import E_PATH_ESCAPES
from fedward_client.dicom.bounded_reading import E_FILE_UNREADABLE, E_NOT_A_FILE

W_LINK_NOT_FOLLOWED = "W_LINK_NOT_FOLLOWED"

_BLOCK = 10_000


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file; `path` is where its bytes are, after links.

    Args:
        changed_ns: When anything of it last changed, which no program can set back.
    """

    locator: str = field(repr=False)
    path: str = field(repr=False)
    size_bytes: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class FoundProblem:
    """Something that is no readable file."""

    locator: str = field(repr=False)
    code: str


def walk_files(folder: Path) -> Iterator[FoundFile | FoundProblem]:
    """Walk a folder: its files by name, then its folders by name.

    A folder of more than 10,000 entries comes in sorted blocks of so many. What vanishes meanwhile
    is left out.

    Args:
        folder: Already resolved.

    Raises:
        OSError: `folder` itself cannot be listed.
    """
    root = os.fspath(folder)
    pending = [""]
    while pending:
        relative = pending.pop()
        subfolders: list[str] = []
        try:
            for entry in _entries(os.path.join(root, relative) if relative else root):  # noqa: PTH118
                locator = f"{relative}/{entry.name}" if relative else entry.name
                if entry.is_dir(follow_symlinks=False):
                    subfolders.append(locator)
                elif (found := _found(root, entry, locator)) is not None:
                    yield found
        except FileNotFoundError:
            if not relative:
                raise
        except OSError:
            if not relative:
                raise
            yield FoundProblem(relative, E_FILE_UNREADABLE)
        pending += sorted(subfolders, reverse=True)


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        while block := list(itertools.islice(entries, _BLOCK)):
            yield from sorted(block, key=lambda entry: entry.name)


def _found(root: str, entry: os.DirEntry[str], locator: str) -> FoundFile | FoundProblem | None:
    is_link = entry.is_symlink()
    try:
        path = os.path.realpath(entry.path, strict=True) if is_link else entry.path
        status = os.stat(path, follow_symlinks=False)  # noqa: PTH116
    except OSError:
        # a link that leads nowhere or in a circle stays; a file that vanished does not
        return FoundProblem(locator, E_FILE_UNREADABLE) if os.path.lexists(entry.path) else None
    if stat.S_ISDIR(status.st_mode):
        return FoundProblem(locator, W_LINK_NOT_FOLLOWED)
    if is_link and not path.startswith(os.path.join(root, "")):  # noqa: PTH118
        return FoundProblem(locator, E_PATH_ESCAPES)
    if not stat.S_ISREG(status.st_mode):
        return FoundProblem(locator, E_NOT_A_FILE)
    return FoundFile(locator, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
