"""The job views below a site's cache: how large they are, who has them open, taking them away.

Whoever opens a view holds a shared lock on its index until its arrays are no longer looked at. A
view is taken away under the exclusive lock alone, so never while a process has it open; it is
renamed first, so that whoever comes later finds none.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

from fedward_common.errors import LockedError
from fedward_common.file_lock import held_lock

INDEX_FILE = "index.json"

_BLOCK_BYTES = 4096
_VIEW = re.compile(r"[0-9a-f]{64}\Z")
_REMOVED = re.compile(r"\.[0-9a-f]{64}\.removed\Z")
_BUILDING = re.compile(r"\.([0-9a-f]{64})\.building\Z")


class HeldView:
    """Keeps a view in its place for as long as this object lives.

    Raises:
        FileNotFoundError: There is no view.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / INDEX_FILE
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._finalizer = weakref.finalize(self, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if not os.path.samestat(os.fstat(descriptor), path.stat()):  # taken away meanwhile
            raise FileNotFoundError(path)


def view_folders(cache_folder: Path) -> list[Path]:
    """Give the folders of all whole views."""
    return sorted(path for path in _folders(cache_folder) if _VIEW.match(path.name))


def ordered_fingerprint(folder: Path) -> str:
    """Give the fingerprint of what a view was to be; "" where its index cannot be read."""
    try:
        return str(json.loads((folder / INDEX_FILE).read_bytes())["ordered"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def folder_of_order(cache_folder: Path, fingerprint: str) -> Path:
    """Give where the view of an order is, or would be.

    A view without the cases that no decoder survived has a name of its own; a whole one goes first.
    """
    whole = cache_folder / fingerprint
    if (whole / INDEX_FILE).exists():
        return whole
    others = (one for one in view_folders(cache_folder) if ordered_fingerprint(one) == fingerprint)
    return next(others, whole)


def bytes_of_views(cache_folder: Path) -> int:
    """Give what all views take of the disk, those that are being built in their full size."""
    num_bytes = 0
    for folder in _folders(cache_folder):
        if _VIEW.match(folder.name) or _BUILDING.match(folder.name):
            with contextlib.suppress(FileNotFoundError):  # taken away, or renamed, meanwhile
                for one in folder.iterdir():
                    num_bytes += -(-one.stat().st_size // _BLOCK_BYTES) * _BLOCK_BYTES
    return num_bytes


def remove_view(folder: Path) -> bool:
    """Take a view away if no process has it open; say whether it went."""
    removed = folder.with_name(f".{folder.name}.removed")
    with contextlib.ExitStack() as stack:
        try:
            index = stack.enter_context((folder / INDEX_FILE).open("r+b"))  # as NFS asks
            fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except FileNotFoundError:  # no view, though a folder may be there
            pass
        try:
            folder.rename(removed)
        except OSError:  # another process was faster, or left a part of its work
            return False
    shutil.rmtree(removed, ignore_errors=True)
    return True


def sweep_views(cache_folder: Path) -> None:
    """Delete what a kill left of views that were being built or taken away."""
    for folder in list(_folders(cache_folder)):
        building = _BUILDING.match(folder.name)
        if _REMOVED.match(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
        elif building is not None:
            with (
                contextlib.suppress(LockedError),
                only_builder(cache_folder, building[1], wait=False),
            ):
                shutil.rmtree(folder, ignore_errors=True)


def only_builder(
    cache_folder: Path, fingerprint: str, *, wait: bool = True
) -> contextlib.AbstractContextManager[None]:
    """Hold off other builders of a view; a dead builder's lock is free.

    Raises:
        LockedError: It is being built, and `wait` is false.
    """
    held = LockedError("another process builds this view", hint="wait for it to end")
    return held_lock(cache_folder / f".{fingerprint}.lock", if_held=None if wait else held)


def _folders(cache_folder: Path) -> Iterator[Path]:
    if cache_folder.is_dir():
        yield from (path for path in cache_folder.iterdir() if path.is_dir())
